//! torch's CPU generator.

use std::f64::consts::PI;

const STATE: usize = 624;
const SHIFT: usize = 397;

/// `torch.Generator("cpu")`: the Mersenne Twister MT19937 (Matsumoto & Nishimura 1998) with torch's rules for turning its
/// words into normal numbers.
///
/// - Only the low 32 bits of the seed count.
/// - A call for 16 numbers or more fills them with 24-bit uniforms and turns each block of 16 into normals by
///   Box–Muller, element i with element i + 8, in f32. When 16 does not divide the count, the **last** 16 numbers are
///   drawn again, over what was there.
/// - A call for fewer draws pairs from 53-bit uniforms in f64 and keeps the second of a pair for the next such call,
///   however many long calls lie between.
///
/// torch's vectorised logarithm, sine and cosine differ from exact ones in the last bit of f32; so do these.
#[derive(Debug, Clone)]
pub struct TorchCpu {
    state: [u32; STATE],
    next: usize,
    kept: Option<f64>,
}

impl TorchCpu {
    /// The state that `manual_seed(seed)` leaves.
    pub fn new(seed: u64) -> Self {
        let mut state = [seed as u32; STATE];
        for i in 1..STATE {
            let before = state[i - 1];
            state[i] = 1_812_433_253u32
                .wrapping_mul(before ^ (before >> 30))
                .wrapping_add(i as u32);
        }
        Self {
            state,
            next: STATE,
            kept: None,
        }
    }

    /// What `torch.randn(count)` gives next.
    pub fn normal(&mut self, count: usize) -> Vec<f32> {
        if count < 16 {
            return (0..count).map(|_| self.normal_f64() as f32).collect();
        }
        let mut values: Vec<f32> = (0..count).map(|_| self.uniform_f32()).collect();
        for block in values.chunks_exact_mut(16) {
            box_muller(block);
        }
        if !count.is_multiple_of(16) {
            let tail = &mut values[count - 16..];
            tail.fill_with(|| self.uniform_f32());
            box_muller(tail);
        }
        values
    }

    /// The next 32-bit word.
    pub fn word(&mut self) -> u32 {
        if self.next == STATE {
            self.twist();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9D2C_5680;
        y ^= (y << 15) & 0xEFC6_0000;
        y ^ (y >> 18)
    }

    fn twist(&mut self) {
        for i in 0..STATE {
            let mixed = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE] & 0x7FFF_FFFF);
            let odd = if mixed & 1 == 1 { 0x9908_B0DF } else { 0 };
            self.state[i] = self.state[(i + SHIFT) % STATE] ^ (mixed >> 1) ^ odd;
        }
        self.next = 0;
    }

    fn uniform_f32(&mut self) -> f32 {
        (self.word() & 0x00FF_FFFF) as f32 / 16_777_216.0
    }

    fn uniform_f64(&mut self) -> f64 {
        let high = u64::from(self.word());
        let bits = (high << 32) | u64::from(self.word());
        (bits & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }

    fn normal_f64(&mut self) -> f64 {
        if let Some(kept) = self.kept.take() {
            return kept;
        }
        let angle = 2.0 * PI * self.uniform_f64();
        let radius = (-2.0 * (-self.uniform_f64()).ln_1p()).sqrt();
        self.kept = Some(radius * angle.sin());
        radius * angle.cos()
    }
}

/// Sixteen uniforms in [0, 1) to sixteen normals. The angle is rounded to f32 as in the reference; the functions are
/// evaluated in f64 so that the result does not depend on the platform's f32 library.
fn box_muller(block: &mut [f32]) {
    let (radii, angles) = block.split_at_mut(8);
    for (r, a) in radii.iter_mut().zip(angles) {
        let log = f64::from(1.0 - *r).ln() as f32;
        let radius = (-2.0 * log).sqrt();
        let angle = f64::from((2.0 * PI) as f32 * *a);
        *r = radius * angle.cos() as f32;
        *a = radius * angle.sin() as f32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ten-thousandth word of the published generator's default seed.
    #[test]
    fn is_the_published_twister() {
        let mut generator = TorchCpu::new(5489);
        let last = (0..10_000).map(|_| generator.word()).last();
        assert_eq!(last, Some(4_123_659_995));
    }

    #[test]
    fn short_calls_keep_the_second_of_a_pair() {
        let mut whole = TorchCpu::new(7);
        let four = whole.normal(4);
        let mut parts = TorchCpu::new(7);
        let mut got = parts.normal(1);
        got.extend(parts.normal(3));
        assert_eq!(got, four);
        // a long call between them does not touch the kept number
        let mut with_long = TorchCpu::new(7);
        with_long.normal(1);
        with_long.normal(32);
        assert_eq!(with_long.normal(1)[0], four[1]);
    }
}
