//! A queue whose files lie in memory: nothing that was drawn is to be found on the disk, during or after.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

use latent_queue::{Database, Error, Limits, NewJob, NewPicture, Outside, Queue, Search, Store};
use tempfile::TempDir;

/// A word that stands nowhere else.
const WORD: &str = "zanzibarquux";
const MINUTE: i64 = 60_000;

struct Bench {
    folder: TempDir,
    clock: Arc<AtomicI64>,
    random: Arc<AtomicU64>,
}

impl Bench {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            clock: Arc::new(AtomicI64::new(common::START)),
            random: Arc::new(AtomicU64::new(1)),
        }
    }

    async fn open(&self, most: u64) -> Queue {
        let (clock, random) = (self.clock.clone(), self.random.clone());
        let outside = Outside {
            now: Arc::new(move || clock.load(SeqCst)),
            random: Arc::new(move || common::bits(random.fetch_add(1, SeqCst))),
            free: Arc::new(|_| panic!("the disk is not asked")),
        };
        let database = Database::Sqlite(self.folder.path().join("private.sqlite"));
        let limits = Limits {
            reserve: 1000,
            ..Limits::private()
        };
        let queue = Queue::open(database, Store::in_memory(most), limits, outside).await;
        let queue = queue.expect("a queue");
        queue.recover().await.expect("recovered");
        queue
    }

    /// Whether the bytes stand in a file of the folder.
    fn holds(&self, bytes: &[u8]) -> bool {
        let files = std::fs::read_dir(self.folder.path()).expect("a folder");
        let holds = |path: &Path| {
            let file = std::fs::read(path).expect("a file");
            file.windows(bytes.len()).any(|part| part == bytes)
        };
        files
            .map(|file| file.expect("an entry").path())
            .any(|path| holds(&path))
    }
}

fn job(pictures: u32) -> NewJob {
    NewJob {
        request: format!("{{\"prompt\": \"{WORD}\"}}"),
        ..common::job("ann", pictures)
    }
}

fn picture(n: u32) -> NewPicture {
    NewPicture {
        bytes: b"the bytes of a picture".to_vec(),
        prompt: WORD.to_owned(),
        infotext: WORD.to_owned(),
        ..common::picture(n)
    }
}

#[tokio::test]
async fn results_live_ten_minutes_and_leave_nothing() {
    let bench = Bench::new();
    let queue = bench.open(1 << 20).await;
    let id = queue.submit(job(1)).await.expect("accepted").job.id;
    let claimed = queue.claim("w", &[], None).await.expect("claimed");
    let claimed = claimed.expect("a job");
    let committed = queue.commit(&claimed.lease, &picture(0)).await;
    let image = committed.expect("committed").id;
    queue.finish(&claimed.lease, None).await.expect("finished");
    let format = latent_queue::Format::Png;
    let file = queue.store().picture(image, format).await;
    assert_eq!(file.expect("there"), b"the bytes of a picture");
    assert!(!bench.holds(b"the bytes of a picture"));
    let words = Search {
        words: Some(WORD.to_owned()),
        ..Search::default()
    };
    let found = queue.search(&words, None, 10).await.expect("searched");
    assert_eq!(found.items.len(), 1);
    assert!(bench.holds(WORD.as_bytes()), "the queue itself is kept");

    bench.clock.fetch_add(9 * MINUTE, SeqCst);
    assert_eq!(queue.sweep().await.expect("swept").pictures, 0);
    bench.clock.fetch_add(2 * MINUTE, SeqCst);
    let swept = queue.sweep().await.expect("swept");
    assert_eq!((swept.pictures, swept.jobs), (1, 1));
    assert!(queue.store().picture(image, format).await.is_err());
    assert_eq!(queue.job(id, None).await.expect("read"), None);
    assert!(!bench.holds(WORD.as_bytes()), "what was deleted is gone");
}

#[tokio::test]
async fn what_lay_in_memory_is_forgotten_at_the_next_start() {
    let bench = Bench::new();
    let queue = bench.open(1 << 20).await;
    let input = queue.put_input(b"an upload".to_vec()).await.expect("kept");
    assert!(!bench.holds(b"an upload"));
    let done = queue.submit(job(0)).await.expect("accepted").job.id;
    let claimed = queue.claim("w", &[], None).await.expect("claimed");
    let lease = claimed.expect("a job").lease;
    queue.finish(&lease, None).await.expect("finished");
    let id = queue.submit(job(2)).await.expect("accepted").job.id;
    let claimed = queue.claim("w", &[], None).await.expect("claimed");
    let lease = claimed.expect("a job").lease;
    queue.commit(&lease, &picture(0)).await.expect("committed");
    queue.close().await;

    let queue = bench.open(1 << 20).await;
    assert_eq!(queue.job(done, None).await.expect("read"), None);
    let gone = queue.input(&input.sha256).await;
    assert!(matches!(gone, Err(Error::NoInput { .. })), "{gone:?}");
    let claimed = queue.claim("w", &[], None).await.expect("claimed");
    let claimed = claimed.expect("the job that was running");
    assert_eq!((claimed.job.id, claimed.missing), (id, vec![0, 1]));
    for n in [0, 1] {
        let committed = queue.commit(&claimed.lease, &picture(n)).await;
        committed.expect("committed");
    }
    queue.finish(&claimed.lease, None).await.expect("finished");
}

#[tokio::test]
async fn memory_that_is_full_refuses_and_frees_itself() {
    let bench = Bench::new();
    let queue = bench.open(2000).await;
    queue.put_input(vec![7; 1500]).await.expect_err("no room");
    queue.submit(job(1)).await.expect("accepted");
    let claimed = queue.claim("w", &[], None).await.expect("claimed");
    let lease = claimed.expect("a job").lease;
    let large = NewPicture {
        bytes: vec![1; 1500],
        ..picture(0)
    };
    queue.commit(&lease, &large).await.expect("committed");
    queue.finish(&lease, None).await.expect("finished");
    let refused = queue.submit(job(1)).await;
    assert!(matches!(refused, Err(Error::NoRoom { .. })), "{refused:?}");
    bench.clock.fetch_add(11 * MINUTE, SeqCst);
    queue.sweep().await.expect("swept");
    queue.submit(job(1)).await.expect("there is room again");
}
