//! Threads that stay awake between one operation and the next.
//!
//! The operations of a small network last 50 µs. A worker of rayon that finds nothing to do goes to sleep within that time, and
//! waking it takes as long again. So a thread that shares its work keeps a [`Board`]: workers of its pool that came to help stay
//! at it for [`AWAKE`] after the last job, and look for the next. They are rayon's own workers, so that the number of threads, teams of them
//! and their end are decided in one place; while they wait they do whatever else the pool has to do, and where the machine
//! has other work than this program they give way to it.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use rayon::prelude::*;

/// How long a worker looks for the next job: longer than what lies between two operations of a network, and too short
/// to be seen in the load of a machine that draws nothing.
const AWAKE: Duration = Duration::from_micros(200);
/// How often it looks before it lets others have its turn.
const LOOKS: usize = 32;
/// Jobs are taken a few at a time: this many times by each thread, were all equally fast.
const SHARES: usize = 4;

/// Jobs of one operation. It lies on the stack of the thread that shares them, which waits until all are done.
struct Post<'a> {
    job: &'a (dyn Fn(usize) + Sync),
    count: usize,
    done: AtomicUsize,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

impl Post<'_> {
    /// Runs `taken` jobs, of which `left` were left before. Nothing of it is touched after they are counted as done.
    fn run(&self, left: usize, taken: usize) {
        let start = self.count - left;
        let jobs = AssertUnwindSafe(|| (start..start + taken).for_each(self.job));
        if let Err(panic) = catch_unwind(jobs) {
            let mut first = self.panic.lock().unwrap_or_else(|e| e.into_inner());
            first.get_or_insert(panic);
        }
        self.done.fetch_add(taken, Ordering::Release);
    }
}

/// Where one thread offers work to the others of its pool.
pub(super) struct Board {
    owner: ThreadId,
    /// Jobs of the post that nobody has taken.
    left: AtomicUsize,
    /// What they are jobs of. It is alive while a job that was taken is not done, or one is left.
    post: AtomicPtr<()>,
    /// Workers that look here, or are on their way.
    helpers: AtomicUsize,
    /// Threads among which jobs are shared.
    threads: AtomicUsize,
}

thread_local! {
    static OWN: Arc<Board> = Arc::new(Board {
        owner: thread::current().id(),
        left: AtomicUsize::new(0),
        post: AtomicPtr::new(ptr::null_mut()),
        helpers: AtomicUsize::new(0),
        threads: AtomicUsize::new(1),
    });
    /// Whether this thread is sharing work already: a job of its own may want to as well.
    static SHARING: Cell<bool> = const { Cell::new(false) };
}

impl Board {
    /// Runs `job(0)` to `job(count - 1)` on this thread and the others of its pool.
    pub(super) fn share(threads: usize, count: usize, job: &(dyn Fn(usize) + Sync)) {
        if SHARING.replace(true) {
            (0..count).into_par_iter().with_max_len(1).for_each(job);
            return;
        }
        let post = Post {
            job,
            count,
            done: AtomicUsize::new(0),
            panic: Mutex::new(None),
        };
        OWN.with(|board| board.offer(threads, &post));
        SHARING.set(false);
        let panic = post.panic.into_inner().unwrap_or_else(|e| e.into_inner());
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Posts the jobs, has helpers come, takes part, and waits until all jobs are done.
    fn offer(self: &Arc<Self>, threads: usize, post: &Post) {
        self.threads.store(threads, Ordering::Relaxed);
        self.post
            .store(ptr::from_ref(post).cast_mut().cast(), Ordering::Relaxed);
        self.left.store(post.count, Ordering::SeqCst);
        let wanted = (threads - 1).min(post.count - 1);
        for _ in self.helpers.load(Ordering::SeqCst)..wanted {
            self.helpers.fetch_add(1, Ordering::SeqCst);
            let board = Arc::clone(self);
            rayon::spawn(move || board.help());
        }
        while self.work() {}
        let mut looks = 0;
        while post.done.load(Ordering::Acquire) < post.count {
            pause(&mut looks);
        }
    }

    /// Takes some jobs and runs them. Returns false if none are left.
    fn work(&self) -> bool {
        let shares = SHARES * self.threads.load(Ordering::Relaxed);
        let take = |left: usize| (left > 0).then(|| left - (left / shares).max(1));
        let Ok(left) = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::Relaxed, take)
        else {
            return false;
        };
        let taken = (left / shares).max(1);
        // SAFETY: the post was stored before the number of jobs left that was just lowered. Its owner waits, and does not post another,
        // until the jobs that were taken here are counted as done, which is the last that `run` does with it.
        let post = unsafe { &*self.post.load(Ordering::Relaxed).cast::<Post>() };
        post.run(left, taken);
        true
    }

    /// What a worker does that came to help.
    fn help(&self) {
        loop {
            // A worker that shares its own work may find its own call for help.
            if thread::current().id() != self.owner {
                self.look();
            }
            self.helpers.fetch_sub(1, Ordering::SeqCst);
            // A post that was made in this moment counted on this worker.
            if thread::current().id() == self.owner || self.left.load(Ordering::SeqCst) == 0 {
                return;
            }
            self.helpers.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Works, and waits for work for as long as [`AWAKE`].
    fn look(&self) {
        let (mut looks, mut since) = (0, Instant::now());
        while since.elapsed() < AWAKE {
            if self.work() {
                while self.work() {}
                (looks, since) = (0, Instant::now());
            } else if pause(&mut looks) && rayon::yield_now() == Some(rayon::Yield::Executed) {
                since = Instant::now();
            }
        }
    }
}

/// Waits for some nanoseconds; after [`LOOKS`] of them lets another program's thread have its turn, and returns true.
fn pause(looks: &mut usize) -> bool {
    *looks += 1;
    let others = looks.is_multiple_of(LOOKS);
    match others {
        true => thread::yield_now(),
        false => std::hint::spin_loop(),
    }
    others
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use rayon::ThreadPoolBuilder;

    use super::super::each;
    use super::*;

    /// How often each of `count` jobs ran.
    fn counted(count: usize) -> Vec<u32> {
        let ran: Vec<AtomicU32> = (0..count).map(|_| AtomicU32::new(0)).collect();
        each(count, |i| {
            ran[i].fetch_add(1, Ordering::Relaxed);
        });
        ran.into_iter().map(AtomicU32::into_inner).collect()
    }

    #[test]
    fn every_job_runs_once_on_any_number_of_threads() {
        for threads in [1, 2, 3, 8] {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| {
                for round in 0..2000 {
                    let count = round % 67;
                    assert_eq!(counted(count), vec![1; count], "{threads} threads");
                }
            });
        }
    }

    #[test]
    fn a_thread_of_no_pool_and_a_job_that_shares_its_own_work_are_served() {
        let outside = thread::spawn(|| counted(100)).join();
        assert_eq!(outside.unwrap(), vec![1; 100]);
        let pool = ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let nested = AtomicU32::new(0);
        pool.install(|| {
            each(9, |_| {
                assert_eq!(counted(40), vec![1; 40]);
                nested.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(nested.into_inner(), 9);
    }

    #[test]
    fn several_threads_of_one_pool_share_at_the_same_time() {
        let pool = ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let all: Vec<Vec<u32>> = pool.install(|| {
            let own = (0..300).into_par_iter().map(|i| counted(i % 50));
            own.collect()
        });
        assert!(all.iter().flatten().all(|&ran| ran == 1));
    }

    #[test]
    fn a_panic_reaches_the_caller_and_ends_nothing_else() {
        let pool = ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        pool.install(|| {
            for bad in 0..50 {
                let run = || each(50, |i| assert!(i != bad, "job {bad}"));
                let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
                let said = panic.downcast::<String>().unwrap();
                assert!(said.contains(&format!("job {bad}")), "{said}");
                assert_eq!(counted(50), vec![1; 50]);
            }
        });
    }

    #[test]
    fn whatever_else_the_pool_has_to_do_is_done_while_helpers_wait() {
        let pool = ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let other = Arc::new(AtomicU32::new(0));
        pool.install(|| {
            for _ in 0..200 {
                let other = Arc::clone(&other);
                rayon::spawn(move || {
                    other.fetch_add(1, Ordering::Relaxed);
                });
                counted(2);
            }
            let begun = Instant::now();
            while other.load(Ordering::Relaxed) < 200 {
                assert!(begun.elapsed() < Duration::from_secs(20));
                counted(2);
            }
        });
    }
}
