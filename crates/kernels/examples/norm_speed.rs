//! Time and memory traffic of the norms and of what works number by number.
//!
//! The traffic is what must be read and written at the least, counted once per pass that a picture
//! too large for the caches needs: two reads for a group norm, one for a layer norm.

use std::time::Instant;

use half::bf16;
use latent_kernels::*;

/// The median of some runs, in seconds.
fn time(mut f: impl FnMut()) -> f64 {
    f();
    let mut all: Vec<f64> = (0..9)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64()
        })
        .collect();
    all.sort_by(f64::total_cmp);
    all[4]
}

fn all<T: Number>(name: &str, cpu: Cpu) {
    let sizes = [(2, 4096, 320), (2, 1024, 640), (1, 262_144, 128)];
    for (batch, pixels, channels) in sizes {
        let len = batch * pixels * channels;
        // Numbers rounded from −1..1, as many different ones as a byte has.
        let number = |i: usize| T::from_f32((i * 37 % 255) as f32 / 127.0 - 1.0);
        let x: Vec<T> = (0..len).map(number).collect();
        let g: Vec<T> = (0..len).map(|i| number(i + 77)).collect();
        let mut out = x.clone();
        let ones = vec![1.0; channels];
        let shift = vec![0.5; batch * channels];
        let report = |what: &str, streams: f64, seconds: f64| {
            let bytes = streams * (len * size_of::<T>()) as f64;
            println!(
                "{name} {} threads {batch}×{pixels}×{channels} {what}: {:.3} ms, {:.1} GB/s",
                rayon::current_num_threads(),
                seconds * 1e3,
                bytes / seconds / 1e9
            );
        };
        let shape = GroupNormShape {
            batch,
            pixels,
            channels,
            groups: 32,
            eps: 1e-5,
        };
        report("copy", 2.0, time(|| convert(cpu, &x, &mut out)));
        let shifted = Some(&shift[..]);
        let moments = group_norm_statistics(cpu, shape, &x, shifted);
        let sums = time(|| drop(group_norm_statistics(cpu, shape, &x, shifted)));
        report("group norm's statistics", 1.0, sums);
        for silu in [false, true] {
            let parameters = GroupNormParameters {
                weight: &ones,
                bias: &ones,
                shift: shifted,
                modulation: None,
                silu,
            };
            let with = if silu { " with silu" } else { "" };
            let apply = time(|| group_norm_apply(cpu, shape, &x, &parameters, &moments, &mut out));
            report(&format!("group norm's application{with}"), 2.0, apply);
            let whole = time(|| group_norm(cpu, shape, &x, &parameters, &mut out, None));
            report(&format!("group norm{with}"), 3.0, whole);
        }
        let mut stats = vec![0.0; 2 * batch * 32];
        moments.stats(shape.eps, &mut stats);
        let (mut by_weight, mut by_bias) = (ones.clone(), ones.clone());
        for silu in [false, true] {
            let parameters = GroupNormParameters {
                weight: &ones,
                bias: &ones,
                shift: shifted,
                modulation: None,
                silu,
            };
            let with = if silu { " with silu" } else { "" };
            let backward = time(|| {
                let gradients = GroupNormGradients {
                    x: &mut out,
                    weight: &mut by_weight,
                    bias: &mut by_bias,
                    shift: None,
                    modulation: None,
                };
                group_norm_backward(cpu, shape, &x, &parameters, &stats, &g, gradients);
            });
            report(&format!("group norm{with} backward"), 5.0, backward);
        }
        let shape = LayerNormShape {
            rows: batch * pixels,
            width: channels,
            eps: 1e-5,
        };
        let stats = vec![1.0; 2 * batch * pixels];
        let backward = time(|| {
            let gradients = LayerNormGradients {
                x: &mut out,
                weight: &mut by_weight,
                bias: &mut by_bias,
            };
            layer_norm_backward(cpu, shape, &x, &ones, &stats, &g, gradients);
        });
        report("layer norm backward", 3.0, backward);
        let sums = time(|| column_sums(cpu, batch * pixels, channels, &x, &mut by_bias));
        report("column sums", 1.0, sums);
        let layer = time(|| layer_norm(cpu, shape, &x, &ones, &ones, &mut out, None));
        report("layer norm", 2.0, layer);
        report(
            "silu",
            2.0,
            time(|| unary(cpu, Activation::Silu, &x, &mut out)),
        );
        report(
            "gelu",
            2.0,
            time(|| unary(cpu, Activation::Gelu, &x, &mut out)),
        );
        report("add", 3.0, time(|| add(cpu, &x, &g, &mut out)));
        let (rows, half) = (batch * pixels, channels / 2);
        let gated = time(|| geglu(cpu, rows, half, &x, &mut out[..len / 2]));
        report("geglu", 1.5, gated);
        let cat = time(|| {
            let (a, b) = (&x[..len / 2], &g[..len / 2]);
            cat_channels(rows, &[(a, half), (b, half)], &mut out);
        });
        report("cat", 2.0, cat);
        let first = time(|| transpose(batch, pixels, channels, &x, &mut out));
        report("to channels first", 2.0, first);
        let last = time(|| transpose(batch, channels, pixels, &x, &mut out));
        report("to channels last", 2.0, last);
    }
}

fn adamw_alone(cpu: Cpu) {
    for len in [1 << 20, 1 << 24] {
        let g = vec![0.1; len];
        let (mut p, mut m, mut v) = (g.clone(), vec![0.0; len], vec![0.0; len]);
        let step = AdamWStep {
            rate: 1e-3,
            betas: [0.9, 0.999],
            eps: 1e-8,
            decay: 0.01,
            step: 2,
        };
        let seconds = time(|| adamw(cpu, &step, &mut p, &g, &mut m, &mut v));
        println!(
            "f32 {} threads {len} numbers adamw: {:.3} ms, {:.1} GB/s",
            rayon::current_num_threads(),
            seconds * 1e3,
            28.0 * len as f64 / seconds / 1e9
        );
    }
}

fn main() {
    let cpu = match std::env::args().nth(1) {
        Some(level) => level.parse().expect("a level"),
        None => Cpu::detect(),
    };
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        pool.expect("threads").install(|| {
            all::<f32>("f32", cpu);
            all::<bf16>("bf16", cpu);
            adamw_alone(cpu);
        });
    }
}
