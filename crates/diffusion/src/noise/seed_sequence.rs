//! numpy's `SeedSequence`: many independent 32-bit seeds from one number.
//!
//! The Brownian tree names each of its nodes by a spawn key and draws that node's seed from here. The algorithm is
//! O'Neill's `seed_seq_fe` with numpy's assembly of entropy and spawn key (NEP 19).

const XSHIFT: u32 = 16;

/// `SeedSequence(entropy, spawn_key=…, pool_size=…).generate_state(count)`.
pub fn generate_state(entropy: u64, spawn_key: &[u64], pool_size: usize, count: usize) -> Vec<u32> {
    let mut words = Vec::new();
    push_words(&mut words, entropy);
    if !spawn_key.is_empty() {
        // padded so that a spawn key cannot pass for more entropy
        words.resize(words.len().max(pool_size), 0);
        for &key in spawn_key {
            push_words(&mut words, key);
        }
    }
    let pool = mix(&words, pool_size);
    let mut constant = 0x8B51_F9DDu32;
    (0..count)
        .map(|i| {
            let mut value = pool[i % pool_size] ^ constant;
            constant = constant.wrapping_mul(0x58F3_8DED);
            value = value.wrapping_mul(constant);
            value ^ (value >> XSHIFT)
        })
        .collect()
}

/// A number as 32-bit words, low first; 0 is one word.
fn push_words(words: &mut Vec<u32>, value: u64) {
    words.push(value as u32);
    if value >> 32 != 0 {
        words.push((value >> 32) as u32);
    }
}

fn mix(words: &[u32], pool_size: usize) -> Vec<u32> {
    let mut constant = 0x43B0_D7E5u32;
    let mut hash = |value: u32| {
        let mut value = value ^ constant;
        constant = constant.wrapping_mul(0x931E_8875);
        value = value.wrapping_mul(constant);
        value ^ (value >> XSHIFT)
    };
    let join = |x: u32, y: u32| {
        let value = 0xCA01_F9DDu32
            .wrapping_mul(x)
            .wrapping_sub(0x4973_F715u32.wrapping_mul(y));
        value ^ (value >> XSHIFT)
    };
    let mut pool: Vec<u32> = (0..pool_size)
        .map(|i| hash(words.get(i).copied().unwrap_or(0)))
        .collect();
    for source in 0..pool_size {
        for target in 0..pool_size {
            if source != target {
                pool[target] = join(pool[target], hash(pool[source]));
            }
        }
    }
    for &word in words.iter().skip(pool_size) {
        for value in &mut pool {
            *value = join(*value, hash(word));
        }
    }
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    /// numpy 2.
    #[test]
    fn agrees_with_numpy() {
        assert_eq!(
            generate_state(42, &[], 24, 3),
            [387_750_627, 2_536_650_517, 4_078_839_648]
        );
        assert_eq!(
            generate_state((1 << 40) + 7, &[5, 3], 24, 4),
            [274_823_170, 1_995_610_858, 3_082_670_851, 2_858_707_861]
        );
        assert_eq!(
            generate_state(42, &[(1 << 33) + 1, 34], 24, 4),
            [2_593_651_726, 1_642_176_311, 2_274_240_367, 683_170_259]
        );
    }
}
