//! Noise against torch's, A1111's and torchsde's numbers.

use burn::tensor::{Device, Tensor};
use latent_diffusion::noise::{BrownianTree, Generator, TorchCpu};
use latent_diffusion::{Noise, NoiseSource, NoiseStreams, PictureSeed};
use latent_testkit::{Golden, max_abs_difference};
use proptest::prelude::*;

fn values(x: Tensor<4>) -> Vec<f32> {
    x.to_data().iter::<f32>().collect()
}

#[test]
fn every_torch_golden() {
    let golden = Golden::noise();
    for name in golden.names() {
        let parts: Vec<&str> = name.split('/').collect();
        let ["cpu", seed, what] = parts[..] else {
            panic!("a golden without a test: {name}");
        };
        let mut generator = TorchCpu::new(seed.parse().unwrap());
        let got = match what.parse::<usize>() {
            Ok(count) => generator.normal(count),
            Err(_) => {
                assert_eq!(what, "first_then_second");
                let mut first = generator.normal(256);
                first.extend(generator.normal(256));
                first
            }
        };
        let error = max_abs_difference(&got, golden.values(name));
        assert!(error < 1e-6, "{name}: {error}");
    }
}

#[test]
fn the_philox_vector() {
    let text = Golden::noise();
    let text = text.metadata("source");
    let list = text.rsplit("is ").next().unwrap();
    let want: Vec<f32> = list
        .split(|c: char| "[],".contains(c))
        .filter_map(|w| w.trim().parse().ok())
        .collect();
    assert_eq!(want.len(), 12);
    let got = Generator::new(NoiseSource::TorchCuda, 0).normal(12);
    assert!(max_abs_difference(&got, &want) < 1e-6, "{got:?}");
}

#[test]
fn every_brownian_golden() {
    let golden = Golden::brownian();
    let queries: Vec<[f64; 2]> = serde_json::from_str(golden.metadata("queries")).unwrap();
    let range: [f64; 2] = serde_json::from_str(golden.metadata("range")).unwrap();
    for seed in [0u64, 42, (1 << 32) + 5] {
        let streams = NoiseStreams::new(NoiseSource::TorchCpu, &[seed.into()]).unwrap();
        let mut noise = streams.brownian([4, 8, 8], range[0], range[1]).unwrap();
        let like = Tensor::zeros([1, 4, 8, 8], &Device::flex());
        let ask = |noise: &mut latent_diffusion::BrownianNoise, i: usize| {
            let [from, to] = queries[i];
            let got = values(noise.between(&like, from, to));
            let name = format!("{seed}/{i}");
            let error = max_abs_difference(&got, golden.values(&name));
            assert!(error < 1e-5, "{name}: {error}");
        };
        (0..queries.len()).for_each(|i| ask(&mut noise, i));
        // the order of the queries does not matter
        let mut again = streams.brownian([4, 8, 8], range[0], range[1]).unwrap();
        (0..queries.len()).rev().for_each(|i| ask(&mut again, i));
    }
    assert_eq!(golden.names().len(), 3 * queries.len());
}

#[test]
fn a_path_is_of_unit_variance_and_adds_up() {
    let mut tree = BrownianTree::new(NoiseSource::TorchCpu, 3, 4000, 0.03, 14.6).unwrap();
    for (a, b) in [(0.03, 14.6), (1.0, 1.5), (0.031, 0.04), (7.0, 7.001)] {
        let w = tree.increment(a, b);
        let variance = w.iter().map(|v| f64::from(v * v)).sum::<f64>() / 4000.0;
        assert!(
            (variance / (b - a) - 1.0).abs() < 0.1,
            "{a}..{b}: {variance}"
        );
    }
    assert_eq!(tree.increment(2.0, 2.0), vec![0.0; 4000]);
    assert_eq!(tree.increment(20.0, 30.0), vec![0.0; 4000]);
}

#[test]
fn a_picture_does_not_depend_on_its_batch() {
    let device = Device::flex();
    for source in [NoiseSource::TorchCpu, NoiseSource::TorchCuda] {
        let seeds: Vec<PictureSeed> = [7u64, 8, 9].map(PictureSeed::from).to_vec();
        let mut batch = NoiseStreams::new(source, &seeds).unwrap();
        let mut alone = NoiseStreams::new(source, &seeds[1..2]).unwrap();
        let shape = [4, 3, 5];
        for _ in 0..3 {
            let many = batch.draw(shape, &device);
            assert_eq!(many.dims(), [3, 4, 3, 5]);
            assert_eq!(
                values(many.narrow(0, 1, 1)),
                values(alone.draw(shape, &device))
            );
        }
        let like = Tensor::zeros([3, 4, 3, 5], &device);
        let mut batch = batch.brownian(shape, 0.1, 10.0).unwrap();
        let mut alone = alone.brownian(shape, 0.1, 10.0).unwrap();
        let many = batch.between(&like, 3.0, 1.0).narrow(0, 1, 1);
        assert_eq!(values(many), values(alone.between(&like, 3.0, 1.0)));
    }
}

#[test]
fn streams_follow_a1111() {
    let device = Device::flex();
    let shape = [4, 4, 6];
    let count = 96;
    let cpu = |seed| Generator::new(NoiseSource::TorchCpu, seed);
    let start = |seed: PictureSeed| NoiseStreams::new(NoiseSource::TorchCpu, &[seed]).unwrap();

    // plain: the same generator goes on
    let mut streams = start(5.into());
    let mut generator = cpu(5);
    assert_eq!(
        values(streams.initial(shape, &device)),
        generator.normal(count)
    );
    let like = Tensor::zeros([1, 4, 4, 6], &device);
    assert_eq!(
        values(streams.between(&like, 2.0, 1.0)),
        generator.normal(count)
    );

    // ENSD: a fresh generator after the initial noise
    let mut streams = start(PictureSeed {
        eta_noise_seed_delta: 31337,
        ..5.into()
    });
    assert_eq!(
        values(streams.initial(shape, &device)),
        cpu(5).normal(count)
    );
    assert_eq!(
        values(streams.draw(shape, &device)),
        cpu(5 + 31337).normal(count)
    );

    // a sub-seed of full strength is the other seed's noise, of half strength neither
    let sub = |strength| PictureSeed {
        subseed: 6,
        subseed_strength: strength,
        ..5.into()
    };
    let turned = |strength| values(start(sub(strength)).initial(shape, &device));
    assert!(max_abs_difference(&turned(1.0), &cpu(6).normal(count)) < 1e-6);
    assert!(max_abs_difference(&turned(1e-9), &cpu(5).normal(count)) < 1e-6);
    assert!(max_abs_difference(&turned(0.5), &cpu(5).normal(count)) > 0.1);
    let mut streams = start(sub(0.5));
    streams.initial(shape, &device);
    let mut generator = cpu(5);
    generator.normal(count);
    assert_eq!(
        values(streams.draw(shape, &device)),
        generator.normal(count)
    );

    // resizing: the old size's noise in the middle of the new size's
    let mut streams = start(PictureSeed {
        resize_from: Some((2, 4)),
        ..5.into()
    });
    let got = values(streams.initial(shape, &device));
    let (old, new) = (cpu(5).normal(32), cpu(5).normal(count));
    for c in 0..4 {
        for y in 0..4 {
            for x in 0..6 {
                let inside = (1..3).contains(&y) && (1..5).contains(&x);
                let want = if inside {
                    old[(c * 2 + y - 1) * 4 + x - 1]
                } else {
                    new[(c * 4 + y) * 6 + x]
                };
                assert_eq!(got[(c * 4 + y) * 6 + x], want, "{c} {y} {x}");
            }
        }
    }
}

#[test]
fn bad_seeds_are_errors() {
    let new = |seeds: &[PictureSeed]| NoiseStreams::new(NoiseSource::TorchCpu, seeds);
    assert!(new(&[]).is_err());
    assert!(
        new(&[PictureSeed {
            subseed_strength: 1.5,
            ..1.into()
        }])
        .is_err()
    );
    assert!(
        new(&[PictureSeed {
            resize_from: Some((0, 8)),
            ..1.into()
        }])
        .is_err()
    );
    let streams = new(&[1.into()]).unwrap();
    assert!(streams.brownian([4, 2, 2], 1.0, 1.0).is_err());
}

/// The blend of two columns is computed by hand once, so that the axis of the turn is pinned.
#[test]
fn subseeds_turn_along_the_height() {
    let device = Device::flex();
    let seed = PictureSeed {
        subseed: 2,
        subseed_strength: 0.3,
        ..1.into()
    };
    let mut streams = NoiseStreams::new(NoiseSource::TorchCpu, &[seed]).unwrap();
    let got = values(streams.initial([1, 8, 4], &device));
    let (a, b) = (TorchCpu::new(1).normal(32), TorchCpu::new(2).normal(32));
    for x in 0..4 {
        let dot = |p: &[f32], q: &[f32]| {
            (0..8)
                .map(|y| f64::from(p[y * 4 + x] * q[y * 4 + x]))
                .sum::<f64>()
        };
        let omega = (dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()).acos();
        let (u, v) = (
            (0.7 * omega).sin() / omega.sin(),
            (0.3 * omega).sin() / omega.sin(),
        );
        for y in 0..8 {
            let want = u * f64::from(a[y * 4 + x]) + v * f64::from(b[y * 4 + x]);
            assert!((f64::from(got[y * 4 + x]) - want).abs() < 1e-5);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// W(a, c) = W(a, b) + W(b, c), whatever was asked before.
    #[test]
    fn increments_add_up(mut t in prop::collection::vec(0.03f64..14.6, 3), seed: u64, other in 0.03f64..14.6) {
        t.sort_by(f64::total_cmp);
        let mut tree = BrownianTree::new(NoiseSource::TorchCpu, seed, 20, 0.03, 14.6).unwrap();
        let fresh = tree.increment(t[0], t[2]);
        tree.increment(other.min(t[1]), other.max(t[1]));
        let (first, second) = (tree.increment(t[0], t[1]), tree.increment(t[1], t[2]));
        for ((w, a), b) in fresh.iter().zip(first).zip(second) {
            prop_assert!((w - a - b).abs() < 1e-5);
        }
        prop_assert_eq!(tree.increment(t[0], t[2]), fresh);
    }

    #[test]
    fn any_sizes_are_served(counts in prop::collection::vec(0usize..70, 1..6), seed: u64) {
        for source in [NoiseSource::TorchCpu, NoiseSource::TorchCuda] {
            let mut generator = Generator::new(source, seed);
            for &count in &counts {
                let values = generator.normal(count);
                prop_assert_eq!(values.len(), count);
                prop_assert!(values.iter().all(|v| v.is_finite()));
            }
        }
    }
}
