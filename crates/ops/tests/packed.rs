//! Packed layers against the functions that take weights as they are.

use burn::tensor::{DType, Device, Tensor, TensorData};
use latent_ops::{
    ConvShape, Form, PackedConv, PackedLinear, Padding, add, conv2d, conv2d_doubled, geglu, linear,
    tanh_gelu,
};
use latent_testkit::{closeness, recipe};

fn normal<const D: usize>(name: &str, shape: [usize; D], dtype: DType) -> Tensor<D> {
    let data = TensorData::new(recipe::normal(name, &shape), shape);
    Tensor::from_data(data, (&Device::flex(), dtype))
}

fn error<const D: usize>(got: Tensor<D>, want: Tensor<D>) -> f64 {
    assert_eq!((got.dims(), got.dtype()), (want.dims(), want.dtype()));
    let [got, want]: [Vec<f32>; 2] =
        [got, want].map(|t| t.cast(DType::F32).into_data().try_into_vec().unwrap());
    closeness(&got, &want)
}

/// Types, and how near a packed layer comes in each as it is and in eight bits.
const TYPES: [(DType, f64, f64); 3] = [
    (DType::F32, 1e-5, 2e-2),
    (DType::F16, 1e-3, 2e-2),
    (DType::BF16, 1e-2, 3e-2),
];

#[test]
fn linear_layers() {
    for (dtype, plain, eight) in TYPES {
        let x = normal("x", [2, 9, 40], dtype);
        let (weight, bias) = (normal("w", [24, 40], dtype), normal("b", [24], dtype));
        let want = linear(x.clone(), weight.clone(), Some(bias.clone()));
        let residual = normal("residual", [2, 9, 24], dtype);
        for (form, tolerance) in [(Form::Plain, plain), (Form::Int8, eight)] {
            let layer = PackedLinear::new(weight.clone(), Some(bias.clone()), form, false).unwrap();
            let found = error(layer.forward(x.clone(), None), want.clone());
            assert!(found < tolerance, "{dtype:?} {form:?}: {found:.2e}");
            let sum = layer.forward(x.clone(), Some(residual.clone()));
            let found = error(sum, add(want.clone(), residual.clone()));
            assert!(found < tolerance, "{dtype:?} {form:?} added: {found:.2e}");
        }
        let layer = PackedLinear::new(weight.clone(), Some(bias.clone()), Form::Plain, false);
        let found = layer.unwrap().forward_tanh_gelu(x.clone());
        let found = error(found, tanh_gelu(want.clone()));
        assert!(found < plain, "{dtype:?} tanh-GELU: {found:.2e}");
        let gated = PackedLinear::new(weight, Some(bias), Form::Int8, true).unwrap();
        let found = error(gated.forward(x, None), geglu(want));
        assert!(found < plain, "{dtype:?} gated: {found:.2e}");
    }
}

#[test]
fn convolutions() {
    let shapes = [
        (3, ConvShape::same(3)),
        (1, ConvShape::same(1)),
        (3, ConvShape::HALVE),
        (3, ConvShape::HALVE_FROM_CORNER),
    ];
    for (dtype, plain, eight) in TYPES {
        let x = normal("x", [2, 16, 7, 9], dtype);
        for (kernel, shape) in shapes {
            let weight = normal("w", [24, 16, kernel, kernel], dtype);
            let bias = normal("b", [24], dtype);
            // So many pixels that Winograd's method is taken with 4×4 tiles, 2×2 tiles, not at all.
            for pixels in [5000, 500, 5] {
                for padding in [Padding::Zero, Padding::Circular] {
                    for (form, tolerance) in [(Form::Plain, plain), (Form::Int8, eight)] {
                        let (w, b) = (weight.clone(), Some(bias.clone()));
                        let layer = PackedConv::new(w.clone(), b.clone(), shape, form, pixels);
                        let layer = layer.unwrap();
                        let want = conv2d(x.clone(), w.clone(), b.clone(), shape, padding);
                        let residual = normal("residual", want.dims(), dtype);
                        let got =
                            layer.forward(x.clone(), shape, padding, None, Some(residual.clone()));
                        let found = error(got, add(want, residual));
                        let case = format!("{dtype:?} {form:?} {shape:?} {padding:?} {pixels}");
                        assert!(found < tolerance, "{case}: {found:.2e}");
                        if shape == ConvShape::same(kernel) {
                            let size = [13, 18];
                            let got = layer.forward(x.clone(), shape, padding, Some(size), None);
                            let want = conv2d_doubled(x.clone(), w, b, padding, size);
                            let found = error(got, want);
                            assert!(found < tolerance, "{case} doubled: {found:.2e}");
                        }
                    }
                }
            }
        }
    }
}
