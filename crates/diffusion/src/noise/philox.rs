//! torch's CUDA generator.

use std::f64::consts::PI;

/// `torch.Generator("cuda")` for `randn`: Philox4x32-10 (Salmon et al. 2011), keyed by the 64-bit seed.
///
/// Element i of call c is made of the block at counter (c, 0, i, 0): its first two words go through Box–Muller and only
/// the sine is used. This is how A1111 restates the CUDA kernel for the CPU, and it agrees with the device up to the
/// rounding of its f32 functions. The numbers of a call depend on no other call.
#[derive(Debug, Clone)]
pub struct TorchCuda {
    key: [u32; 2],
    calls: u32,
}

impl TorchCuda {
    /// The state that `manual_seed(seed)` leaves.
    pub fn new(seed: u64) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            calls: 0,
        }
    }

    /// What `torch.randn(count, device="cuda")` gives next.
    pub fn normal(&mut self, count: usize) -> Vec<f32> {
        let call = self.calls;
        self.calls = self.calls.wrapping_add(1);
        (0..count)
            .map(|i| {
                let [x, y, ..] = philox4x32([call, 0, i as u32, 0], self.key);
                box_muller(x, y)
            })
            .collect()
    }
}

/// Philox4x32-10: four random words as a pure function of a counter and a key.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key[0] = key[0].wrapping_add(0x9E37_79B9);
            key[1] = key[1].wrapping_add(0xBB67_AE85);
        }
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
    }
    counter
}

fn box_muller(x: u32, y: u32) -> f32 {
    // CUDA's constants: 2⁻³² and 2⁻³²·2π as f32
    let unit = 1.0 / 4_294_967_296.0;
    let turn = f64::from((unit * f64::from((2.0 * PI) as f32)) as f32);
    let u = f64::from(x) * unit + unit / 2.0;
    let v = f64::from(y) * turn + turn / 2.0;
    ((-2.0 * u.ln()).sqrt() * v.sin()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors published with the Random123 library (kat_vectors).
    #[test]
    fn is_the_published_philox() {
        let zero = philox4x32([0; 4], [0; 2]);
        assert_eq!(zero, [0x6627_E8D5, 0xE169_C58D, 0xBC57_AC4C, 0x9B00_DBD8]);
        let ones = philox4x32([u32::MAX; 4], [u32::MAX; 2]);
        assert_eq!(ones, [0x408F_276D, 0x41C8_3B0E, 0xA20B_C7C6, 0x6D54_51FD]);
    }

    #[test]
    fn the_high_half_of_the_seed_counts() {
        let low = TorchCuda::new(5).normal(4);
        assert_ne!(TorchCuda::new(5 + (1 << 32)).normal(4), low);
        let mut twice = TorchCuda::new(5);
        assert_eq!(twice.normal(4), low);
        assert_ne!(twice.normal(4), low);
    }
}
