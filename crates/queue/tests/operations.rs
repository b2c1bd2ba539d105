//! Any sequence of operations and crashes, held against what must be true after each of them.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Bench, fast_folder, job_of_model, picture};
use latent_queue::{Cancel, Cancelled, Claimed, Error, Job, JobFilter, Limits, Move, State, Ulid};
use proptest::prelude::*;

const USERS: [&str; 3] = ["ann", "bob", "cleo"];
const MODELS: [&str; 2] = ["a", "b"];

/// What is done next. Numbers choose among what is there, so that each sequence means something.
#[derive(Clone, Debug)]
enum Step {
    Submit {
        user: usize,
        model: usize,
        pictures: u32,
    },
    Claim {
        model: Option<usize>,
    },
    Commit {
        claim: usize,
        n: u32,
    },
    Finish {
        claim: usize,
    },
    Fail {
        claim: usize,
    },
    Stopped {
        claim: usize,
    },
    Release {
        claim: usize,
    },
    Renew {
        claim: usize,
    },
    Cancel {
        job: usize,
    },
    Retry {
        job: usize,
    },
    Next {
        job: usize,
    },
    Before {
        job: usize,
        other: usize,
    },
    Clear {
        user: usize,
    },
    Pause,
    Resume,
    Delete {
        job: usize,
    },
    Purge {
        job: usize,
    },
    Pass {
        ms: i64,
    },
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let small = || 0..6_usize;
    prop_oneof![
        6 => (0..3_usize, 0..2_usize, 0..4_u32).prop_map(|(user, model, pictures)| Step::Submit { user, model, pictures }),
        6 => proptest::option::of(0..2_usize).prop_map(|model| Step::Claim { model }),
        10 => (small(), 0..4_u32).prop_map(|(claim, n)| Step::Commit { claim, n }),
        3 => small().prop_map(|claim| Step::Finish { claim }),
        1 => small().prop_map(|claim| Step::Fail { claim }),
        2 => small().prop_map(|claim| Step::Stopped { claim }),
        1 => small().prop_map(|claim| Step::Release { claim }),
        1 => small().prop_map(|claim| Step::Renew { claim }),
        2 => small().prop_map(|job| Step::Cancel { job }),
        2 => small().prop_map(|job| Step::Retry { job }),
        1 => small().prop_map(|job| Step::Next { job }),
        1 => (small(), small()).prop_map(|(job, other)| Step::Before { job, other }),
        1 => (0..3_usize).prop_map(|user| Step::Clear { user }),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
        1 => small().prop_map(|job| Step::Delete { job }),
        1 => small().prop_map(|job| Step::Purge { job }),
        2 => prop_oneof![Just(1_i64), Just(20_000), Just(30_001)].prop_map(|ms| Step::Pass { ms }),
        2 => Just(Step::Crash),
    ]
}

/// What is known outside of the queue.
struct World {
    bench: Bench,
    jobs: Vec<Ulid>,
    /// All that were ever claimed, also those that are lost.
    claims: Vec<Claimed>,
    /// How often each picture was new when it was committed, less how often it was purged.
    pictures: BTreeMap<Ulid, i64>,
}

/// The entry that a number means, counted from the newest.
fn nth<T>(list: &[T], n: usize) -> Option<&T> {
    list.iter().rev().nth(n)
}

/// Errors that an operation may answer with; any other is a fault.
fn allowed<T>(result: latent_queue::Result<T>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(
            Error::LeaseLost
            | Error::WrongState { .. }
            | Error::Incomplete { .. }
            | Error::Argument { field: "n", .. }
            | Error::NoJob
            | Error::NoPicture,
        ) => None,
        Err(error) => panic!("{error}"),
    }
}

impl World {
    async fn apply(&mut self, step: &Step) {
        match *step {
            Step::Submit {
                user,
                model,
                pictures,
            } => {
                let mut new = job_of_model(USERS[user], MODELS[model]);
                new.pictures = pictures;
                self.jobs.push(self.bench.submit(new).await.id);
            }
            Step::Claim { model } => {
                let claimed = self.bench.claim_if(model.map(|model| MODELS[model])).await;
                self.claims.extend(claimed);
            }
            Step::Clear { user } => {
                self.bench
                    .queue
                    .clear(Some(USERS[user]))
                    .await
                    .expect("cleared");
            }
            Step::Pause => self.bench.queue.pause("x").await.expect("paused"),
            Step::Resume => self.bench.queue.resume().await.expect("resumed"),
            Step::Pass { ms } => self.bench.pass(ms),
            Step::Crash => self.bench.crash().await,
            Step::Commit { claim, .. }
            | Step::Finish { claim }
            | Step::Fail { claim }
            | Step::Stopped { claim }
            | Step::Release { claim }
            | Step::Renew { claim } => {
                if let Some(claimed) = nth(&self.claims, claim).cloned() {
                    self.work(step, &claimed).await;
                }
            }
            Step::Cancel { job }
            | Step::Retry { job }
            | Step::Next { job }
            | Step::Before { job, .. }
            | Step::Delete { job }
            | Step::Purge { job } => {
                if let Some(&id) = nth(&self.jobs, job) {
                    self.order(step, id).await;
                }
            }
        }
    }

    /// What a worker does, whether or not it still holds its lease.
    async fn work(&mut self, step: &Step, claimed: &Claimed) {
        let (queue, lease) = (&self.bench.queue, &claimed.lease);
        let before = self.read(claimed.job.id).await;
        let done = match *step {
            Step::Commit { n, .. } => {
                let committed = allowed(queue.commit(lease, &picture(n)).await);
                if let Some(committed) = committed {
                    assert_eq!(committed.id, claimed.job.picture(n));
                    *self.pictures.entry(committed.id).or_default() += i64::from(!committed.known);
                }
                committed.is_some()
            }
            Step::Finish { .. } => allowed(queue.finish(lease, None).await).is_some(),
            Step::Fail { .. } => allowed(queue.fail(lease, "x", "y").await).is_some(),
            Step::Stopped { .. } => allowed(queue.stopped(lease).await).is_some(),
            Step::Release { .. } => allowed(queue.release(lease).await).is_some(),
            _ => allowed(queue.renew(lease).await).is_some(),
        };
        // Only who was given the job last may do anything, and only while it runs.
        let last = self
            .claims
            .iter()
            .rfind(|other| other.job.id == claimed.job.id);
        let last = last.expect("a claim").lease.token;
        assert!(!done || (before.state == State::Running && lease.token == last));
    }

    /// What users do.
    async fn order(&mut self, step: &Step, id: Ulid) {
        let queue = &self.bench.queue;
        match *step {
            Step::Cancel { .. } => {
                let before = self.read(id).await.state;
                let cancelled = queue.cancel(id, None, Cancel::Drop).await.expect("a job");
                let expected = match before {
                    State::Queued => Cancelled::Now,
                    State::Running => Cancelled::Asked,
                    ended => Cancelled::Ended(ended),
                };
                assert_eq!(cancelled, expected);
            }
            Step::Retry { .. } => {
                allowed(queue.retry(id, None).await);
            }
            Step::Next { .. } => {
                allowed(queue.move_job(id, None, Move::Next).await);
            }
            Step::Before { other, .. } => {
                let other = *nth(&self.jobs, other).unwrap_or(&id);
                if other != id {
                    allowed(queue.move_job(id, None, Move::Before(other)).await);
                }
            }
            Step::Delete { .. } => {
                let first = self.read(id).await.picture(0);
                allowed(queue.delete(first, None).await);
            }
            _ => {
                let first = self.read(id).await.picture(0);
                if allowed(queue.purge(first, None).await).is_some() {
                    *self.pictures.entry(first).or_default() -= 1;
                }
            }
        }
    }

    async fn read(&self, id: Ulid) -> Job {
        self.bench
            .queue
            .job(id, None)
            .await
            .expect("read")
            .expect("a job")
    }

    /// What is true at any time.
    async fn check(&self) {
        let page = self
            .bench
            .queue
            .jobs(&JobFilter::default(), None, 500)
            .await
            .expect("a page");
        let known: BTreeSet<_> = self.jobs.iter().copied().collect();
        let there: BTreeSet<_> = page.items.iter().map(|job| job.id).collect();
        assert_eq!(known, there, "each job that was accepted is there once");
        for job in &page.items {
            assert_eq!(job.state == State::Running, job.worker.is_some());
            assert_eq!(job.state.ended(), job.finished_ms.is_some());
            assert_eq!(job.state == State::Failed, job.failure.is_some());
            if job.state == State::Done {
                assert_eq!(job.pictures_done, job.pictures_total);
            }
        }
        let waiting = self.bench.queue.waiting(None).await.expect("a list");
        let queued = page.items.iter().filter(|job| job.state == State::Queued);
        assert_eq!(waiting.len(), queued.count());
        for (id, &times) in &self.pictures {
            assert!(times == 0 || times == 1, "{id} was new {times} times");
            let picture = self.bench.queue.picture(*id, None).await.expect("read");
            assert_eq!(picture.is_some(), times == 1);
        }
        let there = self.pictures.values().filter(|times| **times == 1).count();
        assert_eq!(
            self.bench.files().len(),
            there,
            "a file for each row and no other"
        );
    }

    /// Whatever happened, each job can be brought to its end.
    async fn drain(&mut self) {
        self.bench.crash().await;
        self.bench.queue.resume().await.expect("resumed");
        while let Some(claimed) = self.bench.claim_if(None).await {
            for &n in &claimed.missing {
                let committed = self
                    .bench
                    .queue
                    .commit(&claimed.lease, &picture(n))
                    .await
                    .expect("committed");
                assert!(!committed.known);
                *self.pictures.entry(committed.id).or_default() += 1;
            }
            self.bench
                .queue
                .finish(&claimed.lease, None)
                .await
                .expect("finished");
        }
        for id in &self.jobs {
            assert!(self.read(*id).await.state.ended());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_loses_a_job_or_a_picture(steps in proptest::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let bench = Bench::sqlite(fast_folder(), Limits::default()).await;
            let mut world = World { bench, jobs: Vec::new(), claims: Vec::new(), pictures: BTreeMap::new() };
            for step in &steps {
                world.apply(step).await;
                world.check().await;
            }
            world.drain().await;
            world.check().await;
        });
    }
}
