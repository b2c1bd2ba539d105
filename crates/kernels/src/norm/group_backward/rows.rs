//! The two passes of a group norm's gradient over rows of pixels.

use super::{LINES, SUMS};
use crate::norm::BLOCK;
use crate::number::Number;
use crate::simd::{self, Isa, Kernel, Simd, load, store};

/// Rows of x and of the gradient of the output, and their picture's lines, one behind the other.
#[derive(Clone, Copy)]
pub(super) struct Place<T> {
    pub x: *const T,
    pub g: *const T,
    pub rows: usize,
    pub channels: usize,
    pub lines: *const f32,
}

impl<T: Number> Place<T> {
    /// Line `k` from channel `c` on.
    #[inline(always)]
    unsafe fn line<I: Isa>(&self, k: usize, c: usize, n: usize) -> I::F {
        load::<I, f32>(self.lines.add(k * self.channels + c), n)
    }

    /// n and h of a row, from channel `c` on.
    #[inline(always)]
    unsafe fn at<I: Isa, const SILU: bool>(
        &self,
        row: usize,
        c: usize,
        lanes: usize,
        [centre, inverse, weight, bias]: [I::F; 4],
    ) -> (I::F, I::F) {
        let at = row * self.channels + c;
        let (x, g) = (
            load::<I, T>(self.x.add(at), lanes),
            load::<I, T>(self.g.add(at), lanes),
        );
        let n = I::mul(I::sub(x, centre), inverse);
        match SILU {
            true => (n, I::mul(g, simd::silu_slope::<I>(I::fma(n, weight, bias)))),
            false => (n, g),
        }
    }
}

/// Sums h, h·n and n per channel.
pub(super) struct Sums<T, const SILU: bool> {
    pub place: Place<T>,
    /// `[3, channels]`; begins as zeros.
    pub sums: *mut f32,
}

impl<T: Number, const SILU: bool> Sums<T, SILU> {
    /// Adds rows to the sums of `B` vectors of channels from `c` on, the last one of `lanes` numbers.
    #[inline(always)]
    unsafe fn wide<I: Isa, const B: usize>(
        &self,
        first: usize,
        rows: usize,
        c: usize,
        lanes: usize,
    ) {
        let (place, channels) = (&self.place, self.place.channels);
        let mut lines = [[I::splat(0.0); 4]; B];
        let mut sums = [[I::splat(0.0); SUMS]; B];
        for (b, lines) in lines.iter_mut().enumerate() {
            for (k, line) in lines.iter_mut().enumerate() {
                *line = place.line::<I>(k, c + b * I::LANES, lanes);
            }
        }
        for row in first..first + rows {
            for (b, [of_h, of_hn, of_n]) in sums.iter_mut().enumerate() {
                let (n, h) = place.at::<I, SILU>(row, c + b * I::LANES, lanes, lines[b]);
                *of_h = I::add(*of_h, h);
                *of_hn = I::fma(h, n, *of_hn);
                *of_n = I::add(*of_n, n);
            }
        }
        for (b, sums) in sums.into_iter().enumerate() {
            for (k, sum) in sums.into_iter().enumerate() {
                let to = self.sums.add(k * channels + c + b * I::LANES);
                store::<I, f32>(to, I::add(sum, load::<I, f32>(to, lanes)), lanes);
            }
        }
    }
}

impl<T: Number, const SILU: bool> Kernel for Sums<T, SILU> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let Place { rows, channels, .. } = self.place;
        for first in (0..rows).step_by(BLOCK) {
            let rows = BLOCK.min(rows - first);
            let mut c = 0;
            while c + NV * I::LANES <= channels {
                self.wide::<I, NV>(first, rows, c, I::LANES);
                c += NV * I::LANES;
            }
            while c + I::LANES <= channels {
                self.wide::<I, 1>(first, rows, c, I::LANES);
                c += I::LANES;
            }
            if c < channels {
                self.wide::<I, 1>(first, rows, c, channels - c);
            }
        }
    }
}

/// Makes the gradient of x.
pub(super) struct Apply<T, const SILU: bool> {
    pub place: Place<T>,
    pub out: *mut T,
}

impl<T: Number, const SILU: bool> Apply<T, SILU> {
    /// `R` rows of one vector of channels.
    #[inline(always)]
    unsafe fn rows<I: Isa, const R: usize>(&self, first: usize, c: usize, lanes: usize) {
        let mut lines = [I::splat(0.0); LINES];
        for (k, line) in lines.iter_mut().enumerate() {
            *line = self.place.line::<I>(k, c, lanes);
        }
        let [centre, inverse, weight, bias, by_h, by_n, term] = lines;
        for row in first..first + R {
            let lines = [centre, inverse, weight, bias];
            let (n, h) = self.place.at::<I, SILU>(row, c, lanes, lines);
            let dx = I::fma(h, by_h, I::fma(n, by_n, term));
            store::<I, T>(self.out.add(row * self.place.channels + c), dx, lanes);
        }
    }

    #[inline(always)]
    unsafe fn band<I: Isa, const R: usize>(&self, first: usize) {
        let channels = self.place.channels;
        let mut c = 0;
        while c + I::LANES <= channels {
            self.rows::<I, R>(first, c, I::LANES);
            c += I::LANES;
        }
        if c < channels {
            self.rows::<I, R>(first, c, channels - c);
        }
    }
}

impl<T: Number, const SILU: bool> Kernel for Apply<T, SILU> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let mut row = 0;
        while row + 4 <= self.place.rows {
            self.band::<I, 4>(row);
            row += 4;
        }
        for row in row..self.place.rows {
            self.band::<I, 1>(row);
        }
    }
}
