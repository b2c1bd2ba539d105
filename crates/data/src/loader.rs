//! Batches in a fixed order, decoded ahead by threads.
//!
//! Examples are numbered through the whole run. With N threads, thread k makes the examples k, k + N, k + 2N, … and puts
//! them into its own bounded queue; the reader takes from the queues in turn. So the order needs no sorting, no thread
//! can run ahead of memory, and the number of threads changes nothing but speed.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, sync_channel},
    },
    thread::JoinHandle,
};

use rayon::prelude::*;

use crate::{
    Error, Example, Fit, Partial, Raw, Share, Source,
    fit::Draw,
    plan::{self, Plan},
};

/// How batches are made.
#[derive(Debug, Clone)]
pub struct LoaderOptions {
    /// What the order, crops and flips are drawn from.
    pub seed: u64,
    /// Examples in a batch, over all processes.
    pub batch: usize,
    /// Whether the order is drawn anew for each epoch; otherwise it is the source's.
    pub shuffle: bool,
    /// What becomes of batches that are not full.
    pub partial: Partial,
    /// Whether another picture takes the place of one that cannot be read; otherwise its batch is smaller, so that no
    /// picture counts twice: for validation.
    pub replace: bool,
    /// The part of each batch that this process reads.
    pub share: Share,
    /// Threads that decode; 0 for as many as the machine has cores.
    pub threads: usize,
    /// Batches that may lie decoded in memory before they are asked for.
    pub ahead: usize,
}

impl LoaderOptions {
    /// Shuffled batches of that many examples, all read by this process.
    pub fn new(seed: u64, batch: usize) -> Self {
        Self {
            seed,
            batch,
            shuffle: true,
            partial: Partial::default(),
            replace: true,
            share: Share::default(),
            threads: 0,
            ahead: 2,
        }
    }
}

/// A batch, or this process's share of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Its position in the run, from 0.
    pub position: u64,
    /// Its epoch, from 0.
    pub epoch: u64,
    /// The examples, all of one size.
    pub examples: Vec<Example>,
}

/// Makes batches of a source.
pub struct Loader {
    inner: Arc<Inner>,
    threads: usize,
    ahead: usize,
}

struct Inner {
    source: Arc<dyn Source>,
    fit: Fit,
    options: LoaderOptions,
    /// Pictures by shape.
    buckets: Vec<Vec<u32>>,
    batches_per_epoch: u64,
    /// The plan of the epoch that was asked for last.
    plan: Mutex<Option<(u64, Arc<Plan>)>>,
    /// Pictures that cannot be read: index → why.
    broken: Mutex<BTreeMap<usize, String>>,
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader")
            .field("pictures", &self.inner.source.len())
            .field("options", &self.inner.options)
            .finish_non_exhaustive()
    }
}

impl Loader {
    /// Prepares batches. With several shapes, the header of every picture is read once, to sort them.
    ///
    /// # Errors
    /// A batch of no examples or one that the processes cannot share evenly, a source with no picture that can be read,
    /// batches of pictures that each keep their own size.
    pub fn new(source: Arc<dyn Source>, fit: Fit, options: LoaderOptions) -> Result<Self, Error> {
        let LoaderOptions { batch, share, .. } = options;
        if batch == 0 {
            return Err(Error::setting("batch", batch, "expected 1 or more"));
        }
        if share.of == 0 || share.rank >= share.of || !batch.is_multiple_of(share.of) {
            return Err(Error::setting(
                "batch",
                batch,
                format!(
                    "process {} of {} cannot read an equal part of it",
                    share.rank, share.of
                ),
            ));
        }
        if fit.shapes.is_empty() && batch > 1 {
            return Err(Error::setting(
                "size",
                "none",
                "expected a size, or a batch of 1: pictures of different sizes make no batch",
            ));
        }
        let count = u32::try_from(source.len()).map_err(|_| {
            Error::setting(
                "pictures",
                source.len(),
                "at most 4294967295 can be numbered",
            )
        })?;
        if count == 0 {
            return Err(Error::setting("pictures", 0, "the data set is empty"));
        }
        let mut broken = BTreeMap::new();
        let buckets = match fit.shapes.len() {
            0 | 1 => vec![(0..count).collect()],
            shapes => {
                let sizes: Vec<_> = (0..count as usize)
                    .into_par_iter()
                    .map(|index| guarded(|| source.size(index)))
                    .collect();
                let mut buckets = vec![Vec::new(); shapes];
                for (index, size) in sizes.into_iter().enumerate() {
                    match size {
                        Ok(size) => buckets[fit.nearest(size)].push(index as u32),
                        Err(reason) => drop(broken.insert(index, reason)),
                    }
                }
                buckets.retain(|bucket| !bucket.is_empty());
                buckets
            }
        };
        if buckets.is_empty() {
            return Err(all_broken(&broken));
        }
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        Ok(Self {
            threads,
            ahead: options.ahead.max(1),
            inner: Arc::new(Inner {
                source,
                fit,
                batches_per_epoch: plan::count(&buckets, batch),
                options,
                buckets,
                plan: Mutex::new(None),
                broken: Mutex::new(broken),
            }),
        })
    }

    /// How many batches an epoch has; the same for every epoch.
    pub fn batches_per_epoch(&self) -> u64 {
        self.inner.batches_per_epoch
    }

    /// The source.
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.inner.source
    }

    /// The batches from that position on, without end. Threads start at once and stop when the iterator is dropped.
    pub fn at(&self, position: u64) -> Batches {
        let queue = (self.ahead * self.inner.share_len())
            .div_ceil(self.threads)
            .max(1);
        let mut queues = Vec::new();
        let mut threads = Vec::new();
        for first in 0..self.threads {
            let (send, receive) = sync_channel(queue);
            let (inner, step) = (self.inner.clone(), self.threads);
            threads.push(std::thread::spawn(move || {
                for (position, place) in inner.places(position).skip(first).step_by(step) {
                    // The iterator was dropped.
                    if send.send(inner.example(position, place)).is_err() {
                        return;
                    }
                }
            }));
            queues.push(receive);
        }
        Batches {
            inner: self.inner.clone(),
            queues,
            threads,
            position,
            taken: 0,
        }
    }

    /// One batch, made by the calling thread: for validation and for looking at a position again. It has no examples
    /// where none of its pictures can be read and others do not take their place.
    ///
    /// # Errors
    /// [`Error::AllBroken`] where nothing of the batch's shape can be read.
    pub fn batch(&self, position: u64) -> Result<Batch, Error> {
        let places = self.inner.share(position);
        let examples = places.filter_map(|place| self.inner.example(position, place).transpose());
        Ok(Batch {
            position,
            epoch: position / self.inner.batches_per_epoch,
            examples: examples.collect::<Result<_, _>>()?,
        })
    }

    /// The pictures that could not be read so far and were replaced: what messages call them, and why. In the source's
    /// order.
    pub fn skipped(&self) -> Vec<(String, String)> {
        let broken = locked(&self.inner.broken);
        let named = broken
            .iter()
            .map(|(index, reason)| (self.inner.source.id(*index), reason.clone()));
        named.collect()
    }
}

impl Inner {
    fn plan(&self, epoch: u64) -> Arc<Plan> {
        let mut last = locked(&self.plan);
        if let Some((of, plan)) = &*last
            && *of == epoch
        {
            return plan.clone();
        }
        let LoaderOptions {
            seed,
            batch,
            shuffle,
            partial,
            ..
        } = self.options;
        let seed = shuffle.then_some(seed);
        let plan = Arc::new(Plan::new(&self.buckets, batch, partial, seed, epoch));
        *last = Some((epoch, plan.clone()));
        plan
    }

    /// Most examples of a batch that this process reads.
    fn share_len(&self) -> usize {
        self.options.batch / self.options.share.of
    }

    /// The places of a batch that this process reads.
    fn share(&self, position: u64) -> std::ops::Range<usize> {
        let plan = self.plan(position / self.batches_per_epoch);
        let length = plan.len((position % self.batches_per_epoch) as usize);
        let first = self.options.share.rank * self.share_len();
        first.min(length)..(first + self.share_len()).min(length)
    }

    /// (position, place) of every example of this process, from a batch on.
    fn places(&self, position: u64) -> impl Iterator<Item = (u64, usize)> + '_ {
        (position..).flat_map(|position| self.share(position).map(move |place| (position, place)))
    }

    /// Nothing where a picture cannot be read and none takes its place.
    fn example(&self, position: u64, place: usize) -> Result<Option<Example>, Error> {
        let epoch = position / self.batches_per_epoch;
        let plan = self.plan(epoch);
        let number = position * self.options.batch as u64 + place as u64;
        let candidates = plan.candidates((position % self.batches_per_epoch) as usize, place);
        let tried = if self.options.replace { usize::MAX } else { 1 };
        for index in candidates.take(tried) {
            if locked(&self.broken).contains_key(&index) {
                continue;
            }
            let draw = Draw {
                seed: self.options.seed,
                epoch,
                index,
            };
            let made = guarded(|| {
                let raw: Raw = self.source.read(index)?;
                self.fit.apply(raw, draw, number)
            });
            match made {
                Ok(example) => return Ok(Some(example)),
                Err(reason) => drop(locked(&self.broken).insert(index, reason)),
            }
        }
        match self.options.replace {
            true => Err(all_broken(&locked(&self.broken))),
            false => Ok(None),
        }
    }
}

/// What a picture gives, or why it gives nothing. A decoder that panics has met a broken picture too.
pub(crate) fn guarded<T>(read: impl FnOnce() -> Result<T, Error>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!(
                "its decoder failed: {}",
                text.unwrap_or("no reason given")
            ))
        }
    }
}

fn all_broken(broken: &BTreeMap<usize, String>) -> Error {
    Error::AllBroken {
        count: broken.len(),
        first: broken.values().next().cloned().unwrap_or_default(),
    }
}

/// What the lock guards is whole after every statement, so a panic elsewhere does not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Batches in order; see [`Loader::at`].
pub struct Batches {
    inner: Arc<Inner>,
    queues: Vec<Receiver<Result<Option<Example>, Error>>>,
    threads: Vec<JoinHandle<()>>,
    position: u64,
    /// Examples taken so far: whose turn it is.
    taken: usize,
}

impl Batches {
    /// The position of the batch that comes next: what a checkpoint keeps.
    pub fn position(&self) -> u64 {
        self.position
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let position = self.position;
        let mut examples = Vec::new();
        for _ in self.inner.share(position) {
            let queue = &self.queues[self.taken % self.queues.len()];
            match queue.recv().ok()? {
                Ok(example) => examples.extend(example),
                Err(error) => return Some(Err(error)),
            }
            self.taken += 1;
        }
        self.position += 1;
        Some(Ok(Batch {
            position,
            epoch: position / self.inner.batches_per_epoch,
            examples,
        }))
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        // Threads notice at their next example that nobody listens.
        self.queues.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
