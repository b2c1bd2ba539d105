//! Matrix products and tables.

use burn::tensor::{Int, Tensor};

/// x·Wᵀ + b with torch's weight layout; the transpose is a view.
///
/// Each item of the batch is a product of its own, so that its result does not depend on the others: a matrix library
/// chooses its path by the number of rows. In two dimensions each row is an item.
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

/// Rows of a table.
///
/// # Shapes
///
/// table `[rows, width]`, ids `[batch, length]` → `[batch, length, width]`
pub fn embedding(table: Tensor<2>, ids: Tensor<2, Int>) -> Tensor<3> {
    burn::tensor::module::embedding(table, ids)
}

/// Pixels as rows: `[batch, channels, height, width]` → `[batch, height·width, channels]`.
pub fn to_tokens(x: Tensor<4>) -> Tensor<3> {
    let [batch, channels, height, width] = x.dims();
    x.reshape([batch, channels, height * width]).swap_dims(1, 2)
}

/// Rows as pixels: `[batch, height·width, channels]` → `[batch, channels, height, width]`.
pub fn to_picture(x: Tensor<3>, height: usize, width: usize) -> Tensor<4> {
    let [batch, _, channels] = x.dims();
    x.swap_dims(1, 2).reshape([batch, channels, height, width])
}

/// The table row nearest to each pixel's channels, by Euclidean distance; the first of equals.
///
/// # Shapes
///
/// z `[batch, channels, height, width]`, table `[rows, channels]` → as z
pub fn nearest_row_picture(z: Tensor<4>, table: Tensor<2>) -> Tensor<4> {
    /// Pixels compared with the whole table at once: bounds the matrix of distances.
    const PIXELS: usize = 512;
    let [batch, _, height, width] = z.dims();
    let tokens = to_tokens(z);
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
        embedding(table.clone(), Tensor::cat(ids.collect(), 1))
    });
    to_picture(Tensor::cat(pictures.collect(), 0), height, width)
}
