//! Sums, joins and doublings of pictures, which keep their layout.

use burn::backend::flex::FlexTensor;
use latent_kernels::{
    Pool2x2, add, cat_channels, max2x2, max2x2_backward, output, pool2x2, pool2x2_backward,
    split_channels,
};

use super::layout::{
    any_order, dims, from_f32, in_order_of, numbers, picture, pixels, tensor_like,
};
use super::operation::{Args, Operation, Saved, given};
use super::{Float, by_type, instructions};

/// a + b of one shape, as a lies.
#[derive(Debug, Clone)]
pub(crate) struct Add;

impl Operation<2> for Add {
    type Kept = ();

    fn forward(&self, [a, b]: Args<2>, _: Option<&mut ()>) -> FlexTensor {
        let a = any_order(given(a));
        by_type!(a.dtype(), T => {
            let b = in_order_of::<T>(given(b), &a);
            let mut sums = output::<T>(a.layout().num_elements());
            add(instructions(), numbers(&a), numbers(&b), &mut sums);
            tensor_like::<T>(sums, &a)
        })
    }

    fn reads(&self, _: [bool; 2]) -> [bool; 2] {
        [false; 2]
    }

    fn backward(&self, saved: Saved<2, ()>, gradient: FlexTensor) -> Args<2> {
        saved.wanted.map(|wanted| wanted.then(|| gradient.clone()))
    }
}

/// The channels of two pictures, one after another.
#[derive(Debug, Clone)]
pub(crate) struct CatChannels;

impl Operation<2> for CatChannels {
    /// Channels of the first.
    type Kept = usize;

    fn forward(&self, [a, b]: Args<2>, kept: Option<&mut usize>) -> FlexTensor {
        let (a, b) = (given(a), given(b));
        let ([batch, first, height, width], [_, second, ..]) = (dims(&a), dims::<4>(&b));
        if let Some(kept) = kept {
            *kept = first;
        }
        by_type!(a.dtype(), T => {
            let (a, b) = (pixels::<T>(a), pixels::<T>(b));
            let mut out = output::<T>(batch * height * width * (first + second));
            let parts = [(numbers::<T>(&a), first), (numbers::<T>(&b), second)];
            cat_channels(batch * height * width, &parts, &mut out);
            picture(out, [batch, first + second, height, width])
        })
    }

    fn reads(&self, _: [bool; 2]) -> [bool; 2] {
        [false; 2]
    }

    fn backward(&self, saved: Saved<2, usize>, gradient: FlexTensor) -> Args<2> {
        let [batch, channels, height, width] = dims(&gradient);
        let (rows, counts) = (batch * height * width, [saved.kept, channels - saved.kept]);
        by_type!(gradient.dtype(), T => {
            let gradient = pixels::<T>(gradient);
            let mut parts = counts.map(|count| output::<T>(rows * count));
            let [a, b] = &mut parts;
            let mut whole = [(a.as_mut_slice(), counts[0]), (b.as_mut_slice(), counts[1])];
            split_channels(rows, numbers(&gradient), &mut whole);
            let [a, b] = parts;
            [(a, counts[0]), (b, counts[1])]
                .map(|(part, count)| Some(picture(part, [batch, count, height, width])))
        })
    }
}

/// The mean of squares of four pixels; an odd last row or column is left out.
#[derive(Debug, Clone)]
pub(crate) struct Average;

impl Operation<1> for Average {
    /// The shape of x.
    type Kept = [usize; 4];

    fn forward(&self, [x]: Args<1>, kept: Option<&mut [usize; 4]>) -> FlexTensor {
        let x = given(x);
        let shape @ [batch, channels, height, width] = dims(&x);
        if let Some(kept) = kept {
            *kept = shape;
        }
        let small = [batch, channels, height / 2, width / 2];
        by_type!(x.dtype(), T => {
            let x = pixels::<T>(x);
            let mut out = output::<T>(small.iter().product());
            pool2x2(instructions(), pool(shape), numbers(&x), &mut out);
            picture(out, small)
        })
    }

    fn reads(&self, _: [bool; 1]) -> [bool; 1] {
        [false]
    }

    fn backward(&self, saved: Saved<1, [usize; 4]>, gradient: FlexTensor) -> Args<1> {
        let shape = saved.kept;
        by_type!(gradient.dtype(), T => {
            let gradient = pixels::<T>(gradient);
            let mut out = output::<T>(shape.iter().product());
            pool2x2_backward(instructions(), pool(shape), numbers(&gradient), &mut out);
            [Some(picture(out, shape))]
        })
    }
}

/// The largest of squares of four pixels; an odd last row or column is left out.
#[derive(Debug, Clone)]
pub(crate) struct Largest;

impl Operation<1> for Largest {
    type Kept = ();

    fn forward(&self, [x]: Args<1>, _: Option<&mut ()>) -> FlexTensor {
        let x = given(x);
        let shape @ [batch, channels, height, width] = dims(&x);
        let small = [batch, channels, height / 2, width / 2];
        by_type!(x.dtype(), T => {
            let x = pixels::<T>(x);
            let mut out = output::<T>(small.iter().product());
            max2x2(pool(shape), numbers(&x), &mut out);
            picture(out, small)
        })
    }

    fn reads(&self, _: [bool; 1]) -> [bool; 1] {
        [true]
    }

    fn backward(&self, saved: Saved<1, ()>, gradient: FlexTensor) -> Args<1> {
        let [x] = saved.inputs;
        let x = given(x);
        let shape = dims(&x);
        by_type!(gradient.dtype(), T => {
            let (x, gradient) = (pixels::<T>(x), pixels::<T>(gradient));
            let mut out = output::<T>(shape.iter().product());
            max2x2_backward(pool(shape), numbers(&x), numbers(&gradient), &mut out);
            [Some(picture(out, shape))]
        })
    }
}

fn pool([batch, channels, height, width]: [usize; 4]) -> Pool2x2 {
    Pool2x2 {
        batch,
        height,
        width,
        channels,
    }
}

/// Each pixel twice in both directions.
#[derive(Debug, Clone)]
pub(crate) struct Double;

impl Operation<1> for Double {
    /// Height and width.
    type Kept = [usize; 2];

    fn forward(&self, [x]: Args<1>, kept: Option<&mut [usize; 2]>) -> FlexTensor {
        let x = given(x);
        let [batch, channels, height, width] = dims(&x);
        if let Some(kept) = kept {
            *kept = [height, width];
        }
        by_type!(x.dtype(), T => {
            let x = pixels::<T>(x);
            let row = width * channels;
            let mut out = output::<T>(4 * batch * height * row);
            let lines = numbers::<T>(&x).chunks_exact(row.max(1));
            for (out, line) in out.chunks_exact_mut((4 * row).max(1)).zip(lines) {
                let (upper, lower) = out.split_at_mut(2 * row);
                let pairs = upper.chunks_exact_mut(2 * channels);
                for (pair, pixel) in pairs.zip(line.chunks_exact(channels)) {
                    pair[..channels].copy_from_slice(pixel);
                    pair[channels..].copy_from_slice(pixel);
                }
                lower.copy_from_slice(upper);
            }
            picture(out, [batch, channels, 2 * height, 2 * width])
        })
    }

    fn reads(&self, _: [bool; 1]) -> [bool; 1] {
        [false]
    }

    fn backward(&self, saved: Saved<1, [usize; 2]>, gradient: FlexTensor) -> Args<1> {
        by_type!(gradient.dtype(), T => [Some(undouble::<T>(&pixels::<T>(gradient), saved.kept))])
    }
}

/// The sum over the copies of each pixel of a picture of this height and width, which was doubled
/// and perhaps cut.
pub(super) fn undouble<T: Float>(x: &FlexTensor, [height, width]: [usize; 2]) -> FlexTensor {
    let [batch, channels, seen_height, seen_width] = dims(x);
    let mut sums = vec![0f32; batch * height * width * channels];
    for (i, pixel) in numbers::<T>(x).chunks_exact(channels.max(1)).enumerate() {
        let (line, column) = (i / seen_width, i % seen_width);
        let (b, row) = (line / seen_height, line % seen_height);
        let to = ((b * height + row / 2) * width + column / 2) * channels;
        for (sum, value) in sums[to..to + channels].iter_mut().zip(pixel) {
            *sum += value.to_f32();
        }
    }
    picture(from_f32::<T>(sums), [batch, channels, height, width])
}
