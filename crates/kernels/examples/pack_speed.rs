use half::bf16;
use latent_kernels::*;
use std::time::Instant;
fn main() {
    let cpu = Cpu::detect();
    let w = vec![bf16::from_f32(0.1); 2560 * 1280 * 9];
    for _ in 0..3 {
        let t = Instant::now();
        let a = Weight::conv(cpu, &w, [1280, 2560, 3, 3]);
        println!(
            "direct {:.1} ms {}",
            t.elapsed().as_secs_f64() * 1e3,
            a.bytes()
        );
        let t = Instant::now();
        let a = WinogradWeight::new(cpu, Tile::Two, &w, [1280, 2560]);
        println!(
            "wino {:.1} ms {}",
            t.elapsed().as_secs_f64() * 1e3,
            a.bytes()
        );
        let t = Instant::now();
        let a = Weight::linear(cpu, &w, [1280, 2560 * 9]);
        println!(
            "linear {:.1} ms {}",
            t.elapsed().as_secs_f64() * 1e3,
            a.bytes()
        );
        let t = Instant::now();
        let a = Int8Weight::conv(cpu, &w, [1280, 2560, 3, 3]);
        println!(
            "int8 {:.1} ms {}",
            t.elapsed().as_secs_f64() * 1e3,
            a.bytes()
        );
    }
}
