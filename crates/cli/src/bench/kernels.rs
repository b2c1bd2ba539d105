//! Every shape of Stable Diffusion 1.5 by itself.

use half::bf16;
use latent_kernels::{
    AttentionShape, Cpu, Epilogue, GroupNormParameters, GroupNormShape, Int8Weight, Number,
    Picture, Tile, Tokens, Weight, Window, WinogradWeight, attention, conv2d, conv2d_int8,
    group_norm, linear, linear_int8, output, peaks, winograd,
};
use latent_pipeline::request::Dtype;
use latent_testkit::recipe;
use serde_json::json;

use super::{Bench, median, name, rounded};

/// Side, input, output channels and batch of the 3×3 convolutions that matter most.
const CONVOLUTIONS: [[usize; 4]; 12] = [
    [64, 320, 320, 2],
    [64, 640, 320, 2],
    [64, 960, 320, 2],
    [32, 640, 640, 2],
    [32, 1280, 640, 2],
    [16, 1280, 1280, 2],
    [16, 2560, 1280, 2],
    [8, 1280, 1280, 2],
    [8, 2560, 1280, 2],
    [64, 512, 512, 1],
    [256, 256, 256, 1],
    [512, 128, 128, 1],
];

/// Rows, input, output of the linear layers.
const LINEAR: [[usize; 3]; 10] = [
    [8192, 320, 320],
    [8192, 320, 2560],
    [8192, 1280, 320],
    [2048, 640, 640],
    [2048, 640, 5120],
    [2048, 2560, 640],
    [512, 1280, 1280],
    [512, 1280, 10240],
    [512, 5120, 1280],
    [154, 768, 320],
];

/// Batch, queries, keys, heads, width of a head.
const ATTENTION: [[usize; 5]; 8] = [
    [2, 4096, 4096, 8, 40],
    [2, 1024, 1024, 8, 80],
    [2, 256, 256, 8, 160],
    [2, 64, 64, 8, 160],
    [2, 4096, 77, 8, 40],
    [2, 1024, 77, 8, 80],
    [2, 77, 77, 12, 64],
    [1, 4096, 4096, 1, 512],
];

/// Batch, pixels, channels of the normalisations.
const NORMS: [[usize; 3]; 4] = [
    [2, 4096, 320],
    [2, 1024, 640],
    [2, 256, 1280],
    [1, 262_144, 128],
];

/// Prints a line for each shape.
pub fn run(bench: &Bench, dtype: Dtype) {
    let cpu = Cpu::current();
    let [f32_peak, bf16_peak, int8_peak] = peaks(cpu);
    let gigas = |rate: f64| (rate / 1e8).round() / 10.0;
    if bench.json {
        println!(
            "{}",
            json!({"what": "peak", "cpu": cpu.level().to_string(), "f32_gflops": gigas(f32_peak),
                   "bf16_gflops": gigas(bf16_peak), "int8_gops": gigas(int8_peak)})
        );
    } else {
        println!(
            "measured peak: f32 {}, bf16 {}, int8 {} GFLOP/s",
            gigas(f32_peak),
            gigas(bf16_peak),
            gigas(int8_peak)
        );
    }
    let table = |peak| Table {
        bench,
        cpu,
        dtype: name(dtype),
        peak,
    };
    match dtype {
        Dtype::Bf16 => table(bf16_peak).all::<bf16>(Tile::Two),
        Dtype::Int8 => table(int8_peak).int8(),
        _ => table(f32_peak).all::<f32>(Tile::Four),
    }
}

/// Numbers within −1..1.
fn numbers<T: Number>(count: usize) -> Vec<T> {
    let draw = recipe::uniform("bench/kernels", 0).take(count);
    draw.map(|u| T::from_f32(u as f32)).collect()
}

struct Table<'a> {
    bench: &'a Bench,
    cpu: Cpu,
    dtype: &'static str,
    peak: f64,
}

impl Table<'_> {
    /// `operations` are those of the definition, so a method that needs fewer can exceed the peak.
    fn line(&self, what: &str, operations: usize, run: &mut dyn FnMut()) {
        let seconds = median(&self.bench.seconds(run));
        let rate = operations as f64 / seconds;
        if self.bench.json {
            println!(
                "{}",
                json!({"what": what, "dtype": self.dtype, "seconds": rounded(seconds),
                       "gflops": (rate / 1e8).round() / 10.0, "of_peak": (rate / self.peak * 1e3).round() / 1e3})
            );
        } else {
            println!(
                "{what:<44} {:>9.3} ms {:>8.1} GFLOP/s {:>5.0} % of peak",
                seconds * 1e3,
                rate / 1e9,
                100.0 * rate / self.peak
            );
        }
    }

    fn all<T: Number>(&self, tile: Tile) {
        for [side, input, columns, batch] in CONVOLUTIONS {
            let x = numbers::<T>(batch * side * side * input);
            let x = Picture::new(&x, [batch, side, side, input]);
            let weight = numbers::<T>(columns * input * 9);
            let window = Window::same(3, side, side);
            let epilogue = Epilogue::default();
            let mut out = output::<T>(batch * side * side * columns);
            let operations = 2 * batch * side * side * input * columns * 9;
            let shape = format!("3×3 {input}→{columns} at {side}², batch {batch}");
            let direct = Weight::conv(self.cpu, &weight, [columns, input, 3, 3]);
            self.line(&format!("{shape}, direct"), operations, &mut || {
                conv2d(&x, &direct, &window, &epilogue, &mut out)
            });
            let transformed = WinogradWeight::new(self.cpu, tile, &weight, [columns, input]);
            self.line(&format!("{shape}, Winograd"), operations, &mut || {
                winograd(&x, &transformed, &window, &epilogue, &mut out)
            });
            let lean = WinogradWeight::lean(self.cpu, tile, &weight, [columns, input]);
            let what = format!("{shape}, Winograd at use");
            self.line(&what, operations, &mut || {
                winograd(&x, &lean, &window, &epilogue, &mut out)
            });
        }
        for [rows, input, columns] in LINEAR {
            let (x, weight) = (numbers::<T>(rows * input), numbers::<T>(columns * input));
            let operations = 2 * rows * input * columns;
            let mut out = output::<T>(rows * columns);
            let plain = Weight::linear(self.cpu, &weight, [columns, input]);
            let what = format!("linear {rows}×{input}→{columns}");
            self.line(&what, operations, &mut || {
                linear(&x, rows, input, &plain, &Epilogue::default(), &mut out)
            });
            let (gated, half) = (
                Weight::gated(self.cpu, &weight, [columns, input]),
                columns / 2,
            );
            let mut out = output::<T>(rows * half);
            let what = format!("linear {rows}×{input}→{half}·gelu({half})");
            self.line(&what, operations, &mut || {
                linear(&x, rows, input, &gated, &Epilogue::default(), &mut out)
            });
        }
        for [batch, queries, keys, heads, width] in ATTENTION {
            let channels = heads * width;
            let q = numbers::<T>(batch * queries * channels);
            let k = numbers::<T>(batch * keys * channels);
            let tokens = |data, tokens| Tokens {
                data,
                tokens,
                stride: channels,
                batch_stride: tokens * channels,
            };
            let shape = AttentionShape {
                batch,
                heads,
                width,
                causal: false,
                scale: (width as f32).sqrt().recip(),
            };
            let mut out = output::<T>(q.len());
            let what = format!("attention {queries}×{keys}, {heads}×{width}, batch {batch}");
            let operations = 4 * batch * queries * keys * channels;
            self.line(&what, operations, &mut || {
                let (keys, values) = (tokens(&k, keys), tokens(&k, keys));
                attention(
                    self.cpu,
                    shape,
                    tokens(&q, queries),
                    keys,
                    values,
                    &mut out,
                    None,
                )
            });
        }
        for [batch, pixels, channels] in NORMS {
            let x = numbers::<T>(batch * pixels * channels);
            let (weight, bias) = (numbers::<f32>(channels), numbers::<f32>(channels));
            let shape = GroupNormShape {
                batch,
                pixels,
                channels,
                groups: 32,
                eps: 1e-5,
            };
            let parameters = GroupNormParameters {
                weight: &weight,
                bias: &bias,
                shift: None,
                modulation: None,
                silu: true,
            };
            let mut out = output::<T>(x.len());
            let what = format!("group norm and SiLU {batch}×{pixels}×{channels}");
            // Eight operations a number: what the definition needs without the exponential.
            self.line(&what, 8 * x.len(), &mut || {
                group_norm(self.cpu, shape, &x, &parameters, &mut out, None)
            });
        }
    }

    fn int8(&self) {
        for [side, input, columns, batch] in CONVOLUTIONS {
            let x = numbers::<bf16>(batch * side * side * input);
            let x = Picture::new(&x, [batch, side, side, input]);
            let weight = numbers::<f32>(columns * input * 9);
            let weight = Int8Weight::conv(self.cpu, &weight, [columns, input, 3, 3]);
            let mut out = output::<bf16>(batch * side * side * columns);
            let what = format!("3×3 {input}→{columns} at {side}², batch {batch}");
            let window = Window::same(3, side, side);
            let operations = 2 * batch * side * side * input * columns * 9;
            self.line(&what, operations, &mut || {
                conv2d_int8(&x, &weight, &window, &Epilogue::default(), &mut out)
            });
        }
        for [rows, input, columns] in LINEAR {
            let x = numbers::<bf16>(rows * input);
            let weight = numbers::<f32>(columns * input);
            let weight = Int8Weight::linear(self.cpu, &weight, [columns, input]);
            let mut out = output::<bf16>(rows * columns);
            let what = format!("linear {rows}×{input}→{columns}");
            self.line(&what, 2 * rows * input * columns, &mut || {
                linear_int8(&x, rows, input, &weight, &Epilogue::default(), &mut out)
            });
        }
    }
}
