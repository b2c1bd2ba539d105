use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::cpu::Cpu;
use crate::number::Number;
use crate::twin::{close, distance, numbers, on_any_threads, wide};

/// Mean and 1 / √(variance + eps).
fn stats(x: &[f64], eps: f64) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
    (mean, 1.0 / (variance + eps).sqrt())
}

/// What a group norm works on, but for the type of the picture.
struct Group {
    shape: GroupNormShape,
    weight: Vec<f32>,
    bias: Vec<f32>,
    shift: Vec<f32>,
    scale: Vec<f32>,
    offset: Vec<f32>,
    /// Shift, modulation, SiLU.
    with: [bool; 3],
}

impl Group {
    fn new(batch: usize, pixels: usize, channels: usize, groups: usize, with: [bool; 3]) -> Self {
        let rows = |name| numbers(name, batch * channels);
        Self {
            shape: GroupNormShape {
                batch,
                pixels,
                channels,
                groups,
                eps: 1e-5,
            },
            weight: numbers("weight", channels),
            bias: numbers("bias", channels),
            shift: rows("shift"),
            scale: rows("scale"),
            offset: rows("offset"),
            with,
        }
    }

    fn x<T: Number>(&self) -> Vec<T> {
        numbers("x", self.shape.item() * self.shape.batch)
    }

    fn parameters(&self) -> GroupNormParameters<'_> {
        GroupNormParameters {
            weight: &self.weight,
            bias: &self.bias,
            shift: self.with[0].then_some(&self.shift),
            modulation: self.with[1].then_some((&self.scale, &self.offset)),
            silu: self.with[2],
        }
    }

    fn forward<T: Number>(&self, cpu: Cpu, x: &[T]) -> (Vec<T>, Vec<f32>) {
        let mut out = vec![T::from_f32(f32::NAN); x.len()];
        let mut stats = vec![f32::NAN; self.shape.batch * self.shape.groups * 2];
        group_norm(
            cpu,
            self.shape,
            x,
            &self.parameters(),
            &mut out,
            Some(&mut stats),
        );
        (out, stats)
    }

    /// The output, and the stats.
    fn twin(&self, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let GroupNormShape {
            batch,
            pixels,
            channels,
            groups,
            eps,
        } = self.shape;
        let width = channels / groups;
        let (mut out, mut all) = (vec![0.0; x.len()], Vec::new());
        for b in 0..batch {
            for g in 0..groups {
                let mut places = Vec::new();
                for p in 0..pixels {
                    places.extend((g * width..(g + 1) * width).map(|c| (p, c)));
                }
                let at = |(p, c): (usize, usize)| (b * pixels + p) * channels + c;
                let values: Vec<f64> = places
                    .iter()
                    .map(|&(p, c)| {
                        let shift = self.shift[b * channels + c];
                        x[at((p, c))] + if self.with[0] { shift.into() } else { 0.0 }
                    })
                    .collect();
                let (mean, inverse) = stats(&values, eps.into());
                all.extend([mean, inverse]);
                for (place, v) in places.iter().zip(values) {
                    let c = place.1;
                    let bc = b * channels + c;
                    let mut y =
                        (v - mean) * inverse * f64::from(self.weight[c]) + f64::from(self.bias[c]);
                    if self.with[1] {
                        y = y * (1.0 + f64::from(self.scale[bc])) + f64::from(self.offset[bc]);
                    }
                    if self.with[2] {
                        y /= 1.0 + (-y).exp();
                    }
                    out[at(*place)] = y;
                }
            }
        }
        (out, all)
    }

    fn check<T: Number>(&self) {
        let x = self.x::<T>();
        let (want, want_stats) = self.twin(&wide(&x));
        for cpu in Cpu::every() {
            let (out, stats) = self.forward(cpu, &x);
            assert!(
                distance(&out, &want) < close::<T>(),
                "{:?} {cpu:?}",
                self.shape
            );
            if self.shape.item() > 0 {
                assert!(
                    distance(&stats, &want_stats) < 1e-6,
                    "{:?} {cpu:?}",
                    self.shape
                );
            }
        }
    }
}

/// Rows of `items` items.
fn layer<T: Number>(cpu: Cpu, [items, rows, width]: [usize; 3], x: &[T]) -> (Vec<T>, Vec<f32>) {
    let (weight, bias) = (
        numbers("weight", items * width),
        numbers("bias", items * width),
    );
    let mut out = vec![T::from_f32(f32::NAN); x.len()];
    let mut stats = vec![f32::NAN; rows * 2];
    let shape = LayerNormShape {
        rows,
        width,
        eps: 1e-5,
    };
    layer_norm(cpu, shape, x, &weight, &bias, &mut out, Some(&mut stats));
    (out, stats)
}

fn layer_twin([items, rows, width]: [usize; 3], x: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (weight, bias) = (
        numbers::<f32>("weight", items * width),
        numbers::<f32>("bias", items * width),
    );
    let (mut out, mut all) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let x = &x[row * width..][..width];
        let (mean, inverse) = stats(x, f64::from(1e-5f32));
        all.extend([mean, inverse]);
        for (c, v) in x.iter().enumerate() {
            let c = row / (rows / items) * width + c;
            out.push((v - mean) * inverse * f64::from(weight[c]) + f64::from(bias[c]));
        }
    }
    (out, all)
}

fn check_layer<T: Number>(size @ [_, rows, width]: [usize; 3]) {
    let x = numbers::<T>("x", rows * width);
    let (want, want_stats) = layer_twin(size, &wide(&x));
    for cpu in Cpu::every() {
        let (out, stats) = layer(cpu, size, &x);
        // The deviation of very few numbers loses digits that their mean keeps.
        assert!(
            distance(&out, &want) < 2.0 * close::<T>(),
            "{rows} {width} {cpu:?}"
        );
        if width > 0 {
            assert!(
                distance(&stats, &want_stats) < 1e-6,
                "{rows} {width} {cpu:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn group_norm_equals_its_twin(
        batch in 0usize..4, pixels in 0usize..80, groups in 1usize..5, width in 0usize..40,
        with: [bool; 3],
    ) {
        // One number has no deviation, and eps alone decides what is left of it.
        prop_assume!(pixels * width != 1);
        let group = Group::new(batch, pixels, groups * width, groups, with);
        group.check::<f32>();
        group.check::<bf16>();
    }

    #[test]
    fn layer_norm_equals_its_twin(items in 1usize..4, rows in 0usize..6, width in 0usize..200) {
        check_layer::<f32>([items, items * rows, width]);
        check_layer::<bf16>([items, items * rows, width]);
    }
}

/// Shapes that take several chunks, wider than any register block.
const CHUNKED: [(usize, usize, usize, usize); 3] =
    [(2, 700, 320, 32), (1, 1700, 131, 1), (3, 3, 40_000, 4)];

#[test]
fn group_norm_over_several_chunks() {
    for (batch, pixels, channels, groups) in CHUNKED {
        let group = Group::new(batch, pixels, channels, groups, [true; 3]);
        group.check::<f32>();
        group.check::<bf16>();
    }
}

/// The same numbers about a mean of 20 deviations.
fn far_off(count: usize) -> Vec<f32> {
    let x = numbers::<f32>("far", count);
    x.iter().map(|v| v + 20.0 * 0.577).collect()
}

#[test]
fn a_large_mean_costs_no_digits() {
    let (pixels, channels) = (512 * 512, 32);
    let group = Group::new(1, pixels, channels, 8, [false; 3]);
    let x = far_off(pixels * channels);
    let want = group.twin(&wide(&x)).0;
    for cpu in Cpu::every() {
        let (out, _) = group.forward(cpu, &x);
        for (got, want) in out.iter().zip(&want) {
            assert!(
                (f64::from(*got) - want).abs() < 1e-6,
                "{got} {want} {cpu:?}"
            );
        }
    }
    let x = far_off(1280);
    let want = layer_twin([1, 1, 1280], &wide(&x)).0;
    for cpu in Cpu::every() {
        let (out, _) = layer(cpu, [1, 1, 1280], &x);
        for (got, want) in out.iter().zip(&want) {
            assert!(
                (f64::from(*got) - want).abs() < 2e-6,
                "{got} {want} {cpu:?}"
            );
        }
    }
}

#[test]
fn threads_do_not_show() {
    let cpu = Cpu::detect();
    for (batch, pixels, channels, groups) in CHUNKED {
        let group = Group::new(batch, pixels, channels, groups, [true; 3]);
        let x = group.x::<f32>();
        on_any_threads(|| group.forward(cpu, &x));
    }
    let x = numbers::<f32>("x", 1000 * 77);
    on_any_threads(|| layer(cpu, [1, 1000, 77], &x));
}

#[test]
fn the_batch_does_not_show() {
    let cpu = Cpu::detect();
    let group = Group::new(3, 700, 320, 32, [false; 3]);
    let x = group.x::<f32>();
    let (all, _) = group.forward(cpu, &x);
    let one = Group::new(1, 700, 320, 32, [false; 3]);
    for (x, all) in x.chunks(700 * 320).zip(all.chunks(700 * 320)) {
        assert_eq!(one.forward(cpu, x).0, all);
    }
}

#[test]
fn nan_is_not_hidden() {
    let group = Group::new(1, 40, 8, 2, [false; 3]);
    let mut x = group.x::<f32>();
    x[11 * 8] = f32::NAN;
    for cpu in Cpu::every() {
        let (out, _) = group.forward(cpu, &x);
        for row in out.chunks(8) {
            assert!(row[..4].iter().all(|v| v.is_nan()) && row[4..].iter().all(|v| v.is_finite()));
        }
    }
}
