//! Where the numbers of a Flex tensor lie.
//!
//! What burn 0.22's Flex does with a picture whose channels lie last (`[b, c, h, w]` with stride 1
//! along c):
//!
//! | operation | result |
//! |---|---|
//! | permute, swap_dims, narrow, slice, clone | a view: strides are kept |
//! | a function of each number | as it lay, if it fills its storage; in place only when contiguous |
//! | `+ − × ÷` of two tensors or with a scalar, cat, cast to another type | contiguous, numbers gathered one by one |
//! | reshape | a view if contiguous, else a contiguous copy |
//! | into_data | a contiguous copy |
//! | the sum of a tensor's gradients | as `+` |
//!
//! So this crate has its own `add`, `cat_channels`, `nearest_2x` and activations, and turns pixels
//! into tokens by permuting first.

use std::borrow::Cow;

use burn::backend::flex::{FlexTensor, Layout};
use burn::tensor::{Bytes, DType, Shape};
use latent_kernels::{Picture, output, transpose};

use super::Float;

/// A tensor's dimensions.
///
/// # Panics
///
/// Where it has another number of them.
pub(crate) fn dims<const D: usize>(x: &FlexTensor) -> [usize; D] {
    let shape = x.layout().shape();
    assert_eq!(shape.num_dims(), D, "the number of dimensions");
    std::array::from_fn(|i| shape[i])
}

/// A tensor of `shape` over numbers in row-major order, which are not copied.
pub(crate) fn tensor<T: Float>(numbers: Vec<T>, shape: impl Into<Shape>) -> FlexTensor {
    let layout = Layout::contiguous(shape.into());
    debug_assert_eq!(numbers.len(), layout.num_elements());
    FlexTensor::new(Bytes::from_elems(numbers), layout, T::dtype())
}

/// A tensor `[batch, channels, height, width]` over channels-last numbers, which are not copied.
pub(crate) fn picture<T: Float>(numbers: Vec<T>, shape: [usize; 4]) -> FlexTensor {
    debug_assert_eq!(numbers.len(), shape.iter().product::<usize>());
    FlexTensor::new(Bytes::from_elems(numbers), channels_last(shape), T::dtype())
}

fn channels_last([batch, channels, height, width]: [usize; 4]) -> Layout {
    let pixel = channels as isize;
    let row = pixel * width as isize;
    let strides = vec![row * height as isize, 1, row, pixel];
    Layout::new(Shape::from([batch, channels, height, width]), strides, 0)
}

/// Whether the numbers lie without gaps in the order of `axes`, outermost first.
fn lies_in_order(layout: &Layout, axes: &[usize]) -> bool {
    let mut expected = 1;
    for &axis in axes.iter().rev() {
        let size = layout.shape()[axis];
        if size == 1 {
            continue;
        }
        if layout.strides()[axis] != expected {
            return false;
        }
        expected *= size as isize;
    }
    true
}

/// `x` with its numbers in row-major order.
pub(crate) fn rows(x: FlexTensor) -> FlexTensor {
    if x.is_contiguous() {
        x
    } else {
        x.to_contiguous()
    }
}

/// The picture `x` with its numbers channels-last and without gaps.
pub(crate) fn pixels<T: Float>(x: FlexTensor) -> FlexTensor {
    if lies_in_order(x.layout(), &[0, 2, 3, 1]) {
        return x;
    }
    let shape @ [batch, channels, height, width] = dims(&x);
    let x = rows(x);
    let mut moved = output::<T>(shape.iter().product());
    transpose(batch, channels, height * width, numbers(&x), &mut moved);
    picture(moved, shape)
}

/// The picture `x` for a kernel that can step over gaps: a crop, a part of the channels. Copied
/// where the channels of a pixel are not neighbours.
pub(crate) fn pixels_with_gaps<T: Float>(x: FlexTensor) -> FlexTensor {
    let strides = x.layout().strides();
    let [_, channels, _, _] = dims(&x);
    let neighbours = channels == 1 || strides[1] == 1;
    if neighbours && strides.iter().all(|&s| s >= 0) {
        x
    } else {
        pixels::<T>(x)
    }
}

/// The kernels' view of what [`pixels_with_gaps`] or [`pixels`] gave.
pub(crate) fn view<T: Float>(x: &FlexTensor) -> Picture<'_, T> {
    let [batch, channels, height, width] = dims(x);
    let strides = x.layout().strides();
    let stride = |axis: usize| strides[axis].unsigned_abs();
    Picture {
        data: &x.storage::<T>()[x.layout().start_offset()..],
        batch,
        height,
        width,
        channels,
        batch_stride: stride(0),
        row_stride: stride(2),
        pixel_stride: stride(3),
    }
}

/// The numbers of a tensor that lies without gaps, in the order in which they lie.
pub(crate) fn numbers<T: Float>(x: &FlexTensor) -> &[T] {
    let layout = x.layout();
    &x.storage()[layout.start_offset()..][..layout.num_elements()]
}

/// A tensor's numbers as f32, in row-major order.
pub(crate) fn as_f32<T: Float>(x: &FlexTensor) -> Vec<f32> {
    to_f32(numbers::<T>(&rows(x.clone()))).into_owned()
}

/// Numbers as f32: the same memory where they are.
pub(crate) fn to_f32<T: Float>(x: &[T]) -> Cow<'_, [f32]> {
    match bytemuck::try_cast_slice(x) {
        Ok(same) if T::dtype() == DType::F32 => Cow::Borrowed(same),
        _ => Cow::Owned(x.iter().map(|v| v.to_f32()).collect()),
    }
}

/// Numbers from f32: the same memory where they are.
pub(crate) fn from_f32<T: Float>(x: Vec<f32>) -> Vec<T> {
    if T::dtype() == DType::F32 {
        bytemuck::cast_vec(x)
    } else {
        // Not `into_iter`: in place it is done number by number.
        x.iter().map(|&x| T::from_f32(x)).collect()
    }
}

/// `x` in any order without gaps: as it lies if that has none, else row-major.
pub(crate) fn any_order(x: FlexTensor) -> FlexTensor {
    let picture = x.layout().num_dims() == 4 && lies_in_order(x.layout(), &[0, 2, 3, 1]);
    if picture { x } else { rows(x) }
}

/// `x` rearranged to lie in the order in which `like`, of the same shape, lies.
pub(crate) fn in_order_of<T: Float>(x: FlexTensor, like: &FlexTensor) -> FlexTensor {
    if like.is_contiguous() {
        rows(x)
    } else {
        pixels::<T>(x)
    }
}

/// A tensor over `numbers` that lie in the order in which `like`, of the same shape, lies.
pub(crate) fn tensor_like<T: Float>(numbers: Vec<T>, like: &FlexTensor) -> FlexTensor {
    if like.is_contiguous() {
        tensor(numbers, like.layout().shape().clone())
    } else {
        picture(numbers, dims(like))
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;

    use super::lies_in_order;
    use crate::cpu::flex;
    use crate::test_support::normal;
    use crate::{
        ConvShape, Padding, add, cat_channels, conv2d, crop, group_norm_silu, nearest_2x, silu,
        to_picture, to_tokens,
    };

    #[test]
    fn pictures_stay_channels_last_and_tokens_are_a_view() {
        let lies = |x: &Tensor<4>| lies_in_order(flex(x.clone()).layout(), &[0, 2, 3, 1]);
        let x: Tensor<4> = normal("x", [2, 4, 5, 6]);
        assert!(!lies(&x));
        let weight = normal("weight", [4, 4, 3, 3]);
        let x = conv2d(x, weight, None, ConvShape::same(3), Padding::Circular);
        assert!(lies(&x));
        let x = group_norm_silu(x, 2, normal("one", [4]), normal("two", [4]), 1e-5);
        assert!(lies(&x));
        let x = silu(add(x.clone(), x));
        assert!(lies(&x));
        let x = crop(nearest_2x(cat_channels(vec![x.clone(), x])), [10, 12]);
        assert!(lies(&x));
        let start = |bytes: &[u8]| bytes.as_ptr();
        let whole = flex(x.clone());
        let tokens = to_tokens(x);
        assert_eq!(start(flex(tokens.clone()).bytes()), start(whole.bytes()));
        let x = to_picture(tokens, 10, 12);
        assert_eq!(start(flex(x.clone()).bytes()), start(whole.bytes()));
        assert!(lies(&x));
    }
}
