//! Which pictures make up which batch: a function of (seed, epoch).

use crate::random;

/// What becomes of an epoch's last batch of each shape, which its pictures seldom fill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Partial {
    /// It is filled with the first pictures of its shape: every batch is whole and no picture is left out.
    #[default]
    Fill,
    /// It stays smaller: every picture is seen exactly once. For validation.
    Keep,
}

/// The part of every batch that one of several processes reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// This process, from 0.
    pub rank: usize,
    /// All of them; it divides the size of a batch.
    pub of: usize,
}

impl Default for Share {
    /// The only process.
    fn default() -> Self {
        Self { rank: 0, of: 1 }
    }
}

/// The purposes of random numbers here; [`crate::fit`] has 0 to 2.
const WITHIN: u64 = 16;
const BATCHES: u64 = 17;

/// The batches of one epoch.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Pictures, bucket after bucket, each in its shuffled order.
    order: Vec<u32>,
    /// For each batch its bucket's range in `order` and its start in it.
    batches: Vec<(std::ops::Range<usize>, usize)>,
    batch: usize,
    partial: Partial,
}

/// How many batches an epoch has.
pub(crate) fn count(buckets: &[Vec<u32>], batch: usize) -> u64 {
    buckets
        .iter()
        .map(|bucket| bucket.len().div_ceil(batch) as u64)
        .sum()
}

impl Plan {
    pub fn new(
        buckets: &[Vec<u32>],
        batch: usize,
        partial: Partial,
        shuffle: Option<u64>,
        epoch: u64,
    ) -> Self {
        let mut order = Vec::with_capacity(buckets.iter().map(Vec::len).sum());
        let mut batches = Vec::new();
        for (number, bucket) in buckets.iter().enumerate() {
            let start = order.len();
            order.extend_from_slice(bucket);
            let range = start..order.len();
            if let Some(seed) = shuffle {
                random::shuffle(
                    &mut order[range.clone()],
                    seed,
                    &[WITHIN, epoch, number as u64],
                );
            }
            let firsts = range.clone().step_by(batch);
            batches.extend(firsts.map(|first| (range.clone(), first)));
        }
        if let Some(seed) = shuffle {
            random::shuffle(&mut batches, seed, &[BATCHES, epoch]);
        }
        Self {
            order,
            batches,
            batch,
            partial,
        }
    }

    /// How many pictures a batch has.
    pub fn len(&self, batch: usize) -> usize {
        let (range, first) = &self.batches[batch];
        match self.partial {
            Partial::Fill => self.batch,
            Partial::Keep => self.batch.min(range.end - first),
        }
    }

    /// The picture at a place of a batch, then those that stand in for it where it is broken: the ones that follow in
    /// its bucket, round to itself.
    pub fn candidates(&self, batch: usize, place: usize) -> impl Iterator<Item = usize> + '_ {
        let (range, first) = &self.batches[batch];
        let bucket = &self.order[range.clone()];
        let start = first - range.start + place;
        (0..bucket.len()).map(move |on| bucket[(start + on) % bucket.len()] as usize)
    }
}
