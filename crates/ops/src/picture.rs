//! What is done to pictures between layers.

use burn::tensor::ops::{AvgPoolOptions, InterpolateMode, InterpolateOptions, MaxPoolOptions};
use burn::tensor::{Tensor, module};

use crate::cpu::{self, input};
use crate::is_cpu;

/// a + b of one shape.
pub fn add<const D: usize>(a: Tensor<D>, b: Tensor<D>) -> Tensor<D> {
    if !is_cpu(&a.device()) {
        return a + b;
    }
    let dtype = a.dtype();
    cpu::run(cpu::Add, [input(a, dtype), input(b, dtype)]).cast(dtype)
}

/// The channels of all pictures, one after another: `[batch, channels…, height, width]`.
///
/// # Panics
///
/// Where there is no picture.
pub fn cat_channels(pictures: Vec<Tensor<4>>) -> Tensor<4> {
    if pictures.first().is_none_or(|x| !is_cpu(&x.device())) {
        return Tensor::cat(pictures, 1);
    }
    let join = |a: Tensor<4>, b: Tensor<4>| {
        let dtype = a.dtype();
        cpu::run(cpu::CatChannels, [input(a, dtype), input(b, dtype)]).cast(dtype)
    };
    let joined = pictures.into_iter().reduce(join);
    joined.expect("a picture to join others to")
}

/// `x` for two readers.
///
/// The two are the same tensor. In training burn adds up what comes back from the readers of one
/// tensor, and that takes twenty times as long for a picture that lies channels-last as for one
/// whose dimensions are in that order too, so the readers part where they are.
pub fn fork(x: Tensor<4>) -> [Tensor<4>; 2] {
    if !is_cpu(&x.device()) || !x.is_tracked() {
        return [x.clone(), x];
    }
    let pixels = x.permute([0, 2, 3, 1]);
    [pixels.clone(), pixels].map(|x| x.permute([0, 3, 1, 2]))
}

/// Pixels as rows: `[batch, channels, height, width]` → `[batch, height·width, channels]`.
pub fn to_tokens(x: Tensor<4>) -> Tensor<3> {
    let [batch, channels, height, width] = x.dims();
    // In this order, because it is a view of a picture that lies channels-last.
    x.permute([0, 2, 3, 1])
        .reshape([batch, height * width, channels])
}

/// Rows as pixels: `[batch, height·width, channels]` → `[batch, channels, height, width]`.
pub fn to_picture(x: Tensor<3>, height: usize, width: usize) -> Tensor<4> {
    let [batch, _, channels] = x.dims();
    x.reshape([batch, height, width, channels])
        .permute([0, 3, 1, 2])
}

/// Each pixel twice in both directions: `[batch, channels, h, w]` → `[batch, channels, 2 h, 2 w]`.
pub fn nearest_2x(x: Tensor<4>) -> Tensor<4> {
    if is_cpu(&x.device()) {
        let dtype = x.dtype();
        return cpu::run(cpu::Double, [input(x, dtype)]).cast(dtype);
    }
    let [_, _, height, width] = x.dims();
    let options = InterpolateOptions::new(InterpolateMode::Nearest);
    module::interpolate(x, options.with_output_size([2 * height, 2 * width]))
}

/// The mean of squares of four pixels: `[batch, channels, h, w]` → `[batch, channels, h / 2, w /
/// 2]`.
pub fn average_2x2(x: Tensor<4>) -> Tensor<4> {
    if is_cpu(&x.device()) {
        let dtype = x.dtype();
        return cpu::run(cpu::Average, [input(x, dtype)]).cast(dtype);
    }
    module::avg_pool2d(x, AvgPoolOptions::new([2, 2]).with_stride([2, 2]))
}

/// The largest of squares of four pixels: `[batch, channels, h, w]` → `[batch, channels, h / 2, w /
/// 2]`.
pub fn max_2x2(x: Tensor<4>) -> Tensor<4> {
    if is_cpu(&x.device()) {
        let dtype = x.dtype();
        return cpu::run(cpu::Largest, [input(x, dtype)]).cast(dtype);
    }
    module::max_pool2d(x, MaxPoolOptions::new([2, 2]).with_stride([2, 2]))
}

/// The upper left corner of `size` (height, width); all of a picture that is no larger.
pub fn crop(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    if height <= size[0] && width <= size[1] {
        return x;
    }
    x.narrow(2, 0, height.min(size[0]))
        .narrow(3, 0, width.min(size[1]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{assert_close, normal, numbers};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn tokens_are_pixels(batch in 1usize..3, c in 1usize..5, h in 1usize..7, w in 1usize..7) {
            let x: Tensor<4> = normal("x", [batch, c, h, w]);
            let tokens = to_tokens(x.clone());
            prop_assert_eq!(tokens.dims(), [batch, h * w, c]);
            let one: Vec<f32> = tokens.clone().into_data().try_into_vec().unwrap();
            let values = numbers("x", batch * c * h * w);
            prop_assert_eq!(f64::from(one[c - 1]), values[(c - 1) * h * w]);
            prop_assert_eq!(to_picture(tokens, h, w).into_data(), x.into_data());
        }
    }

    #[test]
    fn pixels_double_and_average_back() {
        let x = numbers("x", 12);
        let double = nearest_2x(normal("x", [1, 2, 2, 3]));
        let want: Vec<f64> = (0..48)
            .map(|i| x[i / 24 * 6 + (i % 24) / 6 / 2 * 3 + i % 6 / 2])
            .collect();
        assert_close(double.clone(), [1, 2, 4, 6], &want);
        assert_close(average_2x2(double), [1, 2, 2, 3], &x);
        let [a, b, c, d] = [x[0], x[1], x[3], x[4]];
        let mean = average_2x2(normal("x", [1, 2, 2, 3]).narrow(1, 0, 1));
        assert_close(mean, [1, 1, 1, 1], &[(a + b + c + d) / 4.0]);
        let largest = max_2x2(normal("x", [1, 2, 2, 3]).narrow(1, 0, 1));
        assert_close(largest, [1, 1, 1, 1], &[a.max(b).max(c).max(d)]);
    }

    #[test]
    fn crop_keeps_the_upper_left() {
        let x = numbers("x", 6);
        assert_close(
            crop(normal("x", [1, 1, 2, 3]), [1, 9]),
            [1, 1, 1, 3],
            &x[..3],
        );
    }
}
