use super::*;

fn objective(config: ObjectiveConfig) -> Objective {
    Objective::new(config).unwrap()
}

fn numbers<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    x.into_data().try_into_vec().unwrap()
}

#[test]
fn a_network_that_knows_has_no_loss_whatever_it_predicts() {
    let device = Device::flex();
    for prediction in [
        Prediction::Epsilon,
        Prediction::V,
        Prediction::Sample,
        Prediction::Flow,
    ] {
        let objective = objective(ObjectiveConfig {
            prediction,
            ..ObjectiveConfig::default()
        });
        let mut random = Random::new(1, "test", 0, 0);
        let z = random.normals([3, 2, 4, 4], &device);
        let noise = objective.noise([3, 2, 4, 4], |i| Random::new(1, "noise", 0, i), &device);
        let levels: Vec<Level> = (0..3).map(|_| objective.draw(&mut random)).collect();
        let sigmas: Vec<f64> = levels.iter().map(|level| level.sigma).collect();
        let answer = prediction
            .target(z.clone(), noise.clone(), &sigmas)
            .unwrap();
        let mut seen = None;
        let loss = objective
            .loss(z.clone(), noise.clone(), &levels, |x, t| {
                seen = Some((x, t));
                answer
            })
            .unwrap();
        assert_eq!(numbers(loss.mean), [0.0]);
        let noisy = objective.noisy(z.clone(), noise.clone(), &levels).unwrap();
        let cleaned = objective.clean(&noisy.rows(&[2, 0]), chosen(noisy.target, &[2, 0]));
        // From what the network saw and the answer, the latent comes back: that is what sampling does.
        let (x, t) = seen.unwrap();
        assert_eq!(numbers(t).len(), 3);
        for (i, &sigma) in sigmas.iter().enumerate() {
            let one = |x: &Tensor<4>| x.clone().narrow(0, i, 1);
            let x = one(&x) / objective.path().c_in(sigma);
            let back = objective.path().denoised(
                prediction,
                x,
                one(&prediction
                    .target(z.clone(), noise.clone(), &sigmas)
                    .unwrap()),
                sigma,
            );
            let error: f32 = numbers((back - one(&z)).abs())
                .into_iter()
                .fold(0.0, f32::max);
            assert!(
                error < 2e-5 * (1.0 + sigma as f32),
                "{prediction:?} {error}"
            );
        }
        let error = numbers((cleaned - chosen(z, &[2, 0])).abs());
        let error = error.into_iter().fold(0.0, f32::max);
        let most = sigmas.iter().copied().fold(0.0, f64::max) as f32;
        assert!(error < 2e-5 * (1.0 + most), "{prediction:?} {error}");
    }
}

#[test]
fn distances_and_weights_are_the_formulas() {
    let device = Device::flex();
    let level = |sigma| Level {
        time: 0.0,
        sigma,
        band: 0,
    };
    let loss = |loss, weighting| {
        let objective = objective(ObjectiveConfig {
            loss,
            weighting,
            ..ObjectiveConfig::default()
        });
        let zeros = Tensor::<4>::zeros([2, 1, 1, 2], &device);
        let errors = Tensor::<4>::from_data([[[[0.5f32, -3.0]]], [[[0.0, 2.0]]]], &device);
        let levels = [level(1.0), level(0.1)];
        let loss = objective
            .loss(zeros.clone(), zeros, &levels, |_, _| errors)
            .unwrap();
        numbers(loss.each)
    };
    assert_eq!(loss(Distance::L1, Weighting::Uniform), [1.75, 1.0]);
    assert_eq!(loss(Distance::L2, Weighting::Uniform), [4.625, 2.0]);
    assert_eq!(
        loss(Distance::Huber(1.0), Weighting::Uniform),
        [(0.125 + 2.5) / 2.0, 0.75]
    );
    // SNR 1 and 100: weights 1 and 5/100
    let weighted = loss(Distance::L2, Weighting::MinSnr { gamma: 5.0 });
    assert!(
        (weighted[0] - 4.625).abs() < 1e-5 && (weighted[1] - 0.1).abs() < 1e-5,
        "{weighted:?}"
    );
}

#[test]
fn times_come_as_often_as_asked() {
    let flow = |times| {
        objective(ObjectiveConfig {
            prediction: Prediction::Flow,
            times,
            ..ObjectiveConfig::default()
        })
    };
    let mut random = Random::new(0, "times", 0, 0);
    let count = 50_000;
    let mut share = |objective: &Objective| {
        let middle = (0..count)
            .filter(|_| objective.draw(&mut random).band == 2)
            .count();
        middle as f64 / f64::from(count)
    };
    assert!((share(&flow(Times::Uniform)) - 0.2).abs() < 0.01);
    // P(|normal| < ln 1.5) = 0.3149
    let middle = share(&flow(Times::LogitNormal {
        mean: 0.0,
        deviation: 1.0,
    }));
    assert!((middle - 0.3149).abs() < 0.01, "{middle}");
    assert!((share(&objective(ObjectiveConfig::default())) - 0.2).abs() < 0.01);
    // A mean above 0 and a wide deviation: P(normal < −0.787) below 0.4, P(normal > 0.771) above 0.8.
    let wide = flow(Times::LogitNormal {
        mean: 0.5,
        deviation: 1.15,
    });
    let bands: Vec<usize> = (0..count).map(|_| wide.draw(&mut random).band).collect();
    let part = |wanted: &[usize]| {
        let found = bands.iter().filter(|band| wanted.contains(band)).count();
        found as f64 / f64::from(count)
    };
    assert!((part(&[0, 1]) - 0.2157).abs() < 0.01 && (part(&[4]) - 0.2204).abs() < 0.01);
    let level = objective(ObjectiveConfig::default()).draw_in(4, &mut Random::new(3, "band", 0, 0));
    assert!(level.band == 4 && level.time >= 800.0, "{level:?}");
}

#[test]
fn offset_noise_moves_whole_channels() {
    let objective = objective(ObjectiveConfig {
        offset_noise: 2.0,
        ..ObjectiveConfig::default()
    });
    let noise = objective.noise(
        [40, 3, 8, 8],
        |i| Random::new(0, "noise", 0, i),
        &Device::flex(),
    );
    let means = numbers(noise.reshape([120, 64]).mean_dim(1));
    let variance = means.iter().map(|m| m * m).sum::<f32>() / 120.0;
    // 2² + 1/64
    assert!((variance - 4.0).abs() < 1.2, "{variance}");
}

#[test]
fn what_cannot_be_learnt_is_refused() {
    let refused = |config: ObjectiveConfig| Objective::new(config).unwrap_err().to_string();
    let terminal = NoiseConfig {
        zero_terminal_snr: true,
        ..NoiseConfig::default()
    };
    let error = refused(ObjectiveConfig {
        noise: terminal,
        ..ObjectiveConfig::default()
    });
    assert!(error.contains("objective.prediction"), "{error}");
    let times = Times::LogitNormal {
        mean: 0.0,
        deviation: 1.0,
    };
    let error = refused(ObjectiveConfig {
        times,
        ..ObjectiveConfig::default()
    });
    assert!(error.contains("objective.times"), "{error}");
    let error = refused(ObjectiveConfig {
        dropout: 1.0,
        ..ObjectiveConfig::default()
    });
    assert!(error.contains("objective.dropout"), "{error}");
    let v = ObjectiveConfig {
        prediction: Prediction::V,
        noise: terminal,
        ..ObjectiveConfig::default()
    };
    let level = objective(v).draw_in(4, &mut Random::new(0, "", 0, 0));
    assert!(level.sigma.is_finite());
}
