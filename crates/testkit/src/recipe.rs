//! Weights and inputs computed from names.
//!
//! For the flat, row-major index `i` of the tensor called `name`:
//!
//! ```text
//! h = splitmix64(fnv1a64(name) + seed · 0x9E3779B97F4A7C15 + i)      (modulo 2^64)
//! u = (h >> 40) / 2^23 − 1                                            in [-1, 1), exact in f32
//!
//! two or more dimensions     u · √(3 / fan_in)     fan_in: product of all dimensions but the first
//! one dimension, "…weight"   1 + 0.1 u
//! one dimension, otherwise   0.1 u
//! ```
//!
//! computed in f64, rounded to f32, then to f16. Names are those of the published diffusers and transformers files,
//! prefixed by the component: `unet/conv_in.weight`, `vae/…`, `text_encoder/text_model.…`.

use half::f16;

const GOLDEN_RATIO: u64 = 0x9E37_79B9_7F4A_7C15;

/// The 64-bit FNV-1a hash of `text`'s UTF-8 bytes.
pub fn fnv1a64(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |h, byte| {
        (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

fn splitmix64(x: u64) -> u64 {
    let z = x.wrapping_add(GOLDEN_RATIO);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The numbers of the stream called `name`, in [-1, 1).
pub fn uniform(name: &str, seed: u64) -> impl Iterator<Item = f64> {
    uniform_from(name, seed, 0)
}

/// The same from number `first` on.
pub fn uniform_from(name: &str, seed: u64, first: u64) -> impl Iterator<Item = f64> {
    let start = fnv1a64(name).wrapping_add(seed.wrapping_mul(GOLDEN_RATIO));
    (first..).map(move |i| (splitmix64(start.wrapping_add(i)) >> 40) as f64 / 8_388_608.0 - 1.0)
}

/// A parameter of that published name and shape, as the f16 values a checkpoint would store.
pub fn tensor_f16(name: &str, shape: &[usize], seed: u64) -> Vec<f16> {
    let count: usize = shape.iter().product();
    let draw = uniform(name, seed).take(count);
    let store = |v: f64| f16::from_f32(v as f32);
    if shape.len() >= 2 {
        let scale = (3.0 / (count / shape[0].max(1)).max(1) as f64).sqrt();
        draw.map(|u| store(u * scale)).collect()
    } else if name.ends_with("weight") {
        draw.map(|u| store(1.0 + 0.1 * u)).collect()
    } else {
        draw.map(|u| store(0.1 * u)).collect()
    }
}

/// [`tensor_f16`] widened to f32.
pub fn tensor(name: &str, shape: &[usize], seed: u64) -> Vec<f32> {
    tensor_f16(name, shape, seed)
        .into_iter()
        .map(f32::from)
        .collect()
}

/// Test input of roughly unit variance: a uniform number times √3.
pub fn normal(name: &str, shape: &[usize]) -> Vec<f32> {
    uniform(name, 0)
        .take(shape.iter().product())
        .map(|u| (u * 3f64.sqrt()) as f32)
        .collect()
}

/// The oracle's test picture by integer arithmetic: ramps, a disc, a box, a bar and a little noise. `[height][width]` of
/// red, green, blue.
pub fn picture(width: usize, height: usize) -> Vec<u8> {
    let stream = format!("picture/{width}x{height}");
    let mut noise = uniform(&stream, 0).map(|u| (u * 4.0 + 4.0) as i64 - 4);
    let (w, h) = (width as i64, height as i64);
    let mut pixels = Vec::with_capacity(3 * width * height);
    for y in 0..h {
        for x in 0..w {
            for c in 0..3 {
                let mut v = (2 * x + 3 * y + 40 * c) % 256 / 2;
                if (x - w / 3).pow(2) + (y - h / 2).pow(2) < (w.min(h) / 4).pow(2) {
                    v = 210 - 35 * c;
                }
                if x > w * 5 / 8 && x < w * 7 / 8 && y > h / 5 && y < h * 3 / 5 {
                    v = (50 + 90 * c) % 256;
                }
                if (x + y) % 29 < 2 {
                    v = 30 + 20 * c;
                }
                let v = v + noise.next().unwrap_or_default();
                pixels.push(v.clamp(0, 255) as u8);
            }
        }
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_fnv1a() {
        assert_eq!(fnv1a64(""), 0xCBF2_9CE4_8422_2325);
        assert_eq!(fnv1a64("a"), 0xAF63_DC4C_8601_EC8C);
    }

    #[test]
    fn shapes_choose_the_range() {
        assert!(
            tensor("x.weight", &[64], 0)
                .iter()
                .all(|v| (0.9..=1.1).contains(v))
        );
        assert!(tensor("x.bias", &[64], 0).iter().all(|v| v.abs() <= 0.1));
        let matrix = tensor("x.weight", &[8, 12], 0);
        assert!(matrix.iter().all(|v| v.abs() <= 0.5) && matrix.iter().any(|v| v.abs() > 0.3));
        assert_ne!(
            tensor("x.weight", &[8, 12], 0),
            tensor("x.weight", &[8, 12], 1)
        );
    }
}
