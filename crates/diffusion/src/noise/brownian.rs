//! Brownian noise for the SDE samplers, as torchsde's `BrownianTree` draws it.
//!
//! A Brownian path W over [σ_min, σ_max] is fixed by the seed alone: whatever intervals a sampler asks for, in whatever
//! order, they are increments of one path, so W(a, c) = W(a, b) + W(b, c) and a run with twice the steps sees the same
//! noise, finer. The path is made by halving: the increment over an interval is known, its middle is a normal around half
//! of it (the Brownian bridge), and the middle's random numbers come from a seed that names the node of the binary tree.
//! A query descends until its ends, rounded to six decimals, are nodes' ends, and adds up the nodes between.
//!
//! The reference walks the same tree from the last node it visited and grows it as it goes; the nodes it adds up are the
//! same. Arithmetic is f32 where it is there.

use std::collections::{HashMap, VecDeque};

use burn::tensor::{Tensor, TensorData};

use crate::{Error, Noise};

use super::{Generator, NoiseSource, PictureSeed, seed_sequence::generate_state};

const POOL: usize = 24;
/// Nodes whose increments are kept. Consecutive queries share an end, and with it about half of their nodes.
const KEPT: usize = 64;

/// One Brownian path of `count` numbers over an interval.
#[derive(Debug, Clone)]
pub struct BrownianTree {
    source: NoiseSource,
    seed: u64,
    count: usize,
    top: Node,
    increment: Vec<f32>,
    kept: HashMap<(u32, u64), Vec<f32>>,
    order: VecDeque<(u32, u64)>,
}

/// An interval of the tree: `key` counts the nodes of its depth from the left.
#[derive(Debug, Clone, Copy)]
struct Node {
    start: f64,
    end: f64,
    depth: u32,
    key: u64,
}

impl Node {
    fn middle(&self) -> f64 {
        six_decimals(0.5 * (self.end + self.start))
    }

    fn left(&self) -> Self {
        Self {
            end: self.middle(),
            depth: self.depth + 1,
            key: self.key * 2,
            ..*self
        }
    }

    fn right(&self) -> Self {
        Self {
            start: self.middle(),
            depth: self.depth + 1,
            key: self.key * 2 + 1,
            ..*self
        }
    }
}

impl BrownianTree {
    /// The path of `seed` over [`t0`, `t1`], `t0 < t1`, finite and below 2³⁰.
    ///
    /// # Errors
    /// An interval that is not one.
    pub fn new(
        source: NoiseSource,
        seed: u64,
        count: usize,
        t0: f64,
        t1: f64,
    ) -> Result<Self, Error> {
        let top = Node {
            start: six_decimals(t0),
            end: six_decimals(t1),
            depth: 0,
            key: 0,
        };
        // above 2³⁰ the six decimals are finer than the numbers, and the tree deeper than its 64-bit keys
        if !(t0 >= 0.0 && top.start < top.end && t1 < 1_073_741_824.0) {
            return Err(Error::Setting {
                name: "Brownian interval",
                value: format!("{t0}..{t1}"),
                expected: "0 ≤ start < end < 2³⁰, at least 1e-6 apart".to_owned(),
            });
        }
        let first = generate_state(seed, &[], POOL, 1)[0];
        let scale = (t1 - t0).sqrt() as f32;
        let mut increment = Generator::new(source, u64::from(first)).normal(count);
        increment.iter_mut().for_each(|v| *v *= scale);
        Ok(Self {
            source,
            seed,
            count,
            top,
            increment,
            kept: HashMap::new(),
            order: VecDeque::new(),
        })
    }

    /// W(b) − W(a) for a ≤ b; both are clamped to the tree's interval and rounded to six decimals.
    pub fn increment(&mut self, a: f64, b: f64) -> Vec<f32> {
        let place = |t: f64| six_decimals(t.clamp(self.top.start, self.top.end));
        let (a, b) = (place(a), place(b));
        let mut sum: Option<Vec<f32>> = None;
        if a < b {
            let whole = self.increment.clone();
            self.collect(self.top, whole, a, b, &mut sum);
        }
        sum.unwrap_or_else(|| vec![0.0; self.count])
    }

    /// Adds the nodes that make up [a, b] to `sum`, left to right. `within` is the increment over `node` ⊇ [a, b].
    fn collect(
        &mut self,
        node: Node,
        within: Vec<f32>,
        a: f64,
        b: f64,
        sum: &mut Option<Vec<f32>>,
    ) {
        if a <= node.start && b >= node.end {
            match sum {
                None => *sum = Some(within),
                Some(sum) => sum.iter_mut().zip(within).for_each(|(s, w)| *s += w),
            }
            return;
        }
        let middle = node.middle();
        if middle <= node.start || middle >= node.end {
            return; // finer than six decimals: nothing lies between
        }
        let left = self.left_increment(&node, &within);
        let right = || within.iter().zip(&left).map(|(w, l)| w - l).collect();
        if b <= middle {
            self.collect(node.left(), left, a, b, sum);
        } else if a >= middle {
            let right = right();
            self.collect(node.right(), right, a, b, sum);
        } else {
            let right = right();
            self.collect(node.left(), left, a, middle, sum);
            self.collect(node.right(), right, middle, b, sum);
        }
    }

    /// The increment over the left half of `node`, whose own is `within`: a Brownian bridge at the middle.
    fn left_increment(&mut self, node: &Node, within: &[f32]) -> Vec<f32> {
        let name = (node.depth, node.key);
        if let Some(left) = self.kept.get(&name) {
            return left.clone();
        }
        let spawn = [node.key, u64::from(node.depth)];
        let seed = generate_state(self.seed, &spawn, POOL, 1)[0];
        let noise = Generator::new(self.source, u64::from(seed)).normal(self.count);
        let share = 1.0 / (node.end - node.start);
        let (before, after) = (node.middle() - node.start, node.end - node.middle());
        let spread = (before * after * share).sqrt() as f32;
        let (before, share) = (before as f32, share as f32);
        let left: Vec<f32> = within
            .iter()
            .zip(noise)
            .map(|(w, n)| before * w * share + spread * n)
            .collect();
        if self.order.len() == KEPT
            && let Some(oldest) = self.order.pop_front()
        {
            self.kept.remove(&oldest);
        }
        self.order.push_back(name);
        self.kept.insert(name, left.clone());
        left
    }
}

/// Rounded to six decimals as the exact binary value is printed, ties to even.
fn six_decimals(value: f64) -> f64 {
    format!("{value:.6}").parse().unwrap_or(value)
}

/// A [`Noise`] of one Brownian path per picture: `(W(σ) − W(σ_next)) / √|σ − σ_next|`.
///
/// As in the reference, σ is rounded to f32 first, and at equal σ the noise is undefined (here: 0).
#[derive(Debug, Clone)]
pub struct BrownianNoise {
    trees: Vec<BrownianTree>,
    shape: [usize; 3],
}

impl BrownianNoise {
    /// Paths over [`sigma_min`, `sigma_max`] (the ladder's lowest level above 0 and its highest) for pictures of
    /// `[channels, height, width]`. Only [`PictureSeed::seed`] counts.
    pub fn new(
        source: NoiseSource,
        seeds: &[PictureSeed],
        shape: [usize; 3],
        sigma_min: f64,
        sigma_max: f64,
    ) -> Result<Self, Error> {
        let (low, high) = (f64::from(sigma_min as f32), f64::from(sigma_max as f32));
        let trees = seeds
            .iter()
            .map(|s| BrownianTree::new(source, s.seed, shape.iter().product(), low, high))
            .collect::<Result<_, _>>()?;
        Ok(Self { trees, shape })
    }
}

impl Noise for BrownianNoise {
    /// Shape `[pictures, channels, height, width]` as given to [`BrownianNoise::new`], on the device of `like`.
    fn between(&mut self, like: &Tensor<4>, sigma: f64, sigma_next: f64) -> Tensor<4> {
        let (from, to) = (sigma as f32, sigma_next as f32);
        let (low, high) = (from.min(to), from.max(to));
        // the path runs upwards in σ, samplers run downwards
        let sign = if from <= to { 1.0 } else { -1.0 };
        let scale = (high - low).sqrt();
        let divide = |w: f32| if scale > 0.0 { sign * w / scale } else { 0.0 };
        let values: Vec<f32> = self
            .trees
            .iter_mut()
            .flat_map(|tree| tree.increment(f64::from(low), f64::from(high)))
            .map(divide)
            .collect();
        let [c, h, w] = self.shape;
        Tensor::from_data(
            TensorData::new(values, [self.trees.len(), c, h, w]),
            &like.device(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Python's `round(x, 6)`.
    #[test]
    fn rounds_as_the_reference() {
        for (value, want) in [
            (0.0078125, 0.007812),
            (0.0234375, 0.023438),
            (1.0000005, 1.000001),
            (7.5e-7, 1e-6),
            (14.6146425, 14.614643),
        ] {
            assert_eq!(six_decimals(value), want);
        }
    }

    #[test]
    fn refuses_what_is_no_interval() {
        for (a, b) in [
            (1.0, 1.0),
            (2.0, 1.0),
            (f64::NAN, 1.0),
            (0.0, f64::INFINITY),
        ] {
            assert!(BrownianTree::new(NoiseSource::TorchCpu, 0, 4, a, b).is_err());
        }
    }
}
