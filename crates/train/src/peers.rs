//! Processes that train one model together.

/// The processes of a run. Each has the same weights and its own share of every batch; they meet when a
/// step ends.
pub trait Peers {
    /// This process, counted from 0.
    fn rank(&self) -> usize {
        0
    }

    /// How many there are.
    fn size(&self) -> usize {
        1
    }

    /// Replaces each number by the sum of what the processes have in its place. Every process calls it
    /// with as many numbers.
    fn sum(&self, numbers: &mut [f32]);

    /// The same in f64, for counts and losses.
    fn sum_wide(&self, numbers: &mut [f64]);
}

/// A process by itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone;

impl Peers for Alone {
    fn sum(&self, _numbers: &mut [f32]) {}

    fn sum_wide(&self, _numbers: &mut [f64]) {}
}
