//! Statements with their arguments. Both databases read `$1`, `$2`, …

use sqlx::any::AnyArguments;
use sqlx::{Any, Arguments, AssertSqlSafe, Encode, Type, query::Query};

/// A statement whose text is ours and whose arguments are bound.
pub(crate) struct Sql {
    text: String,
    args: AnyArguments,
}

/// A statement, its arguments yet to be bound by [`Sql::with`].
pub(crate) fn sql(text: impl Into<String>) -> Sql {
    Sql {
        text: text.into(),
        args: AnyArguments::default(),
    }
}

impl Sql {
    /// Binds the next argument.
    pub(crate) fn with<'t, T: Encode<'t, Any> + Type<Any>>(mut self, value: T) -> Self {
        self.bind(value);
        self
    }

    /// Binds the next argument and returns its number.
    pub(crate) fn bind<'t, T: Encode<'t, Any> + Type<Any>>(&mut self, value: T) -> usize {
        self.args
            .add(value)
            .expect("numbers and text can be encoded");
        self.args.len()
    }

    /// Adds text.
    pub(crate) fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Adds text, in which `?` stands for the value that is bound.
    pub(crate) fn push_with<'t, T: Encode<'t, Any> + Type<Any>>(&mut self, text: &str, value: T) {
        let number = self.bind(value);
        self.text
            .push_str(&text.replace('?', &format!("${number}")));
    }

    /// Adds the condition that a column has one of the values, if there is a value.
    pub(crate) fn push_in<'v>(&mut self, column: &str, values: impl IntoIterator<Item = &'v str>) {
        let numbers: Vec<_> = values
            .into_iter()
            .map(|value| format!("${}", self.bind(value)))
            .collect();
        if !numbers.is_empty() {
            self.push(&format!(" AND {column} IN ({})", numbers.join(", ")));
        }
    }

    pub(crate) fn query(self) -> Query<'static, Any, AnyArguments> {
        // Every text is made of literals of this crate; values only ever go through `bind`.
        sqlx::query_with(AssertSqlSafe(self.text), self.args)
    }
}
