//! Threads that compute several things at the same time.

use std::sync::Mutex;

use rayon::{ThreadPool, ThreadPoolBuilder};

/// Teams of threads, one for each thing that is computed at the same time as others. All threads of the
/// program are shared out among them; the teams are made when they are first needed.
#[derive(Debug, Default)]
pub struct Teams(Mutex<Vec<ThreadPool>>);

impl Teams {
    /// The results of `job` for each item, in their order. A single item gets all the threads; so do all, one
    /// after the other, where no more threads can be had.
    pub fn run<T: Sync, R: Send>(&self, items: &[T], job: impl Fn(&T) -> R + Sync) -> Vec<R> {
        let mut teams = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if items.len() > 1 && teams.len() < items.len() {
            let threads = (rayon::current_num_threads() / items.len()).max(1);
            let team = |_| ThreadPoolBuilder::new().num_threads(threads).build().ok();
            *teams = (0..items.len()).map_while(team).collect();
        }
        if items.len() < 2 || teams.len() < items.len() {
            return items.iter().map(job).collect();
        }
        let job = &job;
        std::thread::scope(|scope| {
            let mut begun = Vec::new();
            for (item, team) in items.iter().zip(&*teams) {
                begun.push(scope.spawn(move || team.install(|| job(item))));
            }
            let end = |begun: std::thread::ScopedJoinHandle<'_, R>| match begun.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            begun.into_iter().map(end).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items_and_computed_at_the_same_time() {
        let teams = Teams::default();
        for count in [0, 1, 3] {
            let items: Vec<usize> = (0..count).collect();
            let meeting = std::sync::Barrier::new(count.max(1));
            let job = |item: &usize| {
                meeting.wait();
                (10 * item, rayon::current_num_threads())
            };
            let results = teams.run(&items, job);
            let share = (rayon::current_num_threads() / count.max(1)).max(1);
            let expected: Vec<_> = items.iter().map(|item| (10 * item, share)).collect();
            assert_eq!(results, expected);
        }
    }
}
