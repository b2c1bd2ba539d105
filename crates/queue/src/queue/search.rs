//! Looking for pictures.
//!
//! The row numbers that fit are found first, the newest first and no more than a page of them; only then is anything wide read.
//! Words and fields are looked up in the [index](super::index), which gives rows from the newest on; what is not in it is held
//! against the narrow table. Dates become bounds of the row, since both rise together.

use super::Queue;
use super::jobs::MOST;
use crate::db::{Dialect, IMAGE, Sql, picture_of, push_match, sql};
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
        let tokens = self.tokens();
        // Where only the owner is asked for, the table has an index that does as well.
        let indexed = self.words.is_some() || tokens.len() > usize::from(self.user.is_some());
        // A cross join of SQLite is done in the order in which it is written.
        let (table, row) = if indexed {
            ("words w CROSS JOIN images i", "w.rowid")
        } else {
            ("images i", "i.row")
        };
        let mut found = sql(format!(
            "SELECT {IMAGE} FROM (SELECT {row} AS found FROM {table} WHERE i.row = {row}"
        ));
        if indexed {
            push_match(&mut found, dialect, self.words.as_deref(), &tokens)?;
        }
        if let Some(before) = before {
            found.push_with(&format!(" AND {row} < ?"), before);
        }
        self.dates(&mut found, row);
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

    /// The bounds of the row between two dates.
    fn dates(&self, found: &mut Sql, row: &str) {
        if let Some(from) = self.from_ms {
            let bound = format!(
                " AND {row} >= (SELECT row FROM images WHERE created >= ? ORDER BY created, row LIMIT 1)"
            );
            found.push_with(&bound, from);
        }
        if let Some(to) = self.to_ms {
            let bound = format!(
                " AND {row} <= (SELECT row FROM images WHERE created < ? ORDER BY created DESC, row DESC LIMIT 1)"
            );
            found.push_with(&bound, to);
        }
    }

    /// The conditions on the narrow table. Those that the index knows too are here for what has the same hash.
    fn fields(&self, found: &mut Sql) {
        found.push(if self.bin {
            " AND i.deleted IS NOT NULL"
        } else {
            " AND i.deleted IS NULL"
        });
        let texts = [
            (" AND i.owner = ?", self.user.clone()),
            (" AND i.model = ?", self.model.clone()),
            (" AND i.sampler = ?", self.sampler.clone()),
            (" AND i.job = ?", self.job.map(|job| job.to_string())),
        ];
        for (condition, value) in texts {
            if let Some(value) = value {
                found.push_with(condition, value);
            }
        }
        let (width, height) = self.size.unzip();
        let numbers = [
            (" AND i.seed = ?", self.seed.map(u64::cast_signed)),
            (" AND i.width = ?", width.map(i64::from)),
            (" AND i.height = ?", height.map(i64::from)),
            (" AND i.steps = ?", self.steps.map(i64::from)),
            (" AND i.steps >= ?", self.steps_from.map(i64::from)),
            (" AND i.steps <= ?", self.steps_to.map(i64::from)),
            (" AND i.starred = ?", self.starred.map(i64::from)),
        ];
        for (condition, value) in numbers {
            if let Some(value) = value {
                found.push_with(condition, value);
            }
        }
        if let Some(tag) = &self.tag {
            found.push_with(
                " AND EXISTS (SELECT 1 FROM tags t WHERE t.tag = ? AND t.row = i.row)",
                tag.as_str(),
            );
        }
    }
}
