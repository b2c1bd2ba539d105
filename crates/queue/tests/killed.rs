//! A process that works on the queue is killed at random moments, and the queue is opened again.
//!
//! The child is this test's own binary. It says each job that was accepted on a line of its output; what it said must
//! have happened, whatever came after.

mod common;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{bits, files, job, mix};
use latent_queue::{
    Cancel, Database, Format, JobFilter, Limits, NewPicture, Outside, Queue, Search, State, Store,
    Ulid,
};

/// Names the folder to the child.
const FOLDER: &str = "LATENT_TEST_KILLED";
const ROUNDS: u64 = 25;
/// Enough jobs to be always busy.
const WAITING: u64 = 12;

async fn open(folder: &Path) -> Queue {
    let now = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.expect("a clock after 1970")
    };
    let outside = Outside {
        now: Arc::new(move || now().as_millis() as i64),
        random: Arc::new(move || bits(now().as_nanos() as u64)),
        free: Arc::new(Store::free),
    };
    // So many crashes within one picture are what this test makes; that they end a job is tried elsewhere.
    let limits = Limits {
        crashes: u32::MAX,
        reserve: 0,
        ..Limits::default()
    };
    let store = Store::open(folder.join("store")).expect("a store");
    let database = Database::Sqlite(folder.join("queue.sqlite"));
    let queue = Queue::open(database, store, limits, outside)
        .await
        .expect("a queue");
    queue.recover().await.expect("recovery");
    queue
}

/// The bytes of a picture are decided by the request of its job.
fn drawn(request: &str, n: u32) -> NewPicture {
    NewPicture {
        bytes: format!("{request} {n} ").repeat(200).into_bytes(),
        ..common::picture(n)
    }
}

/// One job, with all its pictures; now and then a cancelled one.
async fn work(queue: &Queue, round: u64) -> bool {
    let Some(claimed) = queue.claim("w", &[], None).await.expect("asked") else {
        return false;
    };
    if round % 7 == 6 {
        queue
            .cancel(claimed.job.id, None, Cancel::Drop)
            .await
            .expect("asked");
        queue.stopped(&claimed.lease).await.expect("stopped");
        return true;
    }
    for n in claimed.missing {
        let picture = drawn(&claimed.job.request, n);
        queue
            .commit(&claimed.lease, &picture)
            .await
            .expect("committed");
    }
    queue.finish(&claimed.lease, None).await.expect("finished");
    true
}

#[test]
#[ignore = "the child of the test below, which runs until it is killed"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    runtime().block_on(async {
        let queue = open(Path::new(&folder)).await;
        for round in 0.. {
            while queue.counts(None).await.expect("counts").queued < WAITING {
                let mut new = job("ann", (round % 4) as u32);
                new.request = format!(
                    "{{\"n\":{}}}",
                    mix(SystemTime::now()
                        .duration_since(UNIX_EPOCH)
                        .expect("a clock")
                        .as_nanos() as u64)
                );
                let accepted = queue.submit(new).await.expect("accepted").job;
                println!("\naccepted {}", accepted.id);
            }
            work(&queue, round).await;
        }
    });
}

#[test]
fn nothing_is_lost_or_done_twice_by_kills_at_random_moments() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut accepted = Vec::new();
    for round in 0..ROUNDS {
        // From before the tables are there to some hundred commits later.
        let alive = Duration::from_millis(5 + mix(round) % 250);
        accepted.extend(killed_after(folder.path(), alive));
    }
    assert!(
        accepted.len() > ROUNDS as usize,
        "the child did not come to work"
    );
    runtime().block_on(async {
        let queue = open(folder.path()).await;
        while work(&queue, 0).await {}
        check(&queue, folder.path(), &accepted).await;
        queue.close().await;
    });
}

/// Starts a child, kills it (SIGKILL on Unix) and returns the jobs that it said were accepted.
fn killed_after(folder: &Path, alive: Duration) -> Vec<Ulid> {
    let program = std::env::current_exe().expect("this program");
    let mut child = Command::new(program)
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("a child");
    thread::sleep(alive);
    assert!(
        child.try_wait().expect("a child").is_none(),
        "the child ended by itself"
    );
    child.kill().expect("killed");
    child.wait().expect("ended");
    let mut said = String::new();
    let output = child.stdout.as_mut().expect("its output");
    output.read_to_string(&mut said).expect("text");
    let ids = said
        .lines()
        .filter_map(|line| line.strip_prefix("accepted "));
    ids.map(|id| Ulid::from_string(id).expect("an id"))
        .collect()
}

/// Each job ended once, and each picture that was promised is there once, with the bytes that a run without kills makes.
async fn check(queue: &Queue, folder: &Path, accepted: &[Ulid]) {
    let (mut jobs, mut before) = (BTreeMap::new(), None);
    loop {
        let page = queue
            .jobs(&JobFilter::default(), before, 100)
            .await
            .expect("a page");
        jobs.extend(page.items.into_iter().map(|job| (job.id, job)));
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    for id in accepted {
        assert!(jobs.contains_key(id), "{id} was accepted and is gone");
    }
    let mut names = Vec::new();
    for job in jobs.values() {
        assert!(
            matches!(job.state, State::Done | State::Cancelled),
            "{job:?}"
        );
        let pictures = queue.pictures(job.id).await.expect("pictures");
        assert_eq!(pictures.len() as u32, job.pictures_done);
        if job.state == State::Done {
            assert_eq!(job.pictures_done, job.pictures_total);
        }
        for picture in pictures {
            assert_eq!(picture.id, job.picture(picture.n));
            let bytes = queue
                .store()
                .picture(picture.id, Format::Png)
                .await
                .expect("a file");
            assert!(
                bytes == drawn(&job.request, picture.n).bytes,
                "{} differs",
                picture.id
            );
            names.push(format!("{}.png", picture.id));
        }
    }
    names.sort();
    assert_eq!(files(&folder.join("store/pictures")), names);
    // The index has each picture once.
    let (mut hits, mut before) = (0, None);
    loop {
        let search = Search {
            words: Some("roof".to_owned()),
            ..Search::default()
        };
        let page = queue.search(&search, before, 500).await.expect("a page");
        hits += page.items.len();
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(hits, names.len());
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}
