//! The queue itself.

use std::path::PathBuf;

use tokio::sync::watch;

use crate::{
    Accepted, Asked, Cancel, Cancelled, Claimed, Committed, Counts, Event, Events, Input, Job,
    JobFilter, Lease, Move, NewJob, NewPicture, Outside, Page, Picture, Result, Search, Store,
    Swept, Ulid, Waiting,
};

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
    /// How long a job is kept after its end, and an upload after its last use: 30 days and 24 h.
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

/// The queue and the catalogue. A clone is another handle to the same.
#[derive(Clone, Debug)]
pub struct Queue {
    _todo: (),
}

/// Opening and upkeep.
impl Queue {
    /// Opens the tables, making or updating them if need be. Call [`recover`](Self::recover) next, if this is the only process.
    ///
    /// # Errors
    ///
    /// [`Error::Database`](crate::Error::Database), [`Error::Schema`](crate::Error::Schema).
    pub async fn open(
        database: Database,
        store: Store,
        limits: Limits,
        outside: Outside,
    ) -> Result<Self> {
        todo!()
    }

    /// What the queue was opened with.
    pub fn limits(&self) -> &Limits {
        todo!()
    }

    /// Where the bytes are.
    pub fn store(&self) -> &Store {
        todo!()
    }

    /// Takes every running job from its worker, as if all leases had run out: for the start of a single process. Each is
    /// queued again and goes on at its first missing picture; or cancelled, if it was to stop; or done, if nothing was missing; or
    /// failed with the code `crashed` at the third crash within one picture. Files of pictures without a row and half-written
    /// files are removed. Returns how many jobs were running.
    pub async fn recover(&self) -> Result<u64> {
        todo!()
    }

    /// The same for jobs whose lease has run out. Call it every few seconds; claims do it too.
    pub async fn expire(&self) -> Result<u64> {
        todo!()
    }

    /// Removes what is kept no longer. Call it once an hour.
    pub async fn sweep(&self) -> Result<Swept> {
        todo!()
    }

    /// Ends the connections, after what they are doing.
    pub async fn close(&self) {
        todo!()
    }
}

/// For servers: jobs.
impl Queue {
    /// Takes a job in.
    ///
    /// # Errors
    ///
    /// [`KeyReused`](crate::Error::KeyReused), [`UserFull`](crate::Error::UserFull), [`QueueFull`](crate::Error::QueueFull),
    /// [`NoRoom`](crate::Error::NoRoom), [`NoInput`](crate::Error::NoInput), [`Argument`](crate::Error::Argument).
    pub async fn submit(&self, new: NewJob) -> Result<Accepted> {
        todo!()
    }

    /// The job of that id, if it is there and the user's (none means anybody's).
    pub async fn job(&self, id: Ulid, user: Option<&str>) -> Result<Option<Job>> {
        todo!()
    }

    /// Jobs, the newest first. `before` is [`Page::next`]; at most 500 at a time.
    pub async fn jobs(
        &self,
        filter: &JobFilter,
        before: Option<Ulid>,
        limit: u32,
    ) -> Result<Page<Job, Ulid>> {
        todo!()
    }

    /// Waiting jobs in the order in which they will run, with all users taken into account and those of `user` shown (none means all).
    pub async fn waiting(&self, user: Option<&str>) -> Result<Vec<Waiting>> {
        todo!()
    }

    /// How many jobs are to run before this one; none if it does not wait.
    pub async fn ahead(&self, id: Ulid) -> Result<Option<u64>> {
        todo!()
    }

    /// How many jobs are in which state, of one user or all, and whether the queue is paused.
    pub async fn counts(&self, user: Option<&str>) -> Result<Counts> {
        todo!()
    }

    /// Waits until a job has ended and returns it; none if there is no such job. Dropping the future stops waiting.
    pub async fn ended(&self, id: Ulid) -> Result<Option<Job>> {
        todo!()
    }

    /// Cancels a job in any state. A waiting one is cancelled at once; the worker of a running one sees it in
    /// [`renew`](Self::renew), in its events and in the next commit's answer, and answers with [`stopped`](Self::stopped).
    ///
    /// # Errors
    ///
    /// [`NoJob`](crate::Error::NoJob).
    pub async fn cancel(&self, id: Ulid, user: Option<&str>, how: Cancel) -> Result<Cancelled> {
        todo!()
    }

    /// Queues a failed or cancelled job again, behind the others of its owner. What it has committed stays.
    ///
    /// # Errors
    ///
    /// [`NoJob`](crate::Error::NoJob), [`WrongState`](crate::Error::WrongState), those of a full queue.
    pub async fn retry(&self, id: Ulid, user: Option<&str>) -> Result<Job> {
        todo!()
    }

    /// Gives a waiting job another place.
    ///
    /// # Errors
    ///
    /// [`NoJob`](crate::Error::NoJob), also for the other one; [`WrongState`](crate::Error::WrongState) if one does not wait.
    pub async fn move_job(&self, id: Ulid, user: Option<&str>, to: Move) -> Result<()> {
        todo!()
    }

    /// Nothing is claimed any more, for a reason that is shown. Running jobs go on. Also after a restart.
    pub async fn pause(&self, reason: &str) -> Result<()> {
        todo!()
    }

    /// Goes on.
    pub async fn resume(&self) -> Result<()> {
        todo!()
    }

    /// Cancels all waiting jobs of a user, or all there are. Returns how many.
    pub async fn clear(&self, user: Option<&str>) -> Result<u64> {
        todo!()
    }
}

/// For workers.
impl Queue {
    /// Takes the next job, if there is one and the queue is not paused. Prefers jobs of the loaded model for at most 4
    /// jobs in a row or 60 s, then higher priority, then the user who was served longest ago, then the order of the user.
    /// Where there is none, wait for [`changed`](Self::changed), at most a second.
    ///
    /// `kinds` are the kinds that this worker can do; empty means all.
    pub async fn claim(
        &self,
        worker: &str,
        kinds: &[&str],
        loaded: Option<&str>,
    ) -> Result<Option<Claimed>> {
        todo!()
    }

    /// Holds the lease for another 30 s, and says whether the job is to stop. Call it every 5 s or so, from a timer.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::Error::LeaseLost).
    pub async fn renew(&self, lease: &Lease) -> Result<Asked> {
        todo!()
    }

    /// Writes a picture and puts it into the catalogue, if the lease is still held. The same `n` twice is once.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::Error::LeaseLost); [`DiskFull`](crate::Error::DiskFull): the queue is paused with that reason. Renew, wait 5 s
    /// and commit again; once it succeeds the queue goes on.
    pub async fn commit(&self, lease: &Lease, picture: &NewPicture) -> Result<Committed> {
        todo!()
    }

    /// The job is done.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::Error::LeaseLost); [`Incomplete`](crate::Error::Incomplete) while promised pictures are not committed.
    pub async fn finish(&self, lease: &Lease, result: Option<&str>) -> Result<Job> {
        todo!()
    }

    /// The job has failed.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::Error::LeaseLost).
    pub async fn fail(&self, lease: &Lease, code: &str, message: &str) -> Result<Job> {
        todo!()
    }

    /// The job was to stop, and has stopped. It is cancelled.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::Error::LeaseLost); [`WrongState`](crate::Error::WrongState) if nobody asked.
    pub async fn stopped(&self, lease: &Lease) -> Result<Job> {
        todo!()
    }

    /// Gives the job back, to be queued at its old place, without counting the attempt: the process is shutting down. A job
    /// that was to stop is cancelled.
    ///
    /// # Errors
    ///
    /// [`LeaseLost`](crate::Error::LeaseLost).
    pub async fn release(&self, lease: &Lease) -> Result<Job> {
        todo!()
    }
}

/// The catalogue.
impl Queue {
    /// The picture of that id, if it is there and the user's (none means anybody's), also from the bin.
    pub async fn picture(&self, id: Ulid, user: Option<&str>) -> Result<Option<Picture>> {
        todo!()
    }

    /// A job's committed pictures, in the order of `n`, without those in the bin.
    pub async fn pictures(&self, job: Ulid) -> Result<Vec<Picture>> {
        todo!()
    }

    /// The pictures that fit, the newest first. `before` is [`Page::next`]; at most 500 at a time.
    ///
    /// # Errors
    ///
    /// [`Argument`](crate::Error::Argument) for words that are none.
    pub async fn search(
        &self,
        search: &Search,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Page<Picture, i64>> {
        todo!()
    }

    /// Puts a picture into the catalogue that no job here made.
    pub async fn import(&self, user: &str, picture: &NewPicture) -> Result<Picture> {
        todo!()
    }

    /// Stars a picture or takes the star away.
    ///
    /// # Errors
    ///
    /// [`NoPicture`](crate::Error::NoPicture).
    pub async fn star(&self, id: Ulid, user: Option<&str>, starred: bool) -> Result<()> {
        todo!()
    }

    /// Gives a picture these tags instead of those it has: at most 64, each of 1 to 100 bytes without line breaks.
    ///
    /// # Errors
    ///
    /// [`NoPicture`](crate::Error::NoPicture), [`Argument`](crate::Error::Argument).
    pub async fn tag(&self, id: Ulid, user: Option<&str>, tags: &[String]) -> Result<()> {
        todo!()
    }

    /// All tags of a user's pictures and how many carry each, the most frequent first.
    pub async fn tags(&self, user: Option<&str>) -> Result<Vec<(String, u64)>> {
        todo!()
    }

    /// Puts a picture into the bin, from which it can be had back for 30 days.
    ///
    /// # Errors
    ///
    /// [`NoPicture`](crate::Error::NoPicture).
    pub async fn delete(&self, id: Ulid, user: Option<&str>) -> Result<()> {
        todo!()
    }

    /// Takes a picture out of the bin again.
    ///
    /// # Errors
    ///
    /// [`NoPicture`](crate::Error::NoPicture).
    pub async fn restore(&self, id: Ulid, user: Option<&str>) -> Result<()> {
        todo!()
    }

    /// Removes a picture for ever, whether it is in the bin or not.
    ///
    /// # Errors
    ///
    /// [`NoPicture`](crate::Error::NoPicture).
    pub async fn purge(&self, id: Ulid, user: Option<&str>) -> Result<()> {
        todo!()
    }
}

/// Uploads.
impl Queue {
    /// Keeps uploaded bytes under their hash. One that no job names is removed after 24 h.
    ///
    /// # Errors
    ///
    /// [`NoRoom`](crate::Error::NoRoom), [`DiskFull`](crate::Error::DiskFull).
    pub async fn put_input(&self, bytes: Vec<u8>) -> Result<Input> {
        todo!()
    }

    /// The bytes of an upload.
    ///
    /// # Errors
    ///
    /// [`NoInput`](crate::Error::NoInput).
    pub async fn input(&self, sha256: &str) -> Result<Vec<u8>> {
        todo!()
    }
}

/// The feed of changes.
impl Queue {
    /// The events after number `after` (0: from the first kept), at most `limit`; of one user and those that concern all, or everybody's.
    pub async fn events(&self, after: i64, user: Option<&str>, limit: u32) -> Result<Events> {
        todo!()
    }

    /// The number of the newest event, and a way to wait for the next.
    pub fn changed(&self) -> watch::Receiver<i64> {
        todo!()
    }
}
