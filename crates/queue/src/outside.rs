//! What the queue takes from outside, so that a test can repeat a run.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How many bytes may still be written on the disk that holds a folder.
pub type FreeSpace = dyn Fn(&Path) -> io::Result<u64> + Send + Sync;

/// Clock, randomness and free disk space.
#[derive(Clone)]
pub struct Outside {
    /// Milliseconds since 1970, UTC.
    pub now: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Random bits, the lower 80 of which become part of an id.
    pub random: Arc<dyn Fn() -> u128 + Send + Sync>,
    /// [`Store::free`](crate::Store::free) asks the system.
    pub free: Arc<FreeSpace>,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outside")
    }
}
