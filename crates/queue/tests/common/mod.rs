//! A queue in a folder of its own, with a clock and a disk that the test moves.

#![allow(dead_code)] // Each test binary uses a part.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

use latent_queue::{
    Claimed, Database, Format, Job, Limits, NewJob, NewPicture, Outside, Queue, Store,
};
use tempfile::TempDir;

/// What a test works with.
pub struct Bench {
    pub queue: Queue,
    pub folder: TempDir,
    pub clock: Arc<AtomicI64>,
    pub free: Arc<AtomicU64>,
    pub limits: Limits,
    random: Arc<AtomicU64>,
    database: Database,
}

/// Where the clock of a test starts.
pub const START: i64 = 1_700_000_000_000;

impl Bench {
    pub async fn sqlite(folder: TempDir, limits: Limits) -> Self {
        let database = Database::Sqlite(folder.path().join("queue.sqlite"));
        Self::new(folder, database, limits).await
    }

    pub async fn new(folder: TempDir, database: Database, limits: Limits) -> Self {
        let clock = Arc::new(AtomicI64::new(START));
        let free = Arc::new(AtomicU64::new(u64::MAX));
        let random = Arc::new(AtomicU64::new(1));
        let outside = outside(&clock, &free, &random);
        let store = Store::open(folder.path().join("store")).expect("a store");
        let queue = Queue::open(database.clone(), store, limits.clone(), outside);
        Self {
            queue: queue.await.expect("a queue"),
            folder,
            clock,
            free,
            limits,
            random,
            database,
        }
    }

    /// Leaves everything as it is, as a process that is killed does, and starts anew.
    pub async fn crash(&mut self) {
        let queue = self.again().await;
        std::mem::replace(&mut self.queue, queue).close().await;
        self.queue.recover().await.expect("recovery");
    }

    /// Another process with the same tables and folder.
    pub async fn again(&self) -> Queue {
        let store = Store::open(self.folder.path().join("store")).expect("a store");
        let outside = outside(&self.clock, &self.free, &self.random);
        Queue::open(self.database.clone(), store, self.limits.clone(), outside)
            .await
            .expect("a queue")
    }

    pub fn pass(&self, ms: i64) {
        self.clock.fetch_add(ms, SeqCst);
    }

    pub async fn submit(&self, new: NewJob) -> Job {
        self.queue.submit(new).await.expect("accepted").job
    }

    /// Claims whatever is next.
    pub async fn claim(&self) -> Claimed {
        self.claim_if(None).await.expect("a job")
    }

    pub async fn claim_if(&self, loaded: Option<&str>) -> Option<Claimed> {
        self.queue.claim("w", &[], loaded).await.expect("claimed")
    }

    /// Claims, draws what is missing and finishes.
    pub async fn work(&self, loaded: Option<&str>) -> Option<Job> {
        let claimed = self.claim_if(loaded).await?;
        for n in claimed.missing {
            let picture = picture(n);
            let committed = self.queue.commit(&claimed.lease, &picture).await;
            committed.expect("committed");
        }
        let job = self.queue.finish(&claimed.lease, None).await;
        Some(job.expect("finished"))
    }

    /// The files of pictures, by name.
    pub fn files(&self) -> Vec<String> {
        files(&self.folder.path().join("store/pictures"))
    }
}

/// A folder in memory, where a sync takes no time, if the system has one.
pub fn fast_folder() -> TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    folder.expect("a folder")
}

/// The names of the files two folders down.
pub fn files(folder: &std::path::Path) -> Vec<String> {
    let list = |folder: &std::path::Path| -> Vec<_> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry")).collect()
    };
    let mut names = Vec::new();
    for shard in list(folder) {
        for file in list(&shard.path()) {
            names.push(file.file_name().into_string().expect("a name"));
        }
    }
    names.sort();
    names
}

fn outside(clock: &Arc<AtomicI64>, free: &Arc<AtomicU64>, random: &Arc<AtomicU64>) -> Outside {
    let (clock, free, random) = (clock.clone(), free.clone(), random.clone());
    Outside {
        now: Arc::new(move || clock.load(SeqCst)),
        random: Arc::new(move || bits(random.fetch_add(1, SeqCst))),
        free: Arc::new(move |_| Ok(free.load(SeqCst))),
    }
}

/// Bits that look random and depend on a number alone (SplitMix64, twice).
pub fn bits(number: u64) -> u128 {
    u128::from(mix(number)) << 64 | u128::from(mix(!number))
}

pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A job of a user with so many pictures.
pub fn job(user: &str, pictures: u32) -> NewJob {
    NewJob {
        user: user.to_owned(),
        kind: "draw".to_owned(),
        request: r#"{"prompt":"a cat"}"#.to_owned(),
        pictures,
        ..NewJob::default()
    }
}

pub fn job_of_model(user: &str, model: &str) -> NewJob {
    NewJob {
        model: Some(model.to_owned()),
        ..job(user, 0)
    }
}

pub fn picture(n: u32) -> NewPicture {
    NewPicture {
        n,
        bytes: format!("picture {n}").into_bytes(),
        format: Format::Png,
        width: 512,
        height: 512,
        seed: Some(u64::MAX - u64::from(n)),
        sampler: Some("Euler a".to_owned()),
        steps: Some(20),
        model: Some("small".to_owned()),
        prompt: "a red cat on a roof".to_owned(),
        negative: "fog".to_owned(),
        infotext: "a red cat on a roof\nSteps: 20".to_owned(),
        request: "{}".to_owned(),
    }
}

/// Runs a test on each database that is there: SQLite, and PostgreSQL where `LATENT_TEST_POSTGRES` names a server.
pub fn on_each<F: Future<Output = ()>>(limits: Limits, test: impl Fn(Bench) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let folder = tempfile::tempdir().expect("a folder");
        test(Bench::sqlite(folder, limits.clone()).await).await;
        #[cfg(feature = "postgres")]
        if let Ok(server) = std::env::var("LATENT_TEST_POSTGRES") {
            let folder = tempfile::tempdir().expect("a folder");
            let database = Database::Postgres(fresh_schema(&server, &folder).await);
            test(Bench::new(folder, database, limits).await).await;
        }
    });
}

/// A schema of the test's own, named after its folder.
#[cfg(feature = "postgres")]
pub async fn fresh_schema(server: &str, folder: &TempDir) -> String {
    use sqlx::{AssertSqlSafe, Connection, Executor};
    let name = folder.path().file_name().expect("a name");
    let name: String = name
        .to_string_lossy()
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    let mut connection = sqlx::PgConnection::connect(server).await.expect("a server");
    let create = format!("CREATE SCHEMA \"{name}\"");
    connection
        .execute(AssertSqlSafe(create))
        .await
        .expect("a schema");
    connection.close().await.expect("closed");
    format!("{server}?options[search_path]={name}")
}
