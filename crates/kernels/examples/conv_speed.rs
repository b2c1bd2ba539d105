use half::bf16;
use latent_kernels::*;
use std::time::Instant;
fn med(mut f: impl FnMut()) -> f64 {
    f();
    let mut t: Vec<f64> = (0..5)
        .map(|_| {
            let s = Instant::now();
            f();
            s.elapsed().as_secs_f64()
        })
        .collect();
    t.sort_by(f64::total_cmp);
    t[1]
}
fn go<T: Number>(name: &str, tile: Tile) {
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let cpu = Cpu::detect();
            for (b, s, i, o) in [(2, 64, 320, 320), (2, 64, 640, 320), (2, 32, 640, 640), (2, 16, 1280, 1280), (2, 8, 1280, 1280), (2,8,2560,1280), (1, 64, 512, 512), (1,256,256,256), (1, 512, 128, 128)] {
                let x = vec![T::from_f32(0.5); b * s * s * i]; let x = Picture::new(&x, [b, s, s, i]);
                let w = vec![T::from_f32(0.01); i * o * 9];
                let window = Window::same(3, s, s);
                let mut out = vec![T::from_f32(0.0); b * s * s * o];
                let flop = 2.0 * (b * s * s * i * o * 9) as f64 / 1e9;
                let direct = Weight::conv(cpu, &w, [o, i, 3, 3]);
                let d = med(|| conv2d(&x, &direct, &window, &Epilogue::default(), &mut out));
                let wino = WinogradWeight::new(cpu, tile, &w, [o, i]);
                let n = med(|| winograd(&x, &wino, &window, &Epilogue::default(), &mut out));
                println!("{name} {threads}t conv {i}->{o}@{s}x{b}: direct {:.1} GF/s {:.2} ms, winograd {:.1} eff {:.2} ms", flop / d, d * 1e3, flop / n, n * 1e3);
            }
            for (m, k, n) in [(8192, 320, 2560), (8192, 1280, 320), (8192, 320, 320), (2048, 640, 5120), (2048, 2560, 640), (512, 1280, 10240), (512, 5120, 1280), (128, 1280, 1280), (154, 768, 320)] {
                let x = vec![T::from_f32(0.5); m * k]; let w = vec![T::from_f32(0.01); n * k];
                let w = Weight::linear(cpu, &w, [n, k]); let mut out = vec![T::from_f32(0.0); m * n];
                let d = med(|| linear(&x, m, k, &w, &Epilogue::default(), &mut out));
                println!("{name} {threads}t linear {m}x{k}x{n}: {:.1} GF/s {:.2} ms", 2.0 * (m * k * n) as f64 / 1e9 / d, d * 1e3);
            }
        });
    }
}
fn main() {
    go::<bf16>("bf16", Tile::Two);
    go::<f32>("f32", Tile::Four);
}
