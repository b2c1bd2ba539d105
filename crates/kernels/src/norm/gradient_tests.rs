use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::cpu::Cpu;
use crate::number::Number;
use crate::twin::{numbers, on_any_threads, wide};

/// Mean, 1 / √(variance + eps).
fn stats(x: &[f64], eps: f64) -> [f64; 2] {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
    [mean, 1.0 / (variance + eps).sqrt()]
}

fn sum(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A function of several slices, in f64, and what the kernels say are its gradients.
struct Case<'a> {
    forward: &'a dyn Fn(&[Vec<f64>]) -> Vec<f64>,
    inputs: Vec<Vec<f64>>,
    grad_out: Vec<f64>,
    gradients: Vec<Vec<f64>>,
    /// Relative to the largest gradient, or to 1.
    tolerance: f64,
}

impl Case<'_> {
    fn slope(&self, k: usize, direction: impl Fn(usize) -> f64) -> f64 {
        let by = 1e-5;
        let at = |by: f64| {
            let mut inputs = self.inputs.clone();
            for (i, x) in inputs[k].iter_mut().enumerate() {
                *x += by * direction(i);
            }
            sum(&(self.forward)(&inputs), &self.grad_out)
        };
        (at(by) - at(-by)) / (2.0 * by)
    }

    /// Every number's gradient.
    fn check_each(&self) {
        for (k, gradients) in self.gradients.iter().enumerate() {
            assert_eq!(gradients.len(), self.inputs[k].len());
            let most = gradients.iter().fold(1.0, |m: f64, g| m.max(g.abs()));
            for (i, got) in gradients.iter().enumerate() {
                let want = self.slope(k, |j| if i == j { 1.0 } else { 0.0 });
                let off = (got - want).abs();
                assert!(
                    off < self.tolerance * most,
                    "input {k} number {i}: {got} {want}"
                );
            }
        }
    }

    /// The gradients along directions in which every number moves.
    fn check_all(&self) {
        for (k, gradients) in self.gradients.iter().enumerate() {
            for name in ["one", "two", "three"] {
                let direction = wide(&numbers::<f32>(name, gradients.len()));
                let (got, want) = (sum(gradients, &direction), self.slope(k, |i| direction[i]));
                let size = sum(gradients, gradients).sqrt();
                assert!(
                    (got - want).abs() < self.tolerance * size,
                    "input {k}: {got} {want}"
                );
            }
        }
    }
}

fn group_forward(shape: GroupNormShape, silu: bool, inputs: &[Vec<f64>]) -> Vec<f64> {
    let [x, weight, bias, shift, scale, offset] = inputs else {
        panic!("six inputs");
    };
    let GroupNormShape {
        batch,
        pixels,
        channels,
        groups,
        eps,
    } = shape;
    let width = channels / groups;
    let mut out = vec![0.0; x.len()];
    for b in 0..batch {
        for group in (0..channels).step_by(width) {
            let at = |i: usize| {
                let c = group + i % width;
                ((b * pixels + i / width) * channels + c, b * channels + c, c)
            };
            let values = (0..pixels * width).map(|i| x[at(i).0] + shift[at(i).1]);
            let values: Vec<f64> = values.collect();
            let [mean, inverse] = stats(&values, eps.into());
            for (i, v) in values.into_iter().enumerate() {
                let (place, bc, c) = at(i);
                let y = (v - mean) * inverse * weight[c] + bias[c];
                let y = y * (1.0 + scale[bc]) + offset[bc];
                out[place] = if silu { y / (1.0 + (-y).exp()) } else { y };
            }
        }
    }
    out
}

/// Gradients of x, weight, bias, shift, scale and offset.
fn group<T: Number>(cpu: Cpu, shape: GroupNormShape, silu: bool) -> Vec<Vec<f64>> {
    let (count, rows) = (shape.batch * shape.item(), shape.batch * shape.channels);
    let (x, g) = (numbers::<T>("x", count), numbers::<T>("g", count));
    let of_channels = |name| numbers::<f32>(name, shape.channels);
    let of_rows = |name| numbers::<f32>(name, rows);
    let (weight, bias) = (of_channels("weight"), of_channels("bias"));
    let (shift, scale, offset) = (of_rows("shift"), of_rows("scale"), of_rows("offset"));
    let parameters = GroupNormParameters {
        weight: &weight,
        bias: &bias,
        shift: Some(&shift),
        modulation: Some((&scale, &offset)),
        silu,
    };
    let mut out = vec![T::ZERO; count];
    let mut stats = vec![0.0; shape.batch * shape.groups * 2];
    group_norm(cpu, shape, &x, &parameters, &mut out, Some(&mut stats));
    let blank = |len: usize| vec![f32::NAN; len];
    let mut by = [shape.channels, shape.channels, rows, rows, rows].map(blank);
    let [by_weight, by_bias, by_shift, by_scale, by_offset] = &mut by;
    let gradients = GroupNormGradients {
        x: &mut out,
        weight: by_weight,
        bias: by_bias,
        shift: Some(by_shift),
        modulation: Some((by_scale, by_offset)),
    };
    group_norm_backward(cpu, shape, &x, &parameters, &stats, &g, gradients);
    std::iter::once(wide(&out))
        .chain(by.iter().map(|g| wide(g)))
        .collect()
}

fn group_case<T: Number>(shape: GroupNormShape, silu: bool, check: fn(&Case<'_>)) {
    let (count, rows) = (shape.batch * shape.item(), shape.batch * shape.channels);
    let forward = |inputs: &[Vec<f64>]| group_forward(shape, silu, inputs);
    for cpu in Cpu::every() {
        let named = [
            ("x", count),
            ("weight", shape.channels),
            ("bias", shape.channels),
            ("shift", rows),
            ("scale", rows),
            ("offset", rows),
        ];
        check(&Case {
            forward: &forward,
            inputs: named
                .iter()
                .map(|(name, len)| wide(&numbers::<f32>(name, *len)))
                .collect(),
            grad_out: wide(&numbers::<T>("g", count)),
            gradients: group::<T>(cpu, shape, silu),
            tolerance: if size_of::<T>() == 2 { 4e-3 } else { 1e-5 },
        });
    }
}

fn layer<T: Number>(cpu: Cpu, items: usize, shape: LayerNormShape) -> Vec<Vec<f64>> {
    let LayerNormShape { rows, width, .. } = shape;
    let (x, g) = (
        numbers::<T>("x", rows * width),
        numbers::<T>("g", rows * width),
    );
    let (weight, bias) = (
        numbers::<f32>("weight", items * width),
        numbers::<f32>("bias", items * width),
    );
    let (mut out, mut stats) = (vec![T::ZERO; rows * width], vec![0.0; rows * 2]);
    layer_norm(cpu, shape, &x, &weight, &bias, &mut out, Some(&mut stats));
    let mut by = [0; 2].map(|_| vec![f32::NAN; items * width]);
    let [by_weight, by_bias] = &mut by;
    let gradients = LayerNormGradients {
        x: &mut out,
        weight: by_weight,
        bias: by_bias,
    };
    layer_norm_backward(cpu, shape, &x, &weight, &stats, &g, gradients);
    std::iter::once(wide(&out))
        .chain(by.iter().map(|g| wide(g)))
        .collect()
}

/// Rows of `items` items.
fn layer_case<T: Number>(items: usize, shape: LayerNormShape, check: fn(&Case<'_>)) {
    let LayerNormShape { rows, width, eps } = shape;
    let forward = |inputs: &[Vec<f64>]| {
        let [x, weight, bias] = inputs else {
            panic!("three inputs");
        };
        let rows = x.chunks(width).enumerate().flat_map(|(row, x)| {
            let [mean, inverse] = stats(x, eps.into());
            let item = row / (rows / items) * width;
            let y =
                |(i, v): (usize, &f64)| (v - mean) * inverse * weight[item + i] + bias[item + i];
            x.iter().enumerate().map(y).collect::<Vec<_>>()
        });
        rows.collect()
    };
    for cpu in Cpu::every() {
        let small = items * width;
        let named = [("x", rows * width), ("weight", small), ("bias", small)];
        check(&Case {
            forward: &forward,
            inputs: named
                .iter()
                .map(|(name, len)| wide(&numbers::<f32>(name, *len)))
                .collect(),
            grad_out: wide(&numbers::<T>("g", rows * width)),
            gradients: layer::<T>(cpu, items, shape),
            tolerance: if size_of::<T>() == 2 { 4e-3 } else { 1e-5 },
        });
    }
}

/// Large enough that differences in f64 are exact where a group has few numbers.
const EPS: f32 = 0.01;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(25))]

    #[test]
    fn group_norm_against_differences(
        batch in 1usize..3, pixels in 1usize..7, groups in 1usize..4, width in 1usize..13,
        silu: bool,
    ) {
        let shape = GroupNormShape { batch, pixels, channels: groups * width, groups, eps: EPS };
        group_case::<f32>(shape, silu, |case| case.check_each());
        group_case::<bf16>(shape, silu, |case| case.check_each());
    }

    #[test]
    fn layer_norm_against_differences(items in 1usize..4, rows in 1usize..7, width in 1usize..40) {
        let shape = LayerNormShape { rows: items * rows, width, eps: EPS };
        layer_case::<f32>(items, shape, |case| case.check_each());
        layer_case::<bf16>(items, shape, |case| case.check_each());
    }
}

/// Several chunks, all widths of blocks.
const GROUPS: [(usize, usize, usize, usize); 3] =
    [(2, 500, 320, 32), (1, 900, 131, 1), (3, 3, 30_000, 4)];

#[test]
fn group_norm_over_several_chunks() {
    for (batch, pixels, channels, groups) in GROUPS {
        for silu in [false, true] {
            let shape = GroupNormShape {
                batch,
                pixels,
                channels,
                groups,
                eps: EPS,
            };
            group_case::<f32>(shape, silu, |case| case.check_all());
        }
    }
}

#[test]
fn layer_norm_over_several_chunks() {
    for (items, rows, width) in [(1, 700, 320), (3, 900, 77), (1, 3, 40_000)] {
        layer_case::<f32>(
            items,
            LayerNormShape {
                rows,
                width,
                eps: EPS,
            },
            |case| case.check_all(),
        );
    }
}

#[test]
fn nothing_at_all() {
    for (batch, pixels, channels) in [(0, 3, 4), (2, 0, 4), (2, 3, 0)] {
        let shape = GroupNormShape {
            batch,
            pixels,
            channels,
            groups: 2,
            eps: EPS,
        };
        let found = group::<f32>(Cpu::detect(), shape, true);
        assert!(found.iter().flatten().all(|g| *g == 0.0), "{found:?}");
    }
    for (rows, width) in [(0, 3), (3, 0)] {
        let found = layer::<f32>(
            Cpu::detect(),
            1,
            LayerNormShape {
                rows,
                width,
                eps: EPS,
            },
        );
        assert!(found.iter().flatten().all(|g| *g == 0.0), "{found:?}");
    }
}

#[test]
fn threads_do_not_show() {
    let cpu = Cpu::detect();
    for (batch, pixels, channels, groups) in GROUPS {
        let shape = GroupNormShape {
            batch,
            pixels,
            channels,
            groups,
            eps: EPS,
        };
        on_any_threads(|| group::<f32>(cpu, shape, true));
    }
    on_any_threads(|| {
        layer::<bf16>(
            cpu,
            3,
            LayerNormShape {
                rows: 900,
                width: 333,
                eps: EPS,
            },
        )
    });
}
