//! What many listeners are told is read once: drawing needs the processor more.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use latent_queue::{Events, Queue, Result};
use tokio::sync::Mutex;

/// Events read at once.
pub const READ: u32 = 200;
/// Progress is told at most so often.
const PACE: Duration = Duration::from_millis(100);
/// And for each listener, so much less often.
const EACH: Duration = Duration::from_millis(2);

/// Events after a number.
type Read = (i64, Arc<Events>);

/// The listeners, and what was read for them last, by user.
#[derive(Debug, Default)]
pub struct Feed {
    last: Mutex<HashMap<Option<String>, Read>>,
    listeners: AtomicUsize,
}

impl Feed {
    /// Events of a user after a number, up to `known` at least, which is known to be there. Asks the queue once for all who ask
    /// for the same.
    ///
    /// # Errors
    /// That of the database.
    pub async fn after(
        &self,
        queue: &Queue,
        after: i64,
        known: i64,
        user: Option<&str>,
    ) -> Result<Arc<Events>> {
        let mut last = self.last.lock().await;
        let key = user.map(str::to_owned);
        if let Some((from, read)) = last.get(&key)
            && *from == after
            && read.newest >= known
        {
            return Ok(Arc::clone(read));
        }
        let read = Arc::new(queue.events(after, user, READ).await?);
        last.insert(key, (after, Arc::clone(&read)));
        Ok(read)
    }

    /// How long progress is not told again.
    pub fn pace(&self) -> Duration {
        let listeners = self.listeners.load(Ordering::Relaxed);
        PACE.max(EACH * u32::try_from(listeners).unwrap_or(u32::MAX))
    }
}

/// Somebody who listens, as long as this lives.
#[derive(Debug)]
pub struct Listening(crate::app::Shared);

impl Listening {
    /// One more.
    pub fn new(app: &crate::app::Shared) -> Self {
        app.feed.listeners.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(app))
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.feed.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use latent_queue::{Database, Limits, Outside, Store};

    async fn queue(folder: &std::path::Path) -> Queue {
        let outside = Outside {
            now: Arc::new(|| 1),
            random: Arc::new(|| 7),
            free: Arc::new(|_| Ok(u64::MAX)),
        };
        let store = Store::open(folder.join("store")).expect("a store");
        let database = Database::Sqlite(folder.join("queue.sqlite"));
        let queue = Queue::open(database, store, Limits::default(), outside);
        queue.await.expect("a queue")
    }

    #[tokio::test]
    async fn what_all_ask_for_is_read_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let (queue, feed) = (queue(folder.path()).await, Feed::default());
        queue.pause("tea").await.expect("paused");
        let ask = async |after, known| feed.after(&queue, after, known, None).await.expect("read");
        let first = ask(0, 1).await;
        assert_eq!((first.events.len(), first.newest), (1, 1));
        assert!(Arc::ptr_eq(&first, &ask(0, 1).await));
        queue.resume().await.expect("goes on");
        // What is known to be there is read, whatever was read before.
        assert_eq!(ask(0, 2).await.events.len(), 2);
        assert_eq!(ask(1, 2).await.events.len(), 1);
        let other = feed.after(&queue, 1, 2, Some("ann")).await.expect("read");
        assert_eq!(other.newest, 2);
    }

    #[test]
    fn many_are_told_less_often() {
        let feed = Feed::default();
        let pace = |listeners| {
            feed.listeners.store(listeners, Ordering::Relaxed);
            feed.pace().as_millis()
        };
        assert_eq!((pace(0), pace(1), pace(50)), (100, 100, 100));
        assert_eq!(pace(200), 400);
    }
}
