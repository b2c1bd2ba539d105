//! The gradient of a 3×3 weight by Winograd's method, with four times fewer products.
//!
//! Where the forward pass is Y = Aᵀ((G·g·Gᵀ) ∘ (Bᵀ·d·B))A for each tile of 4×4 outputs, the gradient
//! of g is Gᵀ·(Σ (A·dY·Aᵀ) ∘ (Bᵀ·d·B))·G, the sum over all tiles: at each of the 36 places one
//! product of all tiles' outputs with all tiles' inputs.

use super::add_product;
use crate::buffer::{Buffer, with_scratch};
use crate::cpu::Cpu;
use crate::geometry::{Picture, Window};
use crate::number::Number;
use crate::packed::panel_width;
use crate::pool::{self, Shared};
use crate::simd::{Isa, Kernel, Simd, load, run, store};
use crate::winograd::Seen;

/// Outputs and inputs of a tile, each way.
const M: usize = 4;
const A: usize = M + 2;
const PLACES: usize = A * A;

/// Outputs of a job: few, for there are sums at every place.
const OUTPUTS: usize = 48;

/// Tiles that are transformed at a time.
const TILES: usize = 32;

/// Whether it pays: where a picture is at least two tiles wide and high.
pub(super) fn suits(window: &Window) -> bool {
    window.kernel == [3, 3]
        && window.stride == 1
        && window.dilation == 1
        && window.spread == 1
        && window.output.iter().all(|side| *side >= 2 * M)
}

/// As [`conv2d_weight_gradient`](super::conv2d_weight_gradient), whose checks have been made.
pub(super) fn gradient<T: Number>(
    cpu: Cpu,
    x: &Picture<'_, T>,
    grad_out: &[T],
    window: &Window,
    output: usize,
    grad_weight: &mut [f32],
) {
    let width = panel_width(cpu);
    let (panels, blocks) = (x.channels.div_ceil(width), output.div_ceil(OUTPUTS));
    let zeros = Buffer::<T>::zeros(x.channels.max(output));
    let target = Shared::new(grad_weight);
    pool::each(panels * blocks, |job| {
        let (p, block) = (job % panels, job / panels);
        let bytes = [TILES * width, TILES * OUTPUTS, OUTPUTS * width]
            .map(|numbers| PLACES * numbers * size_of::<f32>());
        with_scratch(bytes, |[inputs, lefts, sums]| {
            let job = Block {
                x,
                grad_out,
                window,
                zeros: zeros.as_ptr(),
                output,
                column: p * width,
                first: block * OUTPUTS,
                inputs: inputs.cast(),
                lefts: lefts.cast(),
                sums: sums.cast(),
                target: target.get(),
            };
            run(cpu, job);
        });
    });
}

struct Block<'a, T> {
    x: &'a Picture<'a, T>,
    grad_out: &'a [T],
    window: &'a Window,
    zeros: *const T,
    output: usize,
    /// The first input and the first output of the block.
    column: usize,
    first: usize,
    /// `[PLACES, TILES, width]`
    inputs: *mut f32,
    /// `[PLACES, TILES, OUTPUTS]`
    lefts: *mut f32,
    /// `[PLACES, OUTPUTS, width]`
    sums: *mut f32,
    /// The whole gradient.
    target: *mut f32,
}

/// A·y of a row of outputs.
#[inline(always)]
unsafe fn output_row<I: Isa>(y: [I::F; M]) -> [I::F; A] {
    let [a, b, c, d] = y;
    let (even, odd) = (I::add(a, c), I::add(b, d));
    let (four, two) = (I::splat(4.0), I::splat(2.0));
    let even2 = I::fma(four, c, a);
    let odd2 = I::mul(two, I::fma(four, d, b));
    [
        a,
        I::add(even, odd),
        I::sub(even, odd),
        I::add(even2, odd2),
        I::sub(even2, odd2),
        d,
    ]
}

/// Gᵀ·u of a row of sums.
#[inline(always)]
unsafe fn weight_row<I: Isa>(u: [I::F; A]) -> [I::F; 3] {
    let (sixth, twelfth) = (I::splat(1.0 / 6.0), I::splat(1.0 / 12.0));
    let near = I::mul(sixth, I::add(u[1], u[2]));
    let far = I::add(u[3], u[4]);
    let ends = I::fma(I::splat(0.25), u[0], I::mul(I::splat(1.0 / 24.0), far));
    [
        I::sub(ends, near),
        I::fma(
            sixth,
            I::sub(u[2], u[1]),
            I::mul(twelfth, I::sub(u[3], u[4])),
        ),
        I::sub(I::fma(sixth, far, u[5]), near),
    ]
}

impl<T: Number> Kernel for Block<'_, T> {
    type Out = ();

    #[inline(always)]
    unsafe fn run<I: Simd, const MR: usize, const NV: usize>(self) {
        let width = NV * I::LANES;
        let columns = (self.x.channels - self.column).min(width);
        let outputs = (self.output - self.first).min(OUTPUTS);
        let [down, across] = self.window.output.map(|side| side.div_ceil(M));
        let tiles = self.x.batch * down * across;
        for start in (0..tiles).step_by(TILES) {
            let count = TILES.min(tiles - start);
            for t in 0..count {
                let at = start + t;
                let place = [
                    at / (down * across),
                    at / across % down * M,
                    at % across * M,
                ];
                let seen = Seen::<T, A>::of(self.x, self.window, self.zeros, place);
                let channels = self.column..self.column + columns;
                seen.transform::<I, f32>(channels, self.inputs.add(t * width), TILES * width);
                self.transform_outputs::<I>(place, outputs, self.lefts.add(t * OUTPUTS));
            }
            for place in 0..PLACES {
                let inputs = self.inputs.add(place * TILES * width);
                for o in (0..outputs.next_multiple_of(MR)).step_by(MR) {
                    let lefts = self.lefts.add(place * TILES * OUTPUTS + o);
                    let sums = self.sums.add((place * OUTPUTS + o) * width);
                    add_product::<I, f32, MR, NV>(count, lefts, OUTPUTS, inputs, start > 0, sums);
                }
            }
        }
        for o in 0..outputs {
            for c in (0..columns).step_by(I::LANES) {
                self.finish::<I>(o, c, width, I::LANES.min(columns - c));
            }
        }
    }
}

/// More than any vector's lanes.
const MOST_LANES: usize = 16;

impl<T: Number> Block<'_, T> {
    /// A·dY·Aᵀ of the block's outputs of one tile, the first at `to`.
    #[inline(always)]
    unsafe fn transform_outputs<I: Simd>(
        &self,
        [b, y, x]: [usize; 3],
        outputs: usize,
        to: *mut f32,
    ) {
        let [height, width] = self.window.output;
        let pixels: [[*const T; M]; M] = std::array::from_fn(|i| {
            std::array::from_fn(|j| match y + i < height && x + j < width {
                true => {
                    let pixel = (b * height + y + i) * width + x + j;
                    self.grad_out.as_ptr().add(pixel * self.output + self.first)
                }
                false => self.zeros,
            })
        });
        for c in (0..outputs).step_by(I::LANES) {
            let n = I::LANES.min(outputs - c);
            let mut rows = [[I::splat(0.0); A]; M];
            for (row, pixels) in rows.iter_mut().zip(&pixels) {
                *row = output_row::<I>(std::array::from_fn(|j| load::<I, T>(pixels[j].add(c), n)));
            }
            for j in 0..A {
                let column = output_row::<I>(std::array::from_fn(|i| rows[i][j]));
                for (i, v) in column.iter().enumerate() {
                    store::<I, f32>(to.add((i * A + j) * TILES * OUTPUTS + c), *v, n);
                }
            }
        }
    }

    /// Gᵀ·u·G of output `o` and `n` inputs from `c` on.
    #[inline(always)]
    unsafe fn finish<I: Simd>(&self, o: usize, c: usize, width: usize, n: usize) {
        let mut rows = [[I::splat(0.0); 3]; A];
        for (y, row) in rows.iter_mut().enumerate() {
            *row = weight_row::<I>(std::array::from_fn(|x| {
                I::load(self.sums.add(((y * A + x) * OUTPUTS + o) * width + c))
            }));
        }
        let mut taps = [[0f32; MOST_LANES]; 9];
        for x in 0..3 {
            let column = weight_row::<I>(std::array::from_fn(|y| rows[y][x]));
            for (y, v) in column.iter().enumerate() {
                I::store(taps[3 * y + x].as_mut_ptr(), *v);
            }
        }
        let at = ((self.first + o) * self.x.channels + self.column + c) * 9;
        for l in 0..n {
            for (tap, values) in taps.iter().enumerate() {
                *self.target.add(at + l * 9 + tap) = values[l];
            }
        }
    }
}
