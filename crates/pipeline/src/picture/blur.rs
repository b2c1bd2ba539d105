//! The two Gaussian blurs of the references, byte for byte.
//!
//! A1111 blurs a mask with OpenCV, whose 8-bit path uses a kernel of 8-bit fixed point made to sum to one; it fills
//! masked regions with Pillow, whose `GaussianBlur` is three box blurs.

use super::Grey;

/// OpenCV's `GaussianBlur` of a mask with standard deviation `sigma` and A1111's kernel size `2 ⌊2.5 σ + 0.5⌋ + 1`,
/// along the rows, then along the columns. `sigma` 0 changes nothing.
pub fn mask_blur(mask: &Grey, sigma: u32) -> Grey {
    if sigma == 0 {
        return mask.clone();
    }
    let kernel = kernel(f64::from(sigma));
    let (width, height) = (mask.width, mask.height);
    let mut values = mask.values.clone();
    for row in values.chunks_exact_mut(width) {
        let blurred = convolve(row, &kernel);
        row.copy_from_slice(&blurred);
    }
    for x in 0..width {
        let column: Vec<u8> = (0..height).map(|y| values[y * width + x]).collect();
        for (y, value) in convolve(&column, &kernel).into_iter().enumerate() {
            values[y * width + x] = value;
        }
    }
    Grey {
        width,
        height,
        values,
    }
}

/// Weights in 1/256 that sum to 256: each is rounded with the error of the one before carried on, from the edge inwards.
fn kernel(sigma: f64) -> Vec<u32> {
    let half = (2.5 * sigma + 0.5) as usize;
    let gauss = |i: usize| {
        let x = i as f64 - half as f64;
        (-x * x / (2.0 * sigma * sigma)).exp()
    };
    let total: f64 = (0..=2 * half).map(gauss).sum();
    let mut error = 0.0;
    let mut weights = vec![0; 2 * half + 1];
    for i in 0..half {
        let wanted = gauss(i) / total * 256.0 + error;
        let rounded = wanted.round_ties_even();
        error = wanted - rounded;
        weights[i] = rounded as u32;
        weights[2 * half - i] = rounded as u32;
    }
    weights[half] = 256 - weights.iter().sum::<u32>();
    weights
}

/// One line, mirrored at its ends without repeating the end pixel.
fn convolve(line: &[u8], kernel: &[u32]) -> Vec<u8> {
    let half = kernel.len() / 2;
    let last = line.len() as i64 - 1;
    let mirror = |mut at: i64| {
        if last == 0 {
            return 0;
        }
        while at < 0 || at > last {
            at = if at < 0 { -at } else { 2 * last - at };
        }
        at as usize
    };
    (0..line.len())
        .map(|i| {
            let sum: u32 = kernel
                .iter()
                .enumerate()
                .map(|(k, weight)| {
                    weight * u32::from(line[mirror(i as i64 + k as i64 - half as i64)])
                })
                .sum();
            ((sum + 128) >> 8) as u8
        })
        .collect()
}

/// Pillow's `GaussianBlur(radius)` of one plane of bytes: three box blurs of fractional radius along the rows, then
/// three along the columns. The box length is that of Gwosdek et al. 2011 (SSVM).
pub(super) fn pillow_blur(plane: &mut [u8], width: usize, height: usize, radius: f32) {
    let sigma2 = radius * radius / 3.0;
    let length = (12.0 * f64::from(sigma2) + 1.0).sqrt() as f32;
    let whole = ((length - 1.0) / 2.0).floor();
    let part = (2.0 * whole + 1.0) * (whole * (whole + 1.0) - 3.0 * sigma2)
        / (6.0 * (sigma2 - (whole + 1.0) * (whole + 1.0)));
    let box_radius = whole + part;
    if box_radius <= 0.0 {
        return;
    }
    for row in plane.chunks_exact_mut(width) {
        for _ in 0..3 {
            box_line(row, box_radius);
        }
    }
    for x in 0..width {
        let mut column: Vec<u8> = (0..height).map(|y| plane[y * width + x]).collect();
        for _ in 0..3 {
            box_line(&mut column, box_radius);
        }
        for (y, value) in column.into_iter().enumerate() {
            plane[y * width + x] = value;
        }
    }
}

/// The mean over `2 r + 1` pixels, the outermost two weighted by r's fraction; the ends are repeated.
fn box_line(line: &mut [u8], radius: f32) {
    let whole = radius as i64;
    let inner = ((1u32 << 24) as f32 / (radius * 2.0 + 1.0)) as u64;
    let outer = ((1 << 24) - (2 * whole as u64 + 1) * inner) / 2;
    let last = line.len() as i64 - 1;
    let source = line.to_vec();
    let at = |i: i64| u64::from(source[i.clamp(0, last) as usize]);
    let mut sum: u64 = (-whole..=whole).map(at).sum();
    for (i, value) in line.iter_mut().enumerate() {
        let i = i as i64;
        let edges = at(i - whole - 1) + at(i + whole + 1);
        *value = ((sum * inner + edges * outer + (1 << 23)) >> 24) as u8;
        sum = sum + at(i + whole + 1) - at(i - whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_sums_to_one() {
        for sigma in 1..=64 {
            let kernel = kernel(f64::from(sigma));
            assert_eq!(kernel.iter().sum::<u32>(), 256);
            assert_eq!(
                kernel.len(),
                2 * (2.5 * f64::from(sigma) + 0.5) as usize + 1
            );
        }
    }

    #[test]
    fn a_plain_mask_stays_plain() {
        for value in [0, 1, 77, 255] {
            let mask = Grey::new(7, 3, vec![value; 21]).unwrap();
            assert_eq!(mask_blur(&mask, 4), mask);
            let mut plane = vec![value; 21];
            pillow_blur(&mut plane, 7, 3, 16.0);
            assert_eq!(plane, vec![value; 21]);
        }
        let one = Grey::new(1, 1, vec![9]).unwrap();
        assert_eq!(mask_blur(&one, 8), one);
    }
}
