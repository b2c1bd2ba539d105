use half::bf16;
use proptest::prelude::*;

use super::*;
use crate::cpu::Cpu;
use crate::geometry::Edge;
use crate::twin::{self, distance, numbers};

fn check<T: Number>(tile: Tile, shape: [usize; 4], output: usize, window: &Window, limit: f64) {
    let [batch, height, width, channels] = shape;
    let data = numbers::<T>("x", batch * height * width * channels);
    let x = Picture::new(&data, shape);
    let weight = numbers::<T>("weight", output * channels * 9);
    let bias = numbers::<f32>("bias", output);
    let rows = batch * window.output[0] * window.output[1];
    let residual = numbers::<T>("residual", rows * output);
    let mut want = twin::conv2d(&x, &weight, output, window);
    for (i, v) in want.iter_mut().enumerate() {
        *v += f64::from(bias[i % output]) + f64::from(residual[i].to_f32());
    }
    let epilogue = Epilogue {
        bias: Some(&bias),
        residual: Some(&residual),
        ..Default::default()
    };
    for cpu in Cpu::every() {
        for make in [WinogradWeight::new, WinogradWeight::lean] {
            let packed = make(cpu, tile, &weight, [output, channels]);
            let mut out = vec![T::ZERO; rows * output];
            winograd(&x, &packed, window, &epilogue, &mut out);
            let error = distance(&out, &want);
            assert!(error < limit, "{cpu:?} {tile:?} {error:.2e}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn winograd_equals_its_twin(
        batch in 1usize..3, h in 1usize..12, w in 1usize..12, channels in 1usize..200, output in 1usize..150,
        double in any::<bool>(), wrap in any::<[bool; 2]>(),
    ) {
        let doubled = double.then_some([2 * h - 1, 2 * w]);
        let [sh, sw] = doubled.unwrap_or([h, w]);
        let edges = wrap.map(|wrap| if wrap { Edge::Wrap } else { Edge::Zero });
        let window = Window { doubled, edges, ..Window::same(3, sh, sw) };
        check::<f32>(Tile::Two, [batch, h, w, channels], output, &window, 1e-6);
        check::<f32>(Tile::Four, [batch, h, w, channels], output, &window, 5e-6);
        check::<bf16>(Tile::Two, [batch, h, w, channels], output, &window, 1e-2);
    }
}

#[test]
fn threads_and_batches_change_no_bit() {
    let data = numbers::<f32>("x", 3 * 20 * 17 * 64);
    let weight = numbers::<f32>("weight", 130 * 64 * 9);
    let packed = WinogradWeight::new(Cpu::detect(), Tile::Four, &weight, [130, 64]);
    let window = Window::same(3, 20, 17);
    let run = |threads: usize, batch: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let picture = 20 * 17;
            let x = Picture::new(&data[..batch * picture * 64], [batch, 20, 17, 64]);
            let mut out = vec![0f32; batch * picture * 130];
            winograd(&x, &packed, &window, &Epilogue::default(), &mut out);
            out[..picture * 130].to_vec()
        })
    };
    let one = run(1, 1);
    assert_eq!(one, run(2, 3));
    assert_eq!(one, run(4, 2));
}

#[test]
fn gradients_of_inputs_are_the_direct_products() {
    let (size, [height, width]) = ([70, 150], [9, 16]);
    let g = numbers::<f32>("g", height * width * size[0]);
    let g = Picture::new(&g, [1, height, width, size[0]]);
    let weight = numbers::<f32>("weight", size[0] * size[1] * 9);
    let window = Window::same(3, height, width).back(height, width);
    for cpu in Cpu::every() {
        let direct = crate::Weight::conv_back(cpu, &weight, [size[0], size[1], 3, 3]);
        let mut want = vec![0f32; height * width * size[1]];
        crate::conv2d(&g, &direct, &window, &Epilogue::default(), &mut want);
        let want: Vec<_> = want.iter().map(|x| f64::from(*x)).collect();
        for tile in [Tile::Two, Tile::Four] {
            let back = WinogradWeight::back(cpu, tile, &weight, size);
            let mut out = vec![0f32; want.len()];
            winograd(&g, &back, &window, &Epilogue::default(), &mut out);
            let error = distance(&out, &want);
            assert!(error < 5e-6, "{cpu:?} {tile:?} {error:.2e}");
        }
    }
}
