//! The connections, and a transaction that tells what it changed.

mod dialect;
mod rows;
mod schema;
mod sql;
mod words;

use std::path::PathBuf;

use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::{Any, AnyPool, ConnectOptions, Row, Transaction};
use tokio::sync::watch;

use crate::{Change, Database, Error, Outside, Result};
pub(crate) use dialect::Dialect;
pub(crate) use rows::{Columns, IMAGE, JOB, job_of, picture_of};
pub(crate) use sql::{Sql, sql};
pub(crate) use words::push_match;

/// Readers of SQLite. WAL lets them read while one writes.
const READERS: u32 = 4;
/// Connections to PostgreSQL, for reading and for writing each.
#[cfg(feature = "postgres")]
const CONNECTIONS: u32 = 8;

/// The database.
#[derive(Clone, Debug)]
pub(crate) struct Db {
    writer: AnyPool,
    reader: AnyPool,
    pub(crate) dialect: Dialect,
    newest: watch::Sender<i64>,
    /// How many events are kept.
    events: i64,
}

impl Db {
    /// Connects and brings the tables up to date.
    /// `private`: what is deleted is not to be found in the file any more.
    pub(crate) async fn open(database: &Database, events: i64, private: bool) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let (dialect, url, writers, readers) = match database {
            Database::Sqlite(path) => (Dialect::Sqlite, sqlite_url(path.clone()), 1, READERS),
            #[cfg(feature = "postgres")]
            Database::Postgres(url) => (Dialect::Postgres, url.clone(), CONNECTIONS, CONNECTIONS),
        };
        let options = |most: u32, setup: &'static str| {
            AnyPoolOptions::new()
                .max_connections(most)
                .after_connect(move |connection, _| {
                    Box::pin(async move {
                        sqlx::raw_sql(setup).execute(connection).await?;
                        Ok(())
                    })
                })
        };
        let writer = options(writers, dialect.writes(private));
        let writer = writer.connect(&url).await?;
        schema::update(&writer, dialect).await?;
        let reader = options(readers, dialect.reads()).connect(&url).await?;
        let db = Self {
            writer,
            reader,
            dialect,
            newest: watch::Sender::new(0),
            events,
        };
        db.refresh().await?;
        Ok(db)
    }

    /// Reads the number of the newest event, which another process may have raised.
    pub(crate) async fn refresh(&self) -> Result<()> {
        if let Some(row) = self.one(sql("SELECT event FROM queue")).await? {
            self.raise(row.int("event")?);
        }
        Ok(())
    }

    fn raise(&self, newest: i64) {
        self.newest.send_if_modified(|known| {
            let higher = newest > *known;
            *known = newest.max(*known);
            higher
        });
    }

    pub(crate) fn newest(&self) -> watch::Receiver<i64> {
        self.newest.subscribe()
    }

    /// Wakes those who wait for a change that is not in the tables.
    pub(crate) fn wake(&self) {
        self.newest.send_modify(|_| {});
    }

    /// A transaction that writes.
    pub(crate) async fn write(&self, outside: &Outside) -> Result<Tx> {
        let inner = self.writer.begin_with(self.dialect.begin()).await?;
        Ok(Tx {
            inner,
            now: (outside.now)(),
            events: Vec::new(),
            db: self.clone(),
        })
    }

    /// The first row, read outside of any transaction.
    pub(crate) async fn one(&self, sql: Sql) -> Result<Option<AnyRow>> {
        Ok(sql.query().fetch_optional(&self.reader).await?)
    }

    /// All rows.
    pub(crate) async fn all(&self, sql: Sql) -> Result<Vec<AnyRow>> {
        Ok(sql.query().fetch_all(&self.reader).await?)
    }

    /// Removes what deleted rows left behind.
    pub(crate) async fn scrub(&self) -> Result<()> {
        for text in self.dialect.scrub() {
            sql(*text).query().execute(&self.writer).await?;
        }
        Ok(())
    }

    pub(crate) async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }
}

fn sqlite_url(path: PathBuf) -> String {
    sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .to_url_lossy()
        .to_string()
}

/// A transaction. Without [`commit`](Tx::commit) nothing of it happens.
pub(crate) struct Tx {
    inner: Transaction<'static, Any>,
    /// The time of all that it writes.
    pub(crate) now: i64,
    events: Vec<(String, Change)>,
    db: Db,
}

impl Tx {
    pub(crate) async fn one(&mut self, sql: Sql) -> Result<Option<AnyRow>> {
        Ok(sql.query().fetch_optional(&mut *self.inner).await?)
    }

    pub(crate) async fn all(&mut self, sql: Sql) -> Result<Vec<AnyRow>> {
        Ok(sql.query().fetch_all(&mut *self.inner).await?)
    }

    /// Runs a statement; returns how many rows it changed.
    pub(crate) async fn run(&mut self, sql: Sql) -> Result<u64> {
        Ok(sql.query().execute(&mut *self.inner).await?.rows_affected())
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.db.dialect
    }

    /// Remembers a change of a user's (or of nobody's), to be told when the transaction commits.
    pub(crate) fn tell(&mut self, user: &str, change: Change) {
        self.events.push((user.to_owned(), change));
    }

    /// Writes the events and commits. The counter of events is the last thing to be locked, so that numbers become visible in
    /// their order on PostgreSQL too.
    pub(crate) async fn commit(mut self) -> Result<()> {
        let events = std::mem::take(&mut self.events);
        if events.is_empty() {
            return Ok(self.inner.commit().await?);
        }
        let raise = sql("UPDATE queue SET event = event + $1 RETURNING event");
        let newest: i64 = match self.one(raise.with(events.len() as i64)).await? {
            Some(row) => row.try_get("event")?,
            None => return Err(Error::Row("the row of the queue is missing".into())),
        };
        let first = newest - events.len() as i64 + 1;
        for (number, (user, change)) in (first..).zip(&events) {
            let insert = sql(
                "INSERT INTO events (number, at, owner, kind, job, picture, detail) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7)",
            );
            let (kind, job, picture, detail) = change.columns();
            let insert = insert.with(number).with(self.now).with(user.as_str());
            let insert = insert.with(kind).with(job).with(picture).with(detail);
            self.run(insert).await?;
        }
        let old = newest - self.db.events;
        self.run(sql("DELETE FROM events WHERE number <= $1").with(old))
            .await?;
        if let Some(notify) = self.db.dialect.notify() {
            self.run(sql(notify)).await?;
        }
        self.inner.commit().await?;
        self.db.raise(newest);
        Ok(())
    }
}
