//! The feed of changes.

use tokio::sync::watch;

use super::Queue;
use crate::db::{Columns, sql};
use crate::{Event, Events, Result};

impl Queue {
    /// The events after number `after` (0: from the first kept), at most `limit`; of one user and those that concern all, or
    /// everybody's. Where `events` is empty and there is no gap, all up to `newest` were another's.
    ///
    /// # Errors
    ///
    /// [`Error::Database`](crate::Error::Database).
    pub async fn events(&self, after: i64, user: Option<&str>, limit: u32) -> Result<Events> {
        // The bounds are read first, so that an event that comes in between is read or left for the next call.
        let bounds = sql(
            "SELECT q.event AS newest, COALESCE((SELECT min(number) FROM events), q.event + 1) AS oldest FROM queue q",
        );
        let bounds = self.db().one(bounds).await?;
        let (newest, oldest) = match bounds {
            Some(row) => (row.int("newest")?, row.int("oldest")?),
            None => (0, 1),
        };
        let mut query = sql("SELECT number, at, owner, kind, job, picture, detail FROM events WHERE number > $1 AND number <= $2")
            .with(after)
            .with(newest);
        if let Some(user) = user {
            query.push_with(" AND (owner = ? OR owner = '')", user);
        }
        query.push_with(" ORDER BY number LIMIT ?", i64::from(limit));
        let rows = self.db().all(query).await?;
        Ok(Events {
            events: rows.iter().map(Event::of).collect::<Result<_>>()?,
            // A number that was never given out comes from another database.
            gap: (after != 0 && after < oldest - 1) || after > newest,
            newest,
        })
    }

    /// The number of the newest event, and a way to wait for the next.
    pub fn changed(&self) -> watch::Receiver<i64> {
        self.db().newest()
    }
}

#[cfg(feature = "postgres")]
pub(super) use postgres::Listener;

#[cfg(feature = "postgres")]
mod postgres {
    use std::time::Duration;

    use sqlx::postgres::PgListener;
    use tokio::task::JoinHandle;
    use tokio::time;

    use crate::Database;
    use crate::db::Db;

    /// How long a notice may be missing before the tables are asked.
    const POLL: Duration = Duration::from_secs(1);

    /// Hears what other processes tell, until it is dropped.
    #[derive(Debug)]
    pub(in super::super) struct Listener(JoinHandle<()>);

    impl Listener {
        pub(in super::super) fn of(database: &Database, db: &Db) -> Option<Self> {
            let Database::Postgres(url) = database else {
                return None;
            };
            Some(Self(tokio::spawn(listen(url.clone(), db.clone()))))
        }
    }

    impl Drop for Listener {
        fn drop(&mut self) {
            self.0.abort();
        }
    }

    /// Reads the number of the newest event at each notice, and once a second whether or not there is one.
    async fn listen(url: String, db: Db) {
        let mut listener = None;
        loop {
            if listener.is_none() {
                listener = connect(&url).await;
            }
            match &mut listener {
                Some(open) => match time::timeout(POLL, open.recv()).await {
                    Ok(Err(error)) => {
                        tracing::warn!("listening to the database: {error}");
                        listener = None;
                    }
                    Ok(Ok(_)) | Err(_) => {}
                },
                None => time::sleep(POLL).await,
            }
            if let Err(error) = db.refresh().await {
                tracing::warn!("asking the database for events: {error}");
            }
        }
    }

    async fn connect(url: &str) -> Option<PgListener> {
        let mut listener = PgListener::connect(url).await.ok()?;
        listener.listen("latent_queue").await.ok()?;
        Some(listener)
    }
}
