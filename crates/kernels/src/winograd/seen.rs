//! The inputs of a tile, and their transform Bᵀ·d·B.

use std::ops::Range;

use crate::geometry::{Picture, Window};
use crate::number::Number;
use crate::simd::{Isa, Simd, load, store};

/// Bᵀ·d of a row of inputs.
#[inline(always)]
unsafe fn input_row<I: Isa, const A: usize>(d: [I::F; A]) -> [I::F; A] {
    let mut r = d;
    if A == 4 {
        r[0] = I::sub(d[0], d[2]);
        r[1] = I::add(d[1], d[2]);
        r[2] = I::sub(d[2], d[1]);
        r[3] = I::sub(d[1], d[3]);
    } else {
        let (two, four, five) = (I::splat(2.0), I::splat(4.0), I::splat(-5.0));
        let even = I::fma(I::splat(-4.0), d[2], d[4]);
        let odd = I::fma(I::splat(-4.0), d[1], d[3]);
        let near = I::sub(d[4], d[2]);
        let far = I::mul(two, I::sub(d[3], d[1]));
        r[0] = I::fma(four, d[0], I::fma(five, d[2], d[4]));
        r[1] = I::add(even, odd);
        r[2] = I::sub(even, odd);
        r[3] = I::add(near, far);
        r[4] = I::sub(near, far);
        r[5] = I::fma(four, d[1], I::fma(five, d[3], d[5]));
    }
    r
}

/// Where the inputs of a tile lie.
pub(crate) struct Seen<T, const A: usize>([[*const T; A]; A]);

impl<T: Number, const A: usize> Seen<T, A> {
    /// The tile whose upper left output is (y, x) of picture b. `zeros` are as many as a pixel has
    /// channels.
    #[inline(always)]
    pub unsafe fn of(
        picture: &Picture<'_, T>,
        window: &Window,
        zeros: *const T,
        [b, y, x]: [usize; 3],
    ) -> Self {
        let [top, left] = window.before;
        Self(std::array::from_fn(|i| {
            std::array::from_fn(|j| {
                let (row, column) = ((y + i) as isize - top, (x + j) as isize - left);
                let offset = window.pixel(picture, b, row, column);
                offset.map_or(zeros, |o| picture.data.as_ptr().add(o))
            })
        }))
    }

    /// Bᵀ·d·B of some channels, the first at `to`, places `stride` apart.
    #[inline(always)]
    pub unsafe fn transform<I: Simd, U: Number>(
        &self,
        channels: Range<usize>,
        to: *mut U,
        stride: usize,
    ) {
        for c in channels.clone().step_by(I::LANES) {
            let n = (channels.end - c).min(I::LANES);
            let mut d = [[I::splat(0.0); A]; A];
            for (row, seen) in d.iter_mut().zip(&self.0) {
                for (v, p) in row.iter_mut().zip(seen) {
                    *v = load::<I, T>(p.add(c), n);
                }
                *row = input_row::<I, A>(*row);
            }
            for j in 0..A {
                let column = input_row::<I, A>(std::array::from_fn(|i| d[i][j]));
                for (i, v) in column.iter().enumerate() {
                    let to = to.add((i * A + j) * stride + c - channels.start);
                    store::<I, U>(to, *v, n);
                }
            }
        }
    }
}
