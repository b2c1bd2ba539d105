//! Sharing work among threads.

mod board;

use board::Board;

/// Runs `job(0)` to `job(count - 1)`, on several threads where there are some.
///
/// Which thread runs a job, and when, must not show in its result.
pub(crate) fn each(count: usize, job: impl Fn(usize) + Send + Sync) {
    let threads = threads();
    if count <= 1 || threads == 1 {
        (0..count).for_each(job);
    } else {
        Board::share(threads, count, &job);
    }
}

/// How many threads share the work.
pub(crate) fn threads() -> usize {
    rayon::current_num_threads()
}

/// A pointer that jobs on other threads may write through.
pub(crate) struct Shared<T>(*mut T);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Shared<T> {}

// SAFETY: whoever writes through it promises that jobs write to different places.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    pub fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    pub fn get(self) -> *mut T {
        self.0
    }
}

/// Runs `job` on every range of at most `size` out of `0..len`, as [`each`] does. The ranges depend
/// on nothing else, so that what is summed within one is summed alike on any number of threads.
pub(crate) fn each_range(
    len: usize,
    size: usize,
    job: impl Fn(std::ops::Range<usize>) + Send + Sync,
) {
    each(len.div_ceil(size), |i| {
        job(i * size..len.min((i + 1) * size))
    });
}

/// Runs `job` on every range of at most `size` rows of each of `items` items, as [`each_range`] does: `job(item, part, range)`,
/// where parts are counted through all items.
pub(crate) fn each_range_of(
    items: usize,
    rows: usize,
    size: usize,
    job: impl Fn(usize, usize, std::ops::Range<usize>) + Send + Sync,
) {
    let parts = rows.div_ceil(size);
    each(items * parts, |part| {
        let (item, i) = (part / parts, part % parts);
        job(item, part, i * size..rows.min((i + 1) * size));
    });
}

/// How many rows of `width` numbers make up some `numbers` numbers.
pub(crate) fn rows_in(numbers: usize, width: usize) -> usize {
    (numbers / width.max(1)).max(1)
}
