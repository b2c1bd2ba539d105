//! How fast attention is: `attention_speed [level]`.

use std::time::Instant;

use half::bf16;
use latent_kernels::{AttentionShape, Cpu, Number, Tokens, attention, attention_backward};

/// Queries, keys, heads, width.
const SHAPES: [[usize; 4]; 9] = [
    [4096, 4096, 8, 40],
    [1024, 1024, 8, 80],
    [256, 256, 8, 160],
    [64, 64, 8, 160],
    [4096, 77, 8, 40],
    [1024, 77, 8, 80],
    [4096, 4096, 10, 64],
    [4096, 4096, 1, 512],
    [77, 77, 12, 64],
];

fn numbers<T: Number>(count: usize) -> Vec<T> {
    (0..count)
        .map(|i| T::from_f32((i * 7919 % 2003) as f32 / 1001.0 - 1.0))
        .collect()
}

/// Seconds of the fastest of several runs.
fn best(mut work: impl FnMut()) -> f64 {
    work();
    let start = Instant::now();
    let mut best = f64::INFINITY;
    for _ in 0..200 {
        let one = Instant::now();
        work();
        best = best.min(one.elapsed().as_secs_f64());
        if start.elapsed().as_secs_f64() > 1.5 {
            break;
        }
    }
    best
}

/// Forward, in floating-point operations of its two products.
fn speed<T: Number>(cpu: Cpu, [queries, keys, heads, width]: [usize; 4]) -> f64 {
    let channels = heads * width;
    let (q, k, v) = (
        numbers::<T>(queries * channels),
        numbers::<T>(keys * channels),
        numbers::<T>(keys * channels),
    );
    let mut out = vec![T::default(); queries * channels];
    let shape = AttentionShape {
        batch: 1,
        heads,
        width,
        causal: false,
        scale: 1.0 / (width as f32).sqrt(),
    };
    let of = |tokens| [1, tokens, channels];
    let (q, k, v) = (
        Tokens::new(&q, of(queries)),
        Tokens::new(&k, of(keys)),
        Tokens::new(&v, of(keys)),
    );
    let seconds = best(|| attention(cpu, shape, q, k, v, &mut out, None));
    (4 * queries * keys * channels) as f64 / seconds / 1e9
}

/// Backward, in floating-point operations of the five products that it has at the least.
fn speed_backward(cpu: Cpu, [queries, keys, heads, width]: [usize; 4]) -> f64 {
    let channels = heads * width;
    let (q, grad) = (
        numbers::<f32>(queries * channels),
        numbers::<f32>(queries * channels),
    );
    let (k, v) = (
        numbers::<f32>(keys * channels),
        numbers::<f32>(keys * channels),
    );
    let shape = AttentionShape {
        batch: 1,
        heads,
        width,
        causal: false,
        scale: 1.0 / (width as f32).sqrt(),
    };
    let of = |tokens| [1, tokens, channels];
    let (tq, tk, tv) = (
        Tokens::new(&q, of(queries)),
        Tokens::new(&k, of(keys)),
        Tokens::new(&v, of(keys)),
    );
    let (mut out, mut sums) = (vec![0.0; q.len()], vec![0.0; queries * heads]);
    attention(cpu, shape, tq, tk, tv, &mut out, Some(&mut sums));
    let (mut dq, mut dk, mut dv) = (q.clone(), k.clone(), v.clone());
    let seconds = best(|| {
        attention_backward(
            cpu, shape, tq, tk, tv, &out, &sums, &grad, &mut dq, &mut dk, &mut dv,
        );
    });
    (10 * queries * keys * channels) as f64 / seconds / 1e9
}

fn main() {
    let cpu = match std::env::args().nth(1) {
        Some(name) => name.parse().expect("a level"),
        None => Cpu::detect(),
    };
    println!("{}: GFLOP/s", cpu.level());
    println!("queries keys heads width   bf16 1, 2 threads   f32 1, 2 threads   f32 backward");
    let pools = [1, 2].map(|n| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build();
        pool.expect("threads")
    });
    for shape in SHAPES {
        let [a, b] = [0, 1].map(|i| pools[i].install(|| speed::<bf16>(cpu, shape)));
        let [c, d] = [0, 1].map(|i| pools[i].install(|| speed::<f32>(cpu, shape)));
        let [e, f] = [0, 1].map(|i| pools[i].install(|| speed_backward(cpu, shape)));
        let [q, k, h, w] = shape;
        println!("{q:7} {k:4} {h:5} {w:5}   {a:6.1} {b:6.1}   {c:6.1} {d:6.1}   {e:6.1} {f:6.1}");
    }
}
