use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::cpu::Cpu;
use crate::epilogue::Activation;
use crate::geometry::Edge;
use crate::twin::{self, distance, numbers, wide};

fn tolerance<T: Number>() -> f64 {
    if T::GROUP == 1 { 1e-6 } else { 4e-3 }
}

fn act(activation: Activation, x: f64) -> f64 {
    // Φ by the complementary error function's series is more than these tests need: they use SiLU.
    match activation {
        Activation::None => x,
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::QuickGelu => x / (1.0 + (-1.702 * x).exp()),
        _ => unreachable!("tested with the functions of vectors"),
    }
}

fn check_conv<T: Number>(
    shape: [usize; 4],
    output: usize,
    window: &Window,
    activation: Activation,
    gap: usize,
) {
    let [batch, height, width, channels] = shape;
    let pixel = channels + gap;
    let data = numbers::<T>("x", batch * height * width * pixel);
    let x = Picture {
        data: &data,
        batch,
        height,
        width,
        channels,
        batch_stride: height * width * pixel,
        row_stride: width * pixel,
        pixel_stride: pixel,
    };
    let weight = numbers::<T>("weight", output * channels * window.taps());
    let rows = batch * window.output[0] * window.output[1];
    let bias = wide(&numbers::<f32>("bias", output))
        .iter()
        .map(|v| *v as f32)
        .collect::<Vec<_>>();
    let residual = numbers::<T>("residual", rows * output);
    let mut want = twin::conv2d(&x, &weight, output, window);
    for (i, v) in want.iter_mut().enumerate() {
        *v = act(activation, *v + f64::from(bias[i % output])) + f64::from(residual[i].to_f32());
    }
    let epilogue = Epilogue {
        bias: Some(&bias),
        activation,
        residual: Some(&residual),
    };
    for cpu in Cpu::every() {
        let dims = [output, channels, window.kernel[0], window.kernel[1]];
        let packed = Weight::conv(cpu, &weight, dims);
        let mut out = vec![T::ZERO; rows * output];
        conv2d(&x, &packed, window, &epilogue, &mut out);
        let error = distance(&out, &want);
        assert!(error < tolerance::<T>(), "{cpu:?} {error:.2e}");
    }
}

fn any_window() -> impl Strategy<Value = ([usize; 4], usize, Window)> {
    let sizes = (1usize..3, 1usize..9, 1usize..9, 1usize..40, 1usize..150);
    let walk = (
        1usize..4,
        1usize..4,
        1usize..3,
        1usize..3,
        0usize..3,
        any::<bool>(),
        any::<[bool; 2]>(),
    );
    (sizes, walk).prop_map(
        |((b, h, w, c, o), (kh, kw, stride, dilation, before, double, wrap))| {
            let doubled = double.then_some([2 * h - h % 2, 2 * w]);
            let [sh, sw] = doubled.unwrap_or([h, w]);
            // Any output size is a legal window: what is not in the picture is beyond its edge.
            let output = [sh.div_ceil(stride), sw.div_ceil(stride) + 1];
            let edge = |wrap| if wrap { Edge::Wrap } else { Edge::Zero };
            let window = Window {
                kernel: [kh, kw],
                stride,
                dilation,
                before: [before as isize - 1, (kw / 2) as isize],
                spread: 1,
                output,
                edges: wrap.map(edge),
                doubled,
            };
            ([b, h, w, c], o, window)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn convolution_equals_its_twin((shape, output, window) in any_window(), gap in 0usize..3) {
        check_conv::<f32>(shape, output, &window, Activation::Silu, gap);
        check_conv::<bf16>(shape, output, &window, Activation::None, gap);
    }

    #[test]
    fn linear_equals_its_twin(rows in 0usize..40, input in 1usize..90, output in 1usize..200, gap in 0usize..3) {
        fn check<T: Number>(rows: usize, input: usize, output: usize, gap: usize) {
            let stride = input + gap;
            let x = numbers::<T>("x", rows * stride);
            let weight = numbers::<T>("weight", output * input);
            let (xs, ws) = (wide(&x), wide(&weight));
            let mut want = Vec::new();
            for r in 0..rows {
                for o in 0..output {
                    want.push((0..input).map(|i| xs[r * stride + i] * ws[o * input + i]).sum::<f64>());
                }
            }
            for cpu in Cpu::every() {
                let packed = Weight::linear(cpu, &weight, [output, input]);
                let mut out = vec![T::ZERO; rows * output];
                linear(&x, rows, stride, &packed, &Epilogue::default(), &mut out);
                let error = distance(&out, &want);
                assert!(error < tolerance::<T>(), "{cpu:?} {error:.2e}");
            }
        }
        check::<f32>(rows, input, output, gap);
        check::<bf16>(rows, input, output, gap);
    }

    #[test]
    fn gates_multiply(rows in 1usize..30, input in 1usize..40, output in 1usize..150) {
        fn check<T: Number>(rows: usize, input: usize, output: usize) {
            let x = numbers::<T>("x", rows * input);
            let weight = numbers::<T>("weight", 2 * output * input);
            let bias = numbers::<f32>("bias", 2 * output);
            for cpu in Cpu::every() {
                let plain = Weight::linear(cpu, &numbers::<f32>("weight", 2 * output * input), [2 * output, input]);
                let mut both = vec![0f32; rows * 2 * output];
                let wide_x = numbers::<f32>("x", rows * input);
                linear(&wide_x, rows, input, &plain, &Epilogue { bias: Some(&bias), ..Default::default() }, &mut both);
                // GELU through an epilogue, of the second half alone.
                let gate_weight = &numbers::<f32>("weight", 2 * output * input)[output * input..];
                let gate = Weight::linear(cpu, gate_weight, [output, input]);
                let mut gates = vec![0f32; rows * output];
                let epilogue = Epilogue { bias: Some(&bias[output..]), activation: Activation::Gelu, residual: None };
                linear(&wide_x, rows, input, &gate, &epilogue, &mut gates);
                let values: Vec<f64> =
                    (0..rows * output).map(|i| f64::from(both[i / output * 2 * output + i % output])).collect();
                let want: Vec<f64> = values.iter().zip(&gates).map(|(v, g)| v * f64::from(*g)).collect();
                let packed = Weight::gated(cpu, &weight, [2 * output, input]);
                let mut out = vec![T::ZERO; rows * output];
                linear(&x, rows, input, &packed, &Epilogue { bias: Some(&bias), ..Default::default() }, &mut out);
                // GELU nearly cancels far below zero and has an absolute error there, which counts beside that of rounding.
                let norm = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>().sqrt();
                let share = norm(&want) / norm(&want).hypot(norm(&values) / 8.0);
                let error = distance(&out, &want) * share;
                assert!(error < tolerance::<T>(), "{cpu:?} {error:.2e}");
            }
        }
        check::<f32>(rows, input, output);
        check::<bf16>(rows, input, output);
    }
}

#[test]
fn long_sums_are_cut_alike_for_every_row() {
    // Deep enough for several blocks of the summed dimension.
    let window = Window::same(3, 5, 7);
    check_conv::<f32>([2, 5, 7, 700], 70, &window, Activation::None, 0);
    check_conv::<bf16>([2, 5, 7, 1300], 70, &window, Activation::None, 0);
}

#[test]
fn the_backward_weight_is_turned_round() {
    let (input, output) = (5, 7);
    let weight = numbers::<f32>("weight", output * input * 9);
    let data = numbers::<f32>("dy", 2 * 6 * 4 * output);
    let dy = Picture::new(&data, [2, 6, 4, output]);
    let window = Window::same(3, 6, 4);
    let mut turned = vec![0f32; input * output * 9];
    for o in 0..output {
        for i in 0..input {
            for tap in 0..9 {
                turned[(i * output + o) * 9 + tap] = weight[(o * input + i) * 9 + 8 - tap];
            }
        }
    }
    let want = twin::conv2d(&dy, &turned, input, &window);
    let packed = Weight::conv_back(Cpu::detect(), &weight, [output, input, 3, 3]);
    let mut out = vec![0f32; 2 * 6 * 4 * input];
    conv2d(&dy, &packed, &window, &Epilogue::default(), &mut out);
    assert!(distance(&out, &want) < 1e-6);
}

#[test]
fn threads_and_batches_change_no_bit() {
    let data = numbers::<bf16>("x", 3 * 20 * 17 * 64);
    let weight = numbers::<bf16>("weight", 130 * 64 * 9);
    let packed = Weight::conv(Cpu::detect(), &weight, [130, 64, 3, 3]);
    let window = Window::same(3, 20, 17);
    let run = |threads: usize, batch: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let picture = 20 * 17;
            let x = Picture::new(&data[..batch * picture * 64], [batch, 20, 17, 64]);
            let mut out = vec![bf16::ZERO; batch * picture * 130];
            conv2d(&x, &packed, &window, &Epilogue::default(), &mut out);
            out[..picture * 130].to_vec()
        })
    };
    let one = run(1, 1);
    assert_eq!(one, run(2, 3));
    assert_eq!(one, run(4, 2));
}
