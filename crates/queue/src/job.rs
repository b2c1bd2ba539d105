//! Jobs as they are submitted, claimed and read.

use crate::{Error, Result, Ulid};

/// Where a job stands. Queued → running → one of the last three; a crash or a shutdown leads back to queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// It waits.
    Queued,
    /// A worker holds its lease.
    Running,
    /// All its pictures are committed and its worker has finished it.
    Done,
    /// It ended with an error.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl State {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Queued,
        Self::Running,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Its word in the database and in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether nothing will happen to the job by itself any more.
    pub fn ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// What becomes of the picture that is being drawn when its job is cancelled. Pictures already committed stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// It is dropped at once, without decoding.
    Drop,
    /// It is decoded as it is and committed.
    Keep,
}

impl Cancel {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Keep => "keep",
        }
    }

    pub(crate) fn parse(word: &str) -> Result<Self> {
        match word {
            "drop" => Ok(Self::Drop),
            "keep" => Ok(Self::Keep),
            _ => Err(Error::Row(format!("{word:?} as a way to cancel"))),
        }
    }
}

/// A job to be submitted. Everything random in it has been decided.
#[derive(Clone, Debug, Default)]
pub struct NewJob {
    /// Its owner, at most 200 bytes; any word where there is only one.
    pub user: String,
    /// What kind of job, for the worker: `draw`, `train`, …
    pub kind: String,
    /// What is asked, as JSON, for the worker alone.
    pub request: String,
    /// The model it needs, by which jobs of one model are drawn one after the other.
    pub model: Option<String>,
    /// How many pictures it promises. Their ids are allocated when the job is accepted. May be 0.
    pub pictures: u32,
    /// Higher is earlier; 0 is usual.
    pub priority: i32,
    /// What makes a request sent twice one job.
    pub idempotency: Option<Idempotency>,
    /// Uploaded files that it reads, by hash ([`Queue::put_input`](crate::Queue::put_input)). They are kept as long as the
    /// job.
    pub inputs: Vec<String>,
    /// Bytes that it may write; refused if the disk has less than this or the reserve, whichever is more.
    pub bytes_needed: u64,
}

/// A key that the client chose, and what it sent along.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// Unique for a user in 24 hours, at most 255 bytes.
    pub key: String,
    /// The body as it was sent, before anything was drawn for it. Only its hash is kept.
    pub body: Vec<u8>,
}

/// What became of a submission.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The job; the first one, if the key was known.
    pub job: Job,
    /// Whether the key and body were known already, so that nothing was enqueued.
    pub known: bool,
}

/// A job as it stands in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id, which rises with time.
    pub id: Ulid,
    /// Its owner.
    pub user: String,
    /// What kind of job.
    pub kind: String,
    /// What is asked, as JSON.
    pub request: String,
    /// The model it needs.
    pub model: Option<String>,
    /// Where it stands.
    pub state: State,
    /// Higher is earlier.
    pub priority: i32,
    /// When it was accepted.
    pub created_ms: i64,
    /// When it was first claimed.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub finished_ms: Option<i64>,
    /// The id of its first picture; see [`Job::picture`].
    pub first_picture: Ulid,
    /// How many pictures it promised.
    pub pictures_total: u32,
    /// How many are committed.
    pub pictures_done: u32,
    /// How often it was claimed since the last picture was committed.
    pub attempt: u32,
    /// The worker that holds it.
    pub worker: Option<String>,
    /// Until when.
    pub lease_until_ms: Option<i64>,
    /// Whether it has been asked to stop and how; it may still be running.
    pub cancel: Option<Cancel>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What its worker gave when it finished, as JSON.
    pub result: Option<String>,
}

impl Job {
    /// The id of picture `n`, from 0: the first one, counted up.
    pub fn picture(&self, n: u32) -> Ulid {
        Ulid(self.first_picture.0.wrapping_add(u128::from(n)))
    }
}

/// Why a job failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stable name; `crashed` when its process died three times within one picture.
    pub code: String,
    /// In words.
    pub message: String,
}

/// The right to work on a job, as long as it is renewed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: Ulid,
    /// The fencing token: it rises with each claim of the job.
    pub token: i64,
}

/// What a worker can do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Able<'a> {
    /// The kinds of jobs; empty means all.
    pub kinds: &'a [&'a str],
    /// The models that it has; empty means all.
    pub models: &'a [&'a str],
    /// The one that is loaded.
    pub loaded: Option<&'a str>,
}

/// A job that was claimed.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The job, now running.
    pub job: Job,
    /// The right to work on it.
    pub lease: Lease,
    /// The pictures that are not committed yet, rising. Draw these and no others.
    pub missing: Vec<u32>,
}

/// What a worker is asked when it renews its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Until when the lease is held now.
    pub until_ms: i64,
    /// Whether the job is to stop.
    pub cancel: Option<Cancel>,
}

/// What cancelling did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The job waited; it is cancelled.
    Now,
    /// The job is running; its worker has been told.
    Asked,
    /// The job had ended before, in this state.
    Ended(State),
}

/// A new place for a waiting job, among those of its owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Before all others, also before those that need the loaded model.
    Next,
    /// Right before another waiting job of the same owner, with its priority.
    Before(Ulid),
    /// Behind all others.
    Last,
}

/// A waiting job and how many are to run before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The job.
    pub job: Job,
    /// Jobs of all users that come before it, if the loaded model changes nothing.
    pub ahead: u64,
}

/// Which jobs to list.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Only those of this owner; none means all.
    pub user: Option<String>,
    /// Only those in one of these states; empty means all.
    pub states: Vec<State>,
    /// Only those of this kind.
    pub kind: Option<String>,
}

/// Why the queue is paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// In words, to be shown.
    pub reason: String,
    /// It goes on by itself once a picture can be written again.
    pub disk_full: bool,
    /// Since when.
    pub since_ms: i64,
}

/// How many jobs are in which state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting.
    pub queued: u64,
    /// Running.
    pub running: u64,
    /// Done.
    pub done: u64,
    /// Failed.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Whether the queue is paused. Running jobs go on.
    pub paused: Option<Pause>,
    /// The measured mean time of a job, from its first claim to its end; none before the first.
    pub mean_ms: Option<u64>,
}
