//! Random numbers without a generator: each is a hash of what it is for.

/// A number that depends on the seed and every key, in their order. The last step of SplitMix64 (Steele, Lea and Flood
/// 2014) mixes in one key after the other.
pub fn draw(seed: u64, keys: &[u64]) -> u64 {
    keys.iter()
        .fold(mix(seed), |state, key| mix(state ^ mix(*key)))
}

/// The same, uniform in 0 ≤ u < 1, with 53 bits.
pub fn unit(seed: u64, keys: &[u64]) -> f64 {
    (draw(seed, keys) >> 11) as f64 / (1u64 << 53) as f64
}

/// The same, uniform in 0 ≤ i < `count`; 0 where `count` is 0.
pub fn below(seed: u64, keys: &[u64], count: usize) -> usize {
    ((u128::from(draw(seed, keys)) * count as u128) >> 64) as usize
}

/// Puts a slice into an order that depends on the seed and the keys (Fisher and Yates).
pub fn shuffle<T>(items: &mut [T], seed: u64, keys: &[u64]) {
    let seed = draw(seed, keys);
    for last in (1..items.len()).rev() {
        items.swap(last, below(seed, &[last as u64], last + 1));
    }
}

/// A key from a text: FNV-1a of its bytes. Stable over versions and machines.
pub fn key(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

fn mix(x: u64) -> u64 {
    let z = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
