//! Matrix products and tables.

use burn::tensor::{Int, Tensor};

use latent_kernels::Activation;

use crate::activation::tanh_gelu;
use crate::cpu::{self, input};
use crate::is_cpu;
use crate::picture::{to_picture, to_tokens};

/// x·Wᵀ + b with torch's weight layout; the transpose is a view.
///
/// Each item of the batch is a product of its own, so that its result does not depend on the
/// others: a matrix library chooses its path by the number of rows. In two dimensions each row is
/// an item.
///
/// # Shapes
///
/// - x `[batch, …, in]`, weight `[out, in]`, bias `[out]`
/// - output `[batch, …, out]`
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    if is_cpu(&x.device()) {
        return by_kernel(x, weight, bias, Activation::None, None);
    }
    let mut dims = x.dims();
    let [out, width] = weight.dims();
    let batch = if D > 1 { dims[0] } else { 1 };
    let rows = dims[..D - 1].iter().product::<usize>() / batch.max(1);
    let y = if rows == 1 {
        // Written as W·x, because burn folds a batch of single rows into one matrix.
        let columns = weight.unsqueeze::<3>().matmul(x.reshape([batch, width, 1]));
        columns.reshape([batch, 1, out])
    } else {
        x.reshape([batch, rows, width])
            .matmul(weight.transpose().unsqueeze())
    };
    let y = match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    };
    dims[D - 1] = out;
    y.reshape(dims)
}

/// [`linear`] plus `residual`, which has the shape of its output.
pub fn linear_add<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    residual: Tensor<D>,
) -> Tensor<D> {
    if is_cpu(&x.device()) {
        return by_kernel(x, weight, bias, Activation::None, Some(residual));
    }
    linear(x, weight, bias) + residual
}

/// [`tanh_gelu`] of [`linear`]: at once where no gradients are recorded.
pub fn linear_tanh_gelu<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let learns = x.is_tracked()
        || weight.is_tracked()
        || bias.as_ref().is_some_and(|bias| bias.is_tracked());
    if learns || !is_cpu(&x.device()) {
        return tanh_gelu(linear(x, weight, bias));
    }
    by_kernel(x, weight, bias, Activation::TanhGelu, None)
}

fn by_kernel<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    activation: Activation,
    residual: Option<Tensor<D>>,
) -> Tensor<D> {
    let dtype = x.dtype();
    let inputs = [
        input(x, dtype),
        input(weight, dtype),
        bias.and_then(|bias| input(bias, dtype)),
        residual.and_then(|residual| input(residual, dtype)),
    ];
    cpu::run(cpu::Linear(activation), inputs).cast(dtype)
}

/// Rows of a table.
///
/// # Shapes
///
/// table `[rows, width]`, ids `[batch, length]` → `[batch, length, width]`
pub fn embedding(table: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    burn::tensor::module::embedding(table, ids)
}

/// The table row nearest to each pixel's channels, by Euclidean distance; the first of equals.
///
/// # Shapes
///
/// z `[batch, channels, height, width]`, table `[rows, channels]` → as z
pub fn nearest_row_picture(z: Tensor<4>, table: Tensor<2>) -> Tensor<4> {
    let [_, _, height, width] = z.dims();
    let ids = nearest_rows(z, table.clone());
    to_picture(embedding(table, ids), height, width)
}

/// The number of that row: `[batch, height·width]`.
///
/// # Shapes
///
/// As [`nearest_row_picture`].
pub fn nearest_rows(z: Tensor<4>, table: Tensor<2>) -> Tensor<2, Int> {
    /// Pixels compared with the whole table at once: bounds the matrix of distances.
    const PIXELS: usize = 512;
    let [batch, _, height, width] = z.dims();
    // No gradient goes through the choice.
    let (tokens, table) = (to_tokens(z.detach()), table.detach());
    // |z − e|² = |z|² + |e|² − 2 z·e, and |z|² is the same for every e.
    let lengths: Tensor<2> = table.clone().square().sum_dim(1).transpose();
    let pictures = (0..batch).map(|item| {
        let pixels = height * width;
        let ids = (0..pixels).step_by(PIXELS).map(|start| {
            let some =
                tokens
                    .clone()
                    .narrow(0, item, 1)
                    .narrow(1, start, PIXELS.min(pixels - start));
            let products = linear(some, table.clone(), None);
            let distance: Tensor<3> = lengths.clone().unsqueeze() - products * 2.0;
            distance.argmin(2).squeeze_dim::<2>(2)
        });
        Tensor::cat(ids.collect(), 1)
    });
    Tensor::cat(pictures.collect(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{assert_close, normal, numbers};
    use burn::tensor::{Device, TensorData};
    use proptest::prelude::*;

    fn scalar_linear(rows: usize, input: usize, output: usize) -> Vec<f64> {
        let x = numbers("x", rows * input);
        let weight = numbers("weight", output * input);
        let bias = numbers("bias", output);
        let mut y = Vec::new();
        for row in x.chunks(input) {
            for (w, b) in weight.chunks(input).zip(&bias) {
                y.push(row.iter().zip(w).map(|(a, b)| a * b).sum::<f64>() + b);
            }
        }
        y
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn linear_equals_its_twin(
            batch in 1usize..4, rows in 1usize..40, input in 1usize..70, output in 1usize..50,
        ) {
            let y = linear(
                normal("x", [batch, rows, input]),
                normal("weight", [output, input]),
                Some(normal("bias", [output])),
            );
            assert_close(y, [batch, rows, output], &scalar_linear(batch * rows, input, output));
        }

        #[test]
        fn nearest_row_is_the_nearest(h in 1usize..30, w in 1usize..30, rows in 1usize..60) {
            let (c, pixels) = (3, h * w);
            let z = numbers("z", c * pixels);
            let table = numbers("table", rows * c);
            let mut want = vec![0.0; c * pixels];
            for p in 0..pixels {
                let distance = |row: &[f64]| -> f64 {
                    (0..c).map(|i| (z[i * pixels + p] - row[i]).powi(2)).sum()
                };
                let best = table.chunks(c).min_by(|a, b| distance(a).total_cmp(&distance(b)));
                for (i, value) in best.unwrap().iter().enumerate() {
                    want[i * pixels + p] = *value;
                }
            }
            let found = nearest_row_picture(normal("z", [1, c, h, w]), normal("table", [rows, c]));
            assert_close(found, [1, c, h, w], &want);
        }
    }

    #[test]
    fn two_and_one_dimensions() {
        let (weight, bias) = (normal("weight", [5, 33]), normal("bias", [5]));
        let y = linear::<2>(normal("x", [4, 33]), weight.clone(), Some(bias.clone()));
        assert_close(y, [4, 5], &scalar_linear(4, 33, 5));
        let y = linear::<1>(normal("x", [33]), weight, Some(bias));
        assert_close(y, [5], &scalar_linear(1, 33, 5));
    }

    #[test]
    fn the_function_of_a_product_is_the_same_at_once() {
        let (x, weight) = (normal("x", [2, 9, 33]), normal("weight", [5, 33]));
        let bias = Some(normal("bias", [5]));
        let found = linear_tanh_gelu(x.clone(), weight.clone(), bias.clone());
        let want = tanh_gelu(linear(x, weight, bias)).into_data();
        let want: Vec<f64> = want.iter::<f64>().collect();
        assert_close(found, [2, 9, 5], &want);
    }

    #[test]
    fn embedding_takes_rows() {
        let ids = TensorData::new(vec![4i64, 0, 4], [1, 3]);
        let rows = embedding(
            normal("table", [5, 2]),
            Tensor::from_data(ids, &Device::flex()),
        );
        let table = numbers("table", 10);
        let want = [table[8], table[9], table[0], table[1], table[8], table[9]];
        assert_close(rows, [1, 3, 2], &want);
    }
}
