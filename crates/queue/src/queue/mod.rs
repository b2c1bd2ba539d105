//! The queue itself.

mod catalogue;
mod claim;
mod control;
mod feed;
mod index;
mod inputs;
mod jobs;
mod recover;
mod search;
mod states;
mod submit;
mod sweep;
mod work;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::RwLock;

use crate::db::{Db, Tx};
use crate::{Error, Outside, Result, Store, Ulid};
use claim::Streak;

/// Where the tables are.
#[derive(Clone, Debug)]
pub enum Database {
    /// A file of SQLite, made if it is not there.
    Sqlite(PathBuf),
    /// A database of PostgreSQL, as a URL.
    #[cfg(feature = "postgres")]
    Postgres(String),
}

/// How much is taken in and how long it is kept. [`Default`] is what the program does.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Waiting jobs of one user: 64.
    pub waiting_user: u64,
    /// Waiting jobs of all: 1,000.
    pub waiting: u64,
    /// Bytes that stay free on the disk: 256 MiB.
    pub reserve: u64,
    /// How long a lease holds without being renewed: 30 s.
    pub lease_ms: i64,
    /// How many jobs in a row may be preferred because their model is loaded: 4.
    pub affinity_jobs: u32,
    /// For how long: 60 s.
    pub affinity_ms: i64,
    /// How often a process may die within one picture: 3, then the job fails.
    pub crashes: u32,
    /// How long an idempotency key is known: 24 h.
    pub key_ms: i64,
    /// How long a deleted picture can be had back: 30 days.
    pub bin_ms: i64,
    /// How long a job is kept after its end: 30 days.
    pub job_ms: i64,
    /// How long an upload stays that no job reads: 24 h.
    pub input_ms: i64,
    /// How long a picture is kept; none means for ever.
    pub picture_ms: Option<i64>,
    /// How many events are kept for those who come back: 10,000.
    pub events: i64,
}

impl Default for Limits {
    fn default() -> Self {
        const HOUR: i64 = 3_600_000;
        Self {
            waiting_user: 64,
            waiting: 1_000,
            reserve: 256 << 20,
            lease_ms: 30_000,
            affinity_jobs: 4,
            affinity_ms: 60_000,
            crashes: 3,
            key_ms: 24 * HOUR,
            bin_ms: 30 * 24 * HOUR,
            job_ms: 30 * 24 * HOUR,
            input_ms: 24 * HOUR,
            picture_ms: None,
            events: 10_000,
        }
    }
}

impl Limits {
    /// Where nothing is to stay: results and their jobs for 10 minutes, with a [store in memory](Store::in_memory).
    pub fn private() -> Self {
        const MINUTES: i64 = 10 * 60_000;
        Self {
            reserve: 64 << 20,
            key_ms: MINUTES,
            bin_ms: MINUTES,
            job_ms: MINUTES,
            input_ms: MINUTES,
            picture_ms: Some(MINUTES),
            ..Self::default()
        }
    }
}

/// The queue and the catalogue. A clone is another handle to the same.
#[derive(Clone, Debug)]
pub struct Queue {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: Db,
    store: Store,
    limits: Limits,
    outside: Outside,
    /// What each worker of this process was given last.
    streaks: Mutex<HashMap<String, Streak>>,
    /// Since when the disk of this process is full. It is not in the tables, because they may be on that disk.
    disk_full: Mutex<Option<i64>>,
    /// Held for reading from the writing of a file to the commit of its row, for writing while files without rows are removed.
    files: RwLock<()>,
    /// Listens to what other processes tell.
    #[cfg(feature = "postgres")]
    _listener: Option<feed::Listener>,
}

/// Opening and upkeep.
impl Queue {
    /// Opens the tables, making or updating them if need be. Call [`recover`](Self::recover) next, if this is the only process.
    ///
    /// # Errors
    ///
    /// [`Error::Database`], [`Error::Schema`].
    pub async fn open(
        database: Database,
        store: Store,
        limits: Limits,
        outside: Outside,
    ) -> Result<Self> {
        let db = Db::open(&database, limits.events, store.is_in_memory()).await?;
        #[cfg(feature = "postgres")]
        let _listener = feed::Listener::of(&database, &db);
        Ok(Self {
            inner: Arc::new(Inner {
                db,
                store,
                limits,
                outside,
                streaks: Mutex::default(),
                disk_full: Mutex::default(),
                files: RwLock::default(),
                #[cfg(feature = "postgres")]
                _listener,
            }),
        })
    }

    /// What the queue was opened with.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// Where the bytes are.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Ends the connections, after what they are doing.
    pub async fn close(&self) {
        self.inner.db.close().await;
    }

    fn db(&self) -> &Db {
        &self.inner.db
    }

    async fn write(&self) -> Result<Tx> {
        self.inner.db.write(&self.inner.outside).await
    }

    /// A new id of this time.
    fn new_id(&self, now: i64) -> Ulid {
        Ulid::from_parts(now.max(0).cast_unsigned(), (self.inner.outside.random)())
    }

    /// Bytes free where pictures are kept.
    fn free(&self) -> Result<u64> {
        if let Some(room) = self.inner.store.room() {
            return Ok(room);
        }
        let folder = self.inner.store.root();
        (self.inner.outside.free)(folder).map_err(|source| Error::File {
            path: folder.to_owned(),
            source,
        })
    }

    /// Names the disk if it was the database that found it full.
    fn name_full(&self, error: Error) -> Error {
        match error {
            Error::Database(error) if is_full(&error) => self.disk_full_error(),
            error => error,
        }
    }

    fn disk_full_error(&self) -> Error {
        Error::DiskFull {
            folder: self.inner.store.root().to_owned(),
        }
    }
}

/// `SQLITE_FULL`, `disk_full` and `could not extend file` of PostgreSQL.
fn is_full(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| matches!(code.as_ref(), "13" | "53100"))
}

/// A lock whose data are whole whatever panicked while it was held.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
