//! Tokens in the order in which products read them.

use crate::cpu::Cpu;
use crate::number::Number;
use crate::simd::{Kernel, Simd, run};

/// The units in which an instruction set computes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Units {
    /// Numbers of a vector.
    pub lanes: usize,
    /// Rows of a tile.
    pub rows: usize,
}

impl Units {
    pub fn of(cpu: Cpu) -> Self {
        struct Ask;
        impl Kernel for Ask {
            type Out = Units;
            #[inline(always)]
            unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) -> Units {
                Units {
                    lanes: I::LANES,
                    rows: MR,
                }
            }
        }
        run(cpu, Ask)
    }

    pub fn pad(&self, n: usize) -> usize {
        n.next_multiple_of(self.lanes)
    }
}

/// Vectors of the panels that `width` channels are cut into: as few panels as may be, as even as
/// may be, since a narrow tile is a slow one. Yields the first vector of each and how many there are.
#[inline(always)]
pub(super) fn split(vectors: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let panels = vectors.div_ceil(most);
    (0..panels).map(move |p| {
        let (each, left) = (vectors / panels, vectors % panels);
        (p * each + p.min(left), each + usize::from(p < left))
    })
}

/// The tokens `first..last` of one head, to be packed as part of `tokens`.
///
/// `first` is at the start of a panel and of a group.
#[derive(Clone, Copy)]
pub(super) struct Source<T> {
    /// Token 0.
    pub head: *const T,
    pub stride: usize,
    pub tokens: usize,
    pub width: usize,
    pub first: usize,
    pub last: usize,
}

/// Packs for x·yᵀ, where the tokens y are the columns: `[panel][channels/GROUP][columns][GROUP]`.
/// The last panel is as many vectors wide as it needs to be; what is not there is zero.
///
/// All panels before the one with token t take t·(width to whole groups) numbers.
pub(super) struct Across<T> {
    pub source: Source<T>,
    pub to: *mut T,
}

/// Numbers of [`Across`].
pub(super) fn across_size<T: Number>(units: Units, tokens: usize, width: usize) -> usize {
    units.pad(tokens) * width.next_multiple_of(T::GROUP)
}

impl<T: Number> Kernel for Across<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let Source {
            head,
            stride,
            tokens,
            width,
            first,
            last,
        } = self.source;
        let whole = width / T::GROUP;
        let depth = width.next_multiple_of(T::GROUP);
        let end = tokens.next_multiple_of(I::LANES);
        for panel in (first..last).step_by(NV * I::LANES) {
            let columns = (end - panel).min(NV * I::LANES);
            for vector in (0..columns).step_by(I::LANES) {
                let to = self.to.add(panel * depth + vector * T::GROUP);
                let there = (tokens - (panel + vector).min(tokens)).min(I::LANES);
                let from = head.add((panel + vector) * stride);
                for g in 0..whole {
                    let to = to.add(g * columns * T::GROUP);
                    let from = from.add(g * T::GROUP);
                    for j in 0..there {
                        let to = to.add(j * T::GROUP);
                        std::ptr::copy_nonoverlapping(from.add(j * stride), to, T::GROUP);
                    }
                    for j in there * T::GROUP..I::LANES * T::GROUP {
                        *to.add(j) = T::ZERO;
                    }
                }
                // Channels that fill no group.
                for g in whole..depth / T::GROUP {
                    let to = to.add(g * columns * T::GROUP);
                    for j in 0..I::LANES * T::GROUP {
                        let (token, c) = (j / T::GROUP, g * T::GROUP + j % T::GROUP);
                        *to.add(j) = if token < there && c < width {
                            *from.add(token * stride + c)
                        } else {
                            T::ZERO
                        };
                    }
                }
            }
        }
    }
}

/// Packs for p·y, where the channels of the tokens y are the columns, in panels as [`split`] says:
/// `[panel][tokens/GROUP][columns][GROUP]`; what is not there is zero.
///
/// A panel begins at (tokens to whole groups)·(columns before it).
pub(super) struct Along<T> {
    pub source: Source<T>,
    pub to: *mut T,
}

/// Numbers of [`Along`].
pub(super) fn along_size<T: Number>(units: Units, tokens: usize, width: usize) -> usize {
    tokens.next_multiple_of(T::GROUP) * units.pad(width)
}

impl<T: Number> Kernel for Along<T> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let s = self.source;
        let height = s.tokens.next_multiple_of(T::GROUP);
        for (vector, n) in split(s.width.div_ceil(I::LANES), NV) {
            let (column, columns) = (vector * I::LANES, n * I::LANES);
            let there = columns.min(s.width - column);
            let panel = self.to.add(height * column);
            for token in (s.first..s.last).step_by(T::GROUP) {
                let to = panel.add(token * columns);
                let from = s.head.add(token * s.stride + column);
                if token + T::GROUP <= s.tokens {
                    for c in 0..there {
                        for e in 0..T::GROUP {
                            *to.add(c * T::GROUP + e) = *from.add(e * s.stride + c);
                        }
                    }
                } else {
                    for c in 0..there {
                        for e in 0..T::GROUP {
                            let is = token + e < s.tokens;
                            let number = if is {
                                *from.add(e * s.stride + c)
                            } else {
                                T::ZERO
                            };
                            *to.add(c * T::GROUP + e) = number;
                        }
                    }
                }
                for c in there * T::GROUP..columns * T::GROUP {
                    *to.add(c) = T::ZERO;
                }
            }
        }
    }
}
