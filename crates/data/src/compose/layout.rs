//! Places for objects that do not touch.

use super::scene::Relation;
use crate::random;

/// A rectangle in pixels: left, top, width, height.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Cell {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

/// The share of the picture's side that stays empty along its edges.
const MARGIN: f64 = 0.03;

/// The region of each group, in the order of groups. Several groups share the picture in strips by their counts.
pub(super) fn regions(size: u32, counts: &[usize], relation: Relation) -> Vec<Cell> {
    let side = f64::from(size);
    let (start, length) = (side * MARGIN, side * (1.0 - 2.0 * MARGIN));
    let (across, reversed) = match relation {
        Relation::None => return vec![square(start, length)],
        Relation::LeftOf => (true, false),
        Relation::RightOf => (true, true),
        Relation::Above => (false, false),
        Relation::Below => (false, true),
    };
    // A group of four does not need four times the room of one.
    let weights: Vec<f64> = counts.iter().map(|count| (*count as f64).sqrt()).collect();
    let all: f64 = weights.iter().sum();
    let mut order: Vec<usize> = (0..counts.len()).collect();
    if reversed {
        order.reverse();
    }
    let mut regions = vec![square(start, length); counts.len()];
    let mut at = start;
    for group in order {
        let part = length * weights[group] / all;
        let region = &mut regions[group];
        match across {
            true => (region.left, region.width) = (at, part),
            false => (region.top, region.height) = (at, part),
        }
        at += part;
    }
    regions
}

fn square(start: f64, length: f64) -> Cell {
    Cell {
        left: start,
        top: start,
        width: length,
        height: length,
    }
}

impl Cell {
    /// A cell for each of `count` objects, in a grid whose cells are as square as can be.
    pub fn split(self, count: usize, seed: u64) -> Vec<Self> {
        let squareness = |columns: usize| {
            let rows = count.div_ceil(columns);
            (self.width / columns as f64).min(self.height / rows as f64)
        };
        let best = (1..=count).max_by(|a, b| squareness(*a).total_cmp(&squareness(*b)));
        let columns = best.unwrap_or(1);
        let rows = count.div_ceil(columns);
        let (width, height) = (self.width / columns as f64, self.height / rows as f64);
        let mut cells: Vec<Self> = (0..rows * columns)
            .map(|at| Self {
                left: self.left + (at % columns) as f64 * width,
                top: self.top + (at / columns) as f64 * height,
                width,
                height,
            })
            .collect();
        // Three objects in four cells leave any of them empty.
        random::shuffle(&mut cells, seed, &[]);
        cells.truncate(count);
        cells
    }

    /// A place within the cell for something of that size: left and top in whole pixels.
    pub fn place(self, (width, height): (u32, u32), seed: u64) -> (u32, u32) {
        let along = |start: f64, length: f64, own: u32, key: u64| {
            let (first, last) = (start.ceil() as u32, (start + length).floor() as u32);
            let slack = last.saturating_sub(first).saturating_sub(own);
            first + random::below(seed, &[key], slack as usize + 1) as u32
        };
        (
            along(self.left, self.width, width, 0),
            along(self.top, self.height, height, 1),
        )
    }
}
