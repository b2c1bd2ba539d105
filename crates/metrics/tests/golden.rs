//! Every measure against the reference formulas (`tools/reference/metrics.py`), and what must hold whatever the numbers.

use latent_metrics::{
    Error, Features, frechet_distance, kernel_distance, ms_ssim, precision_recall, psnr, ssim,
};
use latent_testkit::{golden, recipe};

fn golden() -> serde_json::Value {
    serde_json::from_str(golden::METRICS).unwrap()
}

fn number(name: &str) -> f64 {
    golden()[name].as_f64().unwrap()
}

/// A smooth picture and a noisy copy, as the script makes them.
fn pair(name: &str, [channels, height, width]: [usize; 3]) -> [Vec<f32>; 2] {
    let (rows, columns) = (height.div_ceil(8), width.div_ceil(8));
    let coarse = recipe::normal(&format!("metrics/{name}"), &[1, channels, rows, columns]);
    let noise = recipe::normal(
        &format!("metrics/{name}/noise"),
        &[1, channels, height, width],
    );
    let smooth = |i: usize| {
        let (c, y, x) = (i / (height * width), i / width % height, i % width);
        f64::from(coarse[(c * rows + y / 8) * columns + x / 8]).clamp(-1.0, 1.0)
    };
    let a: Vec<f32> = (0..noise.len()).map(|i| smooth(i) as f32).collect();
    let noisy = |(i, v): (usize, &f32)| (smooth(i) + 0.2 * f64::from(*v)).clamp(-1.0, 1.0) as f32;
    let b = noise.iter().enumerate().map(noisy).collect();
    [a, b]
}

fn near(got: f64, want: f64) {
    assert!(
        (got - want).abs() < 1e-6 * (1.0 + want.abs()),
        "{got} for {want}"
    );
}

#[test]
fn pictures() {
    for (name, shape) in [("small", [3, 24, 37]), ("large", [1, 176, 190])] {
        let [a, b] = pair(name, shape);
        near(psnr(&a, &b, 2.0).unwrap(), number(&format!("psnr/{name}")));
        near(
            ssim(&a, &b, shape, 2.0).unwrap(),
            number(&format!("ssim/{name}")),
        );
        assert_eq!(ssim(&a, &a, shape, 2.0).unwrap(), 1.0);
        assert_eq!(psnr(&a, &a, 2.0).unwrap(), f64::INFINITY);
    }
    let shape = [1, 176, 190];
    let [a, b] = pair("large", shape);
    near(
        ms_ssim(&a, &b, shape, 2.0).unwrap(),
        number("ms_ssim/large"),
    );
}

#[test]
fn sets() {
    let real = recipe::normal("metrics/real", &[60, 8]);
    let made: Vec<f32> = golden()["made"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_f64().unwrap() as f32)
        .collect();
    let (real, made) = (
        Features::new(&real, 8).unwrap(),
        Features::new(&made, 8).unwrap(),
    );
    near(frechet_distance(&real, &made).unwrap(), number("frechet"));
    assert!(frechet_distance(&real, &real).unwrap() < 1e-6);
    near(
        kernel_distance(&real, &made, 60).unwrap().mean,
        number("kernel"),
    );
    let parts = kernel_distance(&real, &made, 20).unwrap();
    assert!(parts.error > 0.0 && (parts.mean - number("kernel")).abs() < 4.0 * parts.error);
    let found = precision_recall(&real, &made, 3).unwrap();
    near(found.precision, number("precision"));
    near(found.recall, number("recall"));
    assert_eq!(precision_recall(&real, &real, 3).unwrap().recall, 1.0);
}

#[test]
fn covariances_of_few_vectors_are_singular() {
    let real = recipe::normal("metrics/real", &[60, 8]);
    let made: Vec<f64> = serde_json::from_value(golden()["made"].clone()).unwrap();
    let made: Vec<f32> = made.iter().map(|&v| v as f32).collect();
    let (real, made) = (&real[..40], &made[..40]);
    let distance = frechet_distance(
        &Features::new(real, 8).unwrap(),
        &Features::new(made, 8).unwrap(),
    );
    // The root of a singular product is exact to half the digits, there and here.
    assert!((distance.unwrap() - number("frechet/few")).abs() < 1e-4);
}

#[test]
fn what_cannot_be_measured_is_said() {
    let x = vec![0.0; 3 * 10 * 40];
    assert!(matches!(
        ssim(&x, &x, [3, 10, 40], 1.0),
        Err(Error::Small { least: 11, .. })
    ));
    assert!(matches!(
        ms_ssim(&x, &x, [3, 40, 10], 1.0),
        Err(Error::Small { least: 176, .. })
    ));
    assert!(matches!(
        ssim(&x, &x[1..], [3, 10, 40], 1.0),
        Err(Error::Length { .. })
    ));
    assert!(matches!(psnr(&[], &[], 1.0), Err(Error::Length { .. })));
    assert!(matches!(Features::new(&x, 7), Err(Error::Length { .. })));
    assert!(matches!(
        Features::new(&[f32::NAN], 1),
        Err(Error::NotFinite { .. })
    ));
    let (a, b) = (Features::new(&x, 8).unwrap(), Features::new(&x, 4).unwrap());
    assert!(matches!(
        frechet_distance(&a, &b),
        Err(Error::Width { a: 8, b: 4 })
    ));
    let one = Features::new(&x[..8], 8).unwrap();
    assert!(matches!(frechet_distance(&a, &one), Err(Error::Few { .. })));
    assert!(matches!(kernel_distance(&a, &a, 1), Err(Error::Few { .. })));
    assert!(matches!(
        precision_recall(&a, &a, 150),
        Err(Error::Few { .. })
    ));
    assert!(matches!(
        precision_recall(&a, &a, 0),
        Err(Error::Few { .. })
    ));
}
