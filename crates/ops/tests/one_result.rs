//! A picture has one result: the same bits in any batch and on any number of threads.

use std::process::Command;

use burn::tensor::{Device, Int, Tensor, TensorData};
use latent_ops::{
    ConvShape, Filter, Padding, average_2x2, conv2d, embedding, geglu, gelu, group_norm,
    group_norm_silu, layer_norm, layer_norm_modulated, linear, multi_head_attention, nearest_2x,
    nearest_row_picture, quick_gelu, resize, self_attention, silu, to_tokens,
};
use latent_testkit::recipe;

/// Set in the child processes of [`any_number_of_threads`].
const CHILD: &str = "LATENT_OPS_ONE_RESULT_CHILD";

fn normal<const D: usize>(name: &str, shape: [usize; D]) -> Tensor<D> {
    let values = recipe::normal(name, &shape);
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// `batch` different pictures; the first `n` of five are the first `n` of one.
fn pictures<const D: usize>(range: std::ops::Range<usize>, shape: [usize; D]) -> Tensor<D> {
    let items = range.map(|i| normal(&format!("picture/{i}"), shape));
    Tensor::cat(items.collect(), 0)
}

fn bits<const D: usize>(tensor: Tensor<D>) -> Vec<u32> {
    let values: Vec<f32> = tensor.into_data().try_into_vec().unwrap();
    values.into_iter().map(f32::to_bits).collect()
}

type Case = (
    &'static str,
    Box<dyn Fn(std::ops::Range<usize>) -> Vec<u32>>,
);

/// Every operation at sizes that reach the parallel paths, as functions of which pictures are
/// computed together.
fn cases() -> Vec<Case> {
    fn conv(channels: [usize; 2], size: [usize; 2], kernel: usize, shape: ConvShape) -> Vec<Case> {
        let paddings = [Padding::Zero, Padding::Circular];
        let case = |padding| -> Case {
            let run = move |range| {
                let weight = normal("weight", [channels[1], channels[0], kernel, kernel]);
                let bias = normal("bias", [channels[1]]);
                let x = pictures(range, [1, channels[0], size[0], size[1]]);
                bits(conv2d(x, weight, Some(bias), shape, padding))
            };
            ("conv2d", Box::new(run))
        };
        paddings.into_iter().map(case).collect()
    }
    fn rows<const D: usize>(shape: [usize; D], out: usize) -> Case {
        let run = move |range| {
            let weight = normal("weight", [out, shape[D - 1]]);
            let bias = normal("bias", [out]);
            bits(linear(pictures(range, shape), weight, Some(bias)))
        };
        ("linear", Box::new(run))
    }
    fn attention(tokens: [usize; 2], channels: usize, heads: usize, causal: bool) -> Case {
        let run = move |range: std::ops::Range<usize>| {
            let q = pictures(range.clone(), [1, tokens[0], channels]);
            let k = pictures(range, [1, tokens[1], channels]);
            bits(multi_head_attention(q, k.clone(), k * 0.5, heads, causal))
        };
        ("attention", Box::new(run))
    }
    fn picture(name: &'static str, f: fn(Tensor<4>) -> Tensor<4>) -> Case {
        let run = move |range| bits(f(pictures(range, [1, 64, 48, 40])));
        (name, Box::new(run))
    }
    fn scaled(
        f: fn(Tensor<4>, usize, Tensor<1>, Tensor<1>, f64) -> Tensor<4>,
        x: Tensor<4>,
    ) -> Tensor<4> {
        f(x, 32, normal("weight", [64]), normal("bias", [64]), 1e-5)
    }
    let mut cases = conv([64, 96], [40, 72], 3, ConvShape::same(3));
    cases.extend(conv([4, 320], [64, 64], 3, ConvShape::same(3)));
    cases.extend(conv([3, 128], [65, 63], 3, ConvShape::HALVE_FROM_CORNER));
    cases.extend(conv([128, 3], [64, 64], 3, ConvShape::same(3)));
    cases.extend(conv([320, 4], [17, 9], 3, ConvShape::same(3)));
    cases.extend(conv([640, 320], [8, 8], 3, ConvShape::HALVE));
    cases.extend(conv([320, 640], [2, 3], 3, ConvShape::same(3)));
    cases.extend(conv([320, 320], [32, 32], 1, ConvShape::same(1)));
    cases.extend([
        rows([1, 1024, 320], 640),
        rows([1, 77, 768], 320),
        rows([1, 7, 33], 5),
        rows([1, 320], 1280),
        rows([1, 2816], 1280),
        attention([4096, 77], 64, 8, false),
        attention([1024, 1024], 320, 8, false),
        attention([2048, 2048], 80, 2, false),
        attention([300, 300], 512, 1, false),
        attention([77, 77], 768, 12, true),
        picture("group_norm", |x| scaled(group_norm, x)),
        picture("group_norm_silu", |x| scaled(group_norm_silu, x)),
        picture("layer_norm", |x| {
            layer_norm(x, normal("weight", [40]), normal("bias", [40]), 1e-5)
        }),
        picture("layer_norm of tokens", |x| {
            let [batch, ..] = x.dims();
            let norm = |x| layer_norm(x, normal("weight", [64]), normal("bias", [64]), 1e-5);
            norm(to_tokens(x)).reshape([batch, 64, 48, 40])
        }),
        picture("layer_norm_modulated", |x| {
            let [batch, ..] = x.dims();
            let by = [0.5, 2.0].map(|k| normal("by", [1, 64]).repeat_dim(0, batch) * k);
            layer_norm_modulated(to_tokens(x), by, 1e-6).reshape([batch, 64, 48, 40])
        }),
        picture("self_attention", |x| {
            let [batch, ..] = x.dims();
            let qkv = x.reshape([batch, 640, 192]);
            self_attention(qkv, 4).reshape([batch, 64, 32, 20])
        }),
        picture("silu", silu),
        picture("gelu", gelu),
        picture("quick_gelu", quick_gelu),
        picture("geglu", geglu),
        picture("nearest_2x", nearest_2x),
        picture("average_2x2", average_2x2),
        picture("resize", |x| resize(x, [33, 91], Filter::BicubicAntialias)),
        picture("nearest_row_picture", |x| {
            nearest_row_picture(x, normal("table", [300, 64]))
        }),
        (
            "embedding",
            Box::new(|range: std::ops::Range<usize>| {
                let ids: Vec<i64> = range.flat_map(|i| [i as i64 * 7, 3, 99]).collect();
                let ids = TensorData::new(ids.clone(), [ids.len() / 3, 3]);
                let ids: Tensor<2, Int> = Tensor::from_data(ids, &Device::flex());
                bits(embedding(normal("table", [100, 48]), ids))
            }),
        ),
    ]);
    cases
}

#[test]
fn any_batch() {
    for (i, (name, run)) in cases().into_iter().enumerate() {
        let together = run(0..4);
        let alone: Vec<u32> = (0..4).flat_map(|item| run(item..item + 1)).collect();
        let differ = together.iter().zip(&alone).filter(|(a, b)| a != b).count();
        assert_eq!(together.len(), alone.len(), "case {i}: {name}");
        assert_eq!(differ, 0, "case {i}: {name}: of {} numbers", alone.len());
    }
}

#[test]
fn any_number_of_threads() {
    // The number of threads of a process is settled once, so each is tried in a process of its own.
    let run = |threads: usize| {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(CHILD, "1")
            .env("RAYON_NUM_THREADS", threads.to_string())
            .output()
            .unwrap();
        assert!(
            child.status.success(),
            "{}",
            String::from_utf8_lossy(&child.stderr)
        );
        let lines = String::from_utf8(child.stdout).unwrap();
        let lines: Vec<String> = lines
            .lines()
            .filter(|l| l.contains("case "))
            .map(str::to_owned)
            .collect();
        assert_eq!(lines.len(), cases().len(), "{lines:?}");
        lines
    };
    let one = run(1);
    for threads in [2, 3, 4] {
        assert_eq!(run(threads), one, "{threads} threads");
    }
}

/// Prints a hash of every case's bits, when started by [`any_number_of_threads`].
#[test]
fn child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    println!();
    for (i, (name, run)) in cases().into_iter().enumerate() {
        let text: String = run(0..2).iter().map(|b| format!("{b:08x}")).collect();
        println!("case {i} {name} {:016x}", recipe::fnv1a64(&text));
    }
}
