//! What an optimiser remembers, in 32 bits or in 8.
//!
//! Eight bits as in Dettmers et al., 2110.02861: blocks of 256 numbers share a scale, and codes are denser near
//! zero. The code here is a power of the byte, which needs no table: b² with a sign for means, b⁴ for mean
//! squares, whose range is the square of theirs and which never become zero (they are divided by).

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

/// Numbers that share a scale.
const BLOCK: usize = 256;

/// One number for each of a parameter.
#[derive(Debug)]
pub(crate) enum Memory {
    /// As they are.
    Whole(Tensor<1>),
    /// A byte for each.
    Bytes {
        /// What the bytes mean.
        code: Code,
        /// The bytes.
        bytes: Vec<u8>,
        /// The largest number of each block.
        scales: Vec<f32>,
        /// Where the parameter is.
        device: Device,
    },
}

/// What a byte means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// ±b² for a sign and 7 bits.
    Signed,
    /// b⁴ for 8 bits; only 0 becomes 0.
    Positive,
}

impl Code {
    /// `x` is within −1..=1.
    fn encode(self, x: f32) -> u8 {
        match self {
            Self::Signed => {
                let size = (x.abs().sqrt() * 127.0).round() as u8;
                size | if x < 0.0 { 128 } else { 0 }
            }
            Self::Positive if x > 0.0 => (x.sqrt().sqrt() * 255.0).round().max(1.0) as u8,
            Self::Positive => 0,
        }
    }

    fn decode(self, byte: u8) -> f32 {
        match self {
            Self::Signed => {
                let size = (f32::from(byte & 127) / 127.0).powi(2);
                if byte >= 128 { -size } else { size }
            }
            Self::Positive => (f32::from(byte) / 255.0).powi(4),
        }
    }
}

impl Memory {
    /// In bytes where there is a code.
    pub fn new(numbers: Tensor<1>, code: Option<Code>) -> Self {
        let Some(code) = code else {
            return Self::Whole(numbers);
        };
        let device = numbers.device();
        let numbers: Vec<f32> = numbers.into_data().iter::<f32>().collect();
        let scales: Vec<f32> = numbers
            .par_chunks(BLOCK)
            .map(|block| block.iter().fold(0f32, |most, x| most.max(x.abs())))
            .collect();
        let mut bytes = vec![0; numbers.len()];
        bytes
            .par_chunks_mut(BLOCK)
            .zip(numbers.par_chunks(BLOCK))
            .zip(&scales)
            .filter(|(_, scale)| **scale > 0.0)
            .for_each(|((bytes, numbers), scale)| {
                for (byte, x) in bytes.iter_mut().zip(numbers) {
                    *byte = code.encode(x / scale);
                }
            });
        Self::Bytes {
            code,
            bytes,
            scales,
            device,
        }
    }

    /// The numbers.
    pub fn numbers(&self) -> Tensor<1> {
        match self {
            Self::Whole(numbers) => numbers.clone(),
            Self::Bytes {
                code,
                bytes,
                scales,
                device,
            } => {
                let mut numbers = vec![0f32; bytes.len()];
                numbers
                    .par_chunks_mut(BLOCK)
                    .zip(bytes.par_chunks(BLOCK))
                    .zip(scales)
                    .for_each(|((numbers, bytes), scale)| {
                        for (x, &byte) in numbers.iter_mut().zip(bytes) {
                            *x = scale * code.decode(byte);
                        }
                    });
                let count = numbers.len();
                Tensor::from_data(TensorData::new(numbers, [count]), device)
            }
        }
    }

    /// The numbers, for good: nobody else holds them, so that they are changed in place.
    pub fn into_numbers(self) -> Tensor<1> {
        match self {
            Self::Whole(numbers) => numbers,
            bytes => bytes.numbers(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[test]
    fn bytes_keep_what_matters_and_lose_nothing_twice() {
        let mut random = Random::new(0, "memory", 0, 0);
        let mut draw = |squared: bool| -> Vec<f32> {
            let x = (0..1000).map(|_| random.normal() * 10f64.powi(random.below(3) as i32 - 4));
            x.map(|x| if squared { x * x } else { x } as f32).collect()
        };
        for (code, numbers) in [(Code::Signed, draw(false)), (Code::Positive, draw(true))] {
            let vector = |x: &[f32]| Tensor::<1>::from_floats(x, &Device::flex());
            let values = |x: Tensor<1>| x.into_data().try_into_vec::<f32>().unwrap();
            let once = values(Memory::new(vector(&numbers), Some(code)).numbers());
            for (block, kept) in numbers.chunks(BLOCK).zip(once.chunks(BLOCK)) {
                let most = block.iter().fold(0f32, |m, x| m.max(x.abs()));
                for (x, y) in block.iter().zip(kept) {
                    assert!(
                        (x - y).abs() <= 0.01 * most && x.signum() == y.signum(),
                        "{x} {y}"
                    );
                    assert!(code == Code::Signed || *y > 0.0);
                }
            }
            let twice = values(Memory::new(vector(&once), Some(code)).numbers());
            assert_eq!(once, twice, "a saved state is read back to the bit");
        }
        let zeros = Memory::new(
            Tensor::<1>::zeros([3], &Device::flex()),
            Some(Code::Positive),
        );
        assert_eq!(
            zeros.numbers().into_data().try_into_vec::<f32>().unwrap(),
            [0.0; 3]
        );
    }
}
