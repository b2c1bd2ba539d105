//! Every operation's gradients on the CPU: directional derivatives against differences of the
//! operation itself.
//!
//! For a function y(x) of some inputs, a fixed random weight of its outputs r and a direction d of
//! one input, d·∂(r·y)/∂x must equal (r·y(x + h d) − r·y(x − h d)) / 2h. The difference is of f32
//! functions, summed in f64, so it has four digits or so.

use burn::tensor::{DType, Device, Tensor, TensorData};
use latent_ops::{
    ConvShape, Padding, add, average_2x2, cat_channels, conv2d, conv2d_add, conv2d_doubled, crop,
    cross_attention, fork, gated_add, geglu, gelu, group_norm, group_norm_silu,
    group_norm_silu_modulated, group_norm_silu_shifted, layer_norm, layer_norm_modulated,
    leaky_relu, linear, linear_add, linear_tanh_gelu, max_2x2, multi_head_attention, nearest_2x,
    quick_gelu, self_attention, silu, tanh_gelu, to_picture, to_tokens,
};
use latent_testkit::recipe;

fn numbers(name: &str, shape: &[usize]) -> Vec<f32> {
    recipe::normal(name, shape)
}

/// Input `i` of the function under test.
#[derive(Clone)]
struct Inputs {
    shapes: Vec<Vec<usize>>,
    values: Vec<Vec<f32>>,
    /// Which of them record gradients.
    tracked: Vec<bool>,
}

impl Inputs {
    fn get<const D: usize>(&self, i: usize) -> Tensor<D> {
        let data = TensorData::new(self.values[i].clone(), self.shapes[i].clone());
        if self.tracked[i] {
            Tensor::from_data(data, &Device::flex().autodiff()).require_grad()
        } else {
            Tensor::from_data(data, &Device::flex())
        }
    }
}

/// Makes the inputs that it uses, hands them out by number, and returns the output.
type Function<'a, const D: usize> = dyn Fn(&Inputs, &mut dyn FnMut(usize, Leaf)) -> Tensor<D> + 'a;

/// A function, and the shapes of its inputs.
struct Case<'a, const D: usize> {
    name: &'a str,
    shapes: Vec<Vec<usize>>,
    function: &'a Function<'a, D>,
}

/// An input that records gradients, whatever its rank.
enum Leaf {
    One(Tensor<1>),
    Two(Tensor<2>),
    Three(Tensor<3>),
    Four(Tensor<4>),
}

/// The inputs of a case by number, remembered as leaves.
macro_rules! take {
    ($inputs:expr, $leaves:expr, $i:expr, One) => {{
        let t: Tensor<1> = $inputs.get($i);
        $leaves($i, Leaf::One(t.clone()));
        t
    }};
    ($inputs:expr, $leaves:expr, $i:expr, Two) => {{
        let t: Tensor<2> = $inputs.get($i);
        $leaves($i, Leaf::Two(t.clone()));
        t
    }};
    ($inputs:expr, $leaves:expr, $i:expr, Three) => {{
        let t: Tensor<3> = $inputs.get($i);
        $leaves($i, Leaf::Three(t.clone()));
        t
    }};
    ($inputs:expr, $leaves:expr, $i:expr, Four) => {{
        let t: Tensor<4> = $inputs.get($i);
        $leaves($i, Leaf::Four(t.clone()));
        t
    }};
}

impl<const D: usize> Case<'_, D> {
    fn inputs(&self, tracked: Vec<bool>) -> Inputs {
        let name = |i: usize| format!("{}/{i}", self.name);
        let values = self.shapes.iter().enumerate();
        Inputs {
            values: values.map(|(i, shape)| numbers(&name(i), shape)).collect(),
            shapes: self.shapes.clone(),
            tracked,
        }
    }

    /// r·y, with r by the recipe.
    fn value(&self, inputs: &Inputs) -> f64 {
        let y = (self.function)(inputs, &mut |_, _| {});
        let shape = y.dims();
        let y: Vec<f32> = y.into_data().try_into_vec().unwrap();
        let r = numbers("r", &shape);
        y.iter()
            .zip(&r)
            .map(|(y, r)| f64::from(*y) * f64::from(*r))
            .sum()
    }

    fn gradients(&self, tracked: Vec<bool>) -> Vec<Option<Vec<f32>>> {
        let inputs = self.inputs(tracked);
        let mut leaves: Vec<Option<Leaf>> = self.shapes.iter().map(|_| None).collect();
        let y = (self.function)(&inputs, &mut |i, leaf| leaves[i] = Some(leaf));
        let shape = y.dims();
        let r = TensorData::new(numbers("r", &shape), shape);
        let r = Tensor::<D>::from_data(r, &Device::flex());
        let mut gradients = (y * r).sum().backward();
        let mut read = |leaf: &Leaf| -> Option<Vec<f32>> {
            let data = match leaf {
                Leaf::One(t) => t.grad_remove(&mut gradients)?.into_data(),
                Leaf::Two(t) => t.grad_remove(&mut gradients)?.into_data(),
                Leaf::Three(t) => t.grad_remove(&mut gradients)?.into_data(),
                Leaf::Four(t) => t.grad_remove(&mut gradients)?.into_data(),
            };
            Some(data.try_into_vec().unwrap())
        };
        leaves
            .iter()
            .map(|leaf| read(leaf.as_ref().unwrap()))
            .collect()
    }

    fn check(&self) {
        let count = self.shapes.len();
        let all = self.gradients(vec![true; count]);
        let plain = self.inputs(vec![false; count]);
        for (i, shape) in self.shapes.iter().enumerate() {
            let gradient = all[i].as_ref().expect("a gradient");
            for turn in 0..3 {
                let direction = numbers(&format!("direction/{i}/{turn}"), shape);
                let found: f64 = gradient
                    .iter()
                    .zip(&direction)
                    .map(|(g, d)| f64::from(*g) * f64::from(*d))
                    .sum();
                let h = 5e-3;
                let at = |step: f32| {
                    let mut moved = plain.clone();
                    for (v, d) in moved.values[i].iter_mut().zip(&direction) {
                        *v += step * d;
                    }
                    self.value(&moved)
                };
                // The central difference, and its error of third order taken away.
                let near = (at(h) - at(-h)) / (2.0 * f64::from(h));
                let far = (at(2.0 * h) - at(-2.0 * h)) / (4.0 * f64::from(h));
                let want = (4.0 * near - far) / 3.0;
                let norm = |v: &[f32]| v.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
                let size = norm(gradient) * norm(&direction) / (gradient.len() as f64).sqrt();
                let error = (found - want).abs() / size.max(want.abs()).max(1e-3);
                assert!(
                    error < 2e-3,
                    "{} input {i}: {found} where {want} is right",
                    self.name
                );
            }
            // The same when nothing else is tracked.
            let mut alone = vec![false; count];
            alone[i] = true;
            let alone = self.gradients(alone);
            assert_eq!(
                alone[i].as_ref(),
                Some(gradient),
                "{} input {i} alone",
                self.name
            );
            let others = alone.iter().enumerate().filter(|(j, _)| *j != i);
            assert!(others.clone().all(|(_, g)| g.is_none()), "{}", self.name);
        }
    }
}

fn check<const D: usize>(
    name: &str,
    shapes: &[&[usize]],
    function: impl Fn(&Inputs, &mut dyn FnMut(usize, Leaf)) -> Tensor<D>,
) {
    let shapes = shapes.iter().map(|shape| shape.to_vec()).collect();
    let function = &function;
    Case {
        name,
        shapes,
        function,
    }
    .check();
}

#[test]
fn linear_layers() {
    check("linear", &[&[2, 5, 7], &[6, 7], &[6]], |i, l| {
        let bias = take!(i, l, 2, One);
        linear(take!(i, l, 0, Three), take!(i, l, 1, Two), Some(bias))
    });
    check("no bias", &[&[3, 40], &[9, 40]], |i, l| {
        linear(take!(i, l, 0, Two), take!(i, l, 1, Two), None)
    });
}

#[test]
fn sums_and_doublings_inside() {
    check("linear_add", &[&[2, 5, 7], &[6, 7], &[2, 5, 6]], |i, l| {
        let residual = take!(i, l, 2, Three);
        linear_add(take!(i, l, 0, Three), take!(i, l, 1, Two), None, residual)
    });
    let shapes: [&[usize]; 4] = [&[2, 3, 5, 6], &[4, 3, 3, 3], &[4], &[2, 4, 3, 3]];
    check("conv2d_add", &shapes, |i, l| {
        let (x, weight) = (take!(i, l, 0, Four), take!(i, l, 1, Four));
        let (bias, residual) = (Some(take!(i, l, 2, One)), take!(i, l, 3, Four));
        conv2d_add(x, weight, bias, ConvShape::HALVE, Padding::Zero, residual)
    });
    for padding in [Padding::Zero, Padding::Circular] {
        for size in [[8, 6], [7, 5]] {
            check(
                "conv2d_doubled",
                &[&[2, 3, 4, 3], &[2, 3, 3, 3], &[2]],
                |i, l| {
                    let (x, weight) = (take!(i, l, 0, Four), take!(i, l, 1, Four));
                    let bias = take!(i, l, 2, One);
                    conv2d_doubled(x, weight, Some(bias), padding, size)
                },
            );
            let [x, weight]: [Tensor<4>; 2] = [[2, 3, 4, 3], [2, 3, 3, 3]].map(|shape| {
                Tensor::from_data(
                    TensorData::new(numbers("x", &shape), shape),
                    &Device::flex(),
                )
            });
            let got = conv2d_doubled(x.clone(), weight.clone(), None, padding, size);
            let x = crop(nearest_2x(x), size);
            let want = conv2d(x, weight, None, ConvShape::same(3), padding);
            assert_eq!(got.into_data(), want.into_data());
        }
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
    for (kernel, shape) in shapes {
        for padding in [
            Padding::Zero,
            Padding::Circular,
            Padding::CircularX,
            Padding::CircularY,
        ] {
            for [height, width] in [[6, 8], [5, 7], [1, 2]] {
                if height < kernel && shape == ConvShape::HALVE_FROM_CORNER {
                    continue;
                }
                let name = format!("{kernel} {shape:?} {padding:?} {height}");
                let weight = [4, 3, kernel, kernel];
                check(&name, &[&[2, 3, height, width], &weight, &[4]], |i, l| {
                    let bias = take!(i, l, 2, One);
                    conv2d(
                        take!(i, l, 0, Four),
                        take!(i, l, 1, Four),
                        Some(bias),
                        shape,
                        padding,
                    )
                });
            }
        }
    }
}

#[test]
fn activations() {
    check("silu", &[&[2, 3, 4, 5]], |i, l| silu(take!(i, l, 0, Four)));
    check("gelu", &[&[2, 30]], |i, l| gelu(take!(i, l, 0, Two)));
    check("quick gelu", &[&[2, 30]], |i, l| {
        quick_gelu(take!(i, l, 0, Two))
    });
    check("tanh gelu", &[&[2, 30]], |i, l| {
        tanh_gelu(take!(i, l, 0, Two))
    });
    let shapes: [&[usize]; 3] = [&[2, 5, 7], &[6, 7], &[6]];
    check("linear, tanh gelu", &shapes, |i, l| {
        let bias = take!(i, l, 2, One);
        linear_tanh_gelu(take!(i, l, 0, Three), take!(i, l, 1, Two), Some(bias))
    });
    check("geglu", &[&[2, 3, 34]], |i, l| geglu(take!(i, l, 0, Three)));
}

#[test]
fn norms() {
    let picture: [&[usize]; 3] = [&[2, 6, 3, 4], &[6], &[6]];
    check("group norm", &picture, |i, l| {
        let (weight, bias) = (take!(i, l, 1, One), take!(i, l, 2, One));
        group_norm(take!(i, l, 0, Four), 2, weight, bias, 1e-5)
    });
    check("group norm, silu", &picture, |i, l| {
        let (weight, bias) = (take!(i, l, 1, One), take!(i, l, 2, One));
        group_norm_silu(take!(i, l, 0, Four), 3, weight, bias, 1e-5)
    });
    check("shifted", &[&[2, 6, 3, 4], &[6], &[6], &[2, 6]], |i, l| {
        let (weight, bias) = (take!(i, l, 1, One), take!(i, l, 2, One));
        let shift = take!(i, l, 3, Two);
        group_norm_silu_shifted(take!(i, l, 0, Four), shift, 2, weight, bias, 1e-5)
    });
    let each = [2, 6];
    let modulated: [&[usize]; 5] = [&[2, 6, 3, 4], &[6], &[6], &each, &each];
    check("modulated", &modulated, |i, l| {
        let (weight, bias) = (take!(i, l, 1, One), take!(i, l, 2, One));
        let by = [take!(i, l, 3, Two), take!(i, l, 4, Two)];
        group_norm_silu_modulated(take!(i, l, 0, Four), by, 3, weight, bias, 1e-5)
    });
    let modulated: [&[usize]; 3] = [&[2, 3, 17], &[2, 17], &[2, 17]];
    check("layer norm, modulated", &modulated, |i, l| {
        let by = [take!(i, l, 1, Two), take!(i, l, 2, Two)];
        layer_norm_modulated(take!(i, l, 0, Three), by, 1e-5)
    });
    let gated: [&[usize]; 3] = [&[2, 3, 17], &[2, 17], &[2, 3, 17]];
    check("gated add", &gated, |i, l| {
        let (gate, y) = (take!(i, l, 1, Two), take!(i, l, 2, Three));
        gated_add(take!(i, l, 0, Three), gate, y)
    });
    check("layer norm", &[&[2, 3, 17], &[17], &[17]], |i, l| {
        let (weight, bias) = (take!(i, l, 1, One), take!(i, l, 2, One));
        layer_norm(take!(i, l, 0, Three), weight, bias, 1e-5)
    });
}

#[test]
fn attention() {
    for (name, keys, causal) in [("attention", 7, false), ("causal", 5, true)] {
        check(
            name,
            &[&[2, 5, 12], &[2, keys, 12], &[2, keys, 12]],
            |i, l| {
                let (k, v) = (take!(i, l, 1, Three), take!(i, l, 2, Three));
                multi_head_attention(take!(i, l, 0, Three), k, v, 3, causal)
            },
        );
    }
}

#[test]
fn attention_of_tokens_side_by_side() {
    check("self-attention", &[&[2, 5, 36]], |i, l| {
        self_attention(take!(i, l, 0, Three), 3)
    });
    check("cross-attention", &[&[2, 5, 12], &[2, 7, 24]], |i, l| {
        cross_attention(take!(i, l, 0, Three), take!(i, l, 1, Three), 3)
    });
}

#[test]
fn pictures() {
    let two: [&[usize]; 2] = [&[2, 3, 4, 5], &[2, 3, 4, 5]];
    check("add", &two, |i, l| {
        add(take!(i, l, 0, Four), take!(i, l, 1, Four))
    });
    check("cat", &[&[2, 3, 4, 5], &[2, 2, 4, 5]], |i, l| {
        cat_channels(vec![take!(i, l, 0, Four), take!(i, l, 1, Four)])
    });
    check("double and crop", &[&[2, 3, 4, 5]], |i, l| {
        crop(nearest_2x(take!(i, l, 0, Four)), [7, 9])
    });
    check("average", &[&[2, 3, 5, 6]], |i, l| {
        average_2x2(take!(i, l, 0, Four))
    });
    check("largest", &[&[2, 3, 5, 6]], |i, l| {
        // The four pixels lie apart, so that a small step changes no choice.
        let apart = |i: usize| 4.0 * ((i % 6 + 2 * (i / 6)) % 4) as f32;
        let apart: Vec<f32> = (0..2 * 3 * 5 * 6).map(apart).collect();
        let apart = Tensor::from_data(TensorData::new(apart, [2, 3, 5, 6]), &Device::flex());
        max_2x2(take!(i, l, 0, Four) + apart)
    });
    check("leaky", &[&[2, 3, 5, 6]], |i, l| {
        // Above zero and below.
        let x = take!(i, l, 0, Four);
        add(leaky_relu(x.clone() + 2.0), leaky_relu(x - 2.0))
    });
    check("tokens", &[&[2, 3, 4, 5]], |i, l| {
        to_tokens(take!(i, l, 0, Four))
    });
    check("picture", &[&[2, 20, 3]], |i, l| {
        to_picture(take!(i, l, 0, Three), 4, 5)
    });
}

/// Layers in a row, whose pictures lie channels-last, with a branch: gradients meet.
#[test]
fn a_residual_block() {
    let shapes: [&[usize]; 4] = [&[2, 4, 5, 6], &[4, 4, 3, 3], &[4], &[4]];
    check("block", &shapes, |i, l| {
        let x = take!(i, l, 0, Four);
        let (kernel, one, two) = (
            take!(i, l, 1, Four),
            take!(i, l, 2, One),
            take!(i, l, 3, One),
        );
        let [h, x] = fork(x);
        let h = group_norm_silu(h, 2, one.clone(), two.clone(), 1e-5);
        let h = conv2d(h, kernel.clone(), None, ConvShape::same(3), Padding::Zero);
        let h = add(h, x);
        conv2d(h, kernel, Some(two), ConvShape::same(3), Padding::Circular)
    });
}

#[test]
fn half_precision_gradients_are_near() {
    let [x, weight] = ["x", "weight"].map(|name| numbers(name, &[8, 8]));
    let gradient = |dtype: DType| -> Vec<f32> {
        let device = Device::flex().autodiff();
        let [x, weight] = [&x, &weight].map(|values| {
            let data = TensorData::new(values.clone(), [8, 8]);
            Tensor::<2>::from_data(data, (&device, dtype)).require_grad()
        });
        let y = linear(x.clone(), weight, None);
        let mut gradients = silu(y).cast(DType::F32).sum().backward();
        let gradient = x.grad_remove(&mut gradients).unwrap();
        assert_eq!(gradient.dtype(), dtype);
        gradient
            .cast(DType::F32)
            .into_data()
            .try_into_vec()
            .unwrap()
    };
    let want = gradient(DType::F32);
    for (dtype, tolerance) in [(DType::BF16, 2e-2), (DType::F16, 2e-3)] {
        let error = latent_testkit::closeness(&gradient(dtype), &want);
        assert!(error < tolerance, "{dtype:?}: {error:.2e}");
    }
}
