//! Looking for pictures.
//!
//! The row numbers that fit are found first, the newest first and no more than a page of them; only then is anything wide read.
//! Words are looked up in the full-text index, which gives rows from the newest on, and each is held against the
//! narrow table. Without words an index of the narrow table does the same, because all of them end in the row number.

use super::Queue;
use super::jobs::MOST;
use crate::db::{Dialect, IMAGE, Sql, picture_of, query, sql};
use crate::{Page, Picture, Result, Search};

impl Queue {
    /// The pictures that fit, the newest first. `before` is [`Page::next`]; at most 500 at a time.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`](crate::Error::Argument) for words that are none.
    pub async fn search(
        &self,
        search: &Search,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Page<Picture, i64>> {
        let limit = limit.clamp(1, MOST);
        let query = search.sql(self.db().dialect, before, limit)?;
        let rows = self.db().all(query).await?;
        let mut items = rows.iter().map(picture_of).collect::<Result<Vec<_>>>()?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(|picture| picture.row);
        Ok(Page { items, next })
    }
}

impl Search {
    fn sql(&self, dialect: Dialect, before: Option<i64>, limit: u32) -> Result<Sql> {
        // A cross join of SQLite is done in the order in which it is written.
        let (table, row) = match (&self.words, &self.tag) {
            (Some(_), _) => ("words w CROSS JOIN images i", "w.rowid"),
            (None, Some(_)) => ("tags t CROSS JOIN images i", "t.row"),
            (None, None) => ("images i", "i.row"),
        };
        let mut found = sql(format!(
            "SELECT {IMAGE} FROM (SELECT {row} AS found FROM {table} WHERE i.row = {row}"
        ));
        if let Some(words) = &self.words {
            let condition = format!(" AND {}", dialect.match_words());
            found.push_with(&condition, query(dialect, words)?);
        }
        if let Some(before) = before {
            found.push_with(&format!(" AND {row} < ?"), before);
        }
        self.fields(&mut found);
        found.push_with(
            &format!(" ORDER BY {row} DESC LIMIT ?"),
            i64::from(limit) + 1,
        );
        found.push(
            ") AS page JOIN images i ON i.row = page.found JOIN details d ON d.row = i.row ORDER BY page.found DESC",
        );
        Ok(found)
    }

    /// The conditions on the narrow table.
    fn fields(&self, found: &mut Sql) {
        found.push(if self.bin {
            " AND i.deleted IS NOT NULL"
        } else {
            " AND i.deleted IS NULL"
        });
        let texts = [
            (" AND i.owner = ?", &self.user),
            (" AND i.model = ?", &self.model),
            (" AND i.sampler = ?", &self.sampler),
        ];
        for (condition, value) in texts {
            if let Some(value) = value {
                found.push_with(condition, value.as_str());
            }
        }
        if let Some(job) = self.job {
            found.push_with(" AND i.job = ?", job.to_string());
        }
        let (width, height) = self.size.unzip();
        let numbers = [
            (" AND i.seed = ?", self.seed.map(u64::cast_signed)),
            (" AND i.width = ?", width.map(i64::from)),
            (" AND i.height = ?", height.map(i64::from)),
            (" AND i.steps = ?", self.steps.map(i64::from)),
            // The sign keeps an index out that does not end in the row, since dates rise with it anyway.
            (" AND +i.created >= ?", self.from_ms),
            (" AND +i.created < ?", self.to_ms),
        ];
        for (condition, value) in numbers {
            if let Some(value) = value {
                found.push_with(condition, value);
            }
        }
        match self.starred {
            Some(true) => found.push(" AND i.starred = 1"),
            Some(false) => found.push(" AND i.starred = 0"),
            None => {}
        }
        if let Some(tag) = &self.tag {
            match self.words {
                Some(_) => found.push_with(
                    " AND EXISTS (SELECT 1 FROM tags t WHERE t.tag = ? AND t.row = i.row)",
                    tag.as_str(),
                ),
                None => found.push_with(" AND t.tag = ?", tag.as_str()),
            }
        }
    }
}
