//! Eight-bit floating-point numbers: their values, and rounding to them.
//!
//! Micikevicius et al., "FP8 Formats for Deep Learning", 2022 (2209.05433): E4M3 without infinities, E5M2 as IEEE 754 has its
//! types.

use half::f16;

/// One of the two types.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Float8 {
    /// Bits of the significand after its first.
    mantissa: i32,
    /// What is added to an exponent.
    bias: i32,
    /// The bits of the largest number.
    largest: i32,
}

/// Four bits of exponent: up to 448, no infinities, NaN where all bits but the sign are set.
pub(crate) const E4M3: Float8 = Float8 {
    mantissa: 3,
    bias: 7,
    largest: 0x7E,
};

/// Five bits of exponent: f16 with the last byte cut off.
pub(crate) const E5M2: Float8 = Float8 {
    mantissa: 2,
    bias: 15,
    largest: 0x7B,
};

impl Float8 {
    /// The value of each of the 256 bit patterns.
    pub fn values(self) -> [f32; 256] {
        std::array::from_fn(|bits| self.value(bits as u8))
    }

    fn value(self, bits: u8) -> f32 {
        if self.mantissa == E5M2.mantissa {
            return f16::from_bits(u16::from(bits) << 8).to_f32();
        }
        let sign = if bits & 0x80 == 0 { 1.0 } else { -1.0 };
        let magnitude = i32::from(bits & 0x7F);
        if magnitude > self.largest {
            return f32::NAN;
        }
        let (exponent, rest) = (magnitude >> self.mantissa, magnitude % (1 << self.mantissa));
        let significand = match exponent {
            0 => rest,
            _ => rest + (1 << self.mantissa),
        };
        sign * significand as f32 * power(exponent.max(1) - self.bias - self.mantissa)
    }

    /// The nearest number's bits, of two equally near ones the even; `None` for what rounds beyond the largest number. Of NaN,
    /// the bits of NaN.
    pub fn nearest(self, value: f32) -> Option<u8> {
        let sign = ((value.to_bits() >> 24) & 0x80) as u8;
        if value.is_nan() {
            return Some(sign | 0x7F);
        }
        let magnitude = value.abs();
        let exponent = ((magnitude.to_bits() >> 23) as i32 - 127).max(1 - self.bias);
        if exponent > self.bias + 1 {
            return None;
        }
        // In steps of the last place; one too many carries into the exponent by itself.
        let steps = (magnitude * power(self.mantissa - exponent)).round_ties_even() as i32;
        let bits = ((exponent + self.bias - 1) << self.mantissa) + steps;
        (bits <= self.largest).then_some(sign | bits as u8)
    }
}

/// 2 to a power that f32 has as a normal number.
fn power(exponent: i32) -> f32 {
    f32::from_bits(((127 + exponent) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value by the definition: (−1)^s · 2^(e − bias) · (1 + m / 2^M), or 2^(1 − bias) · m / 2^M where e is 0.
    fn defined(bits: u8, exponent_bits: u32, bias: i32) -> f64 {
        let mantissa_bits = 7 - exponent_bits;
        let exponent = i32::from(bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
        let part = f64::from(bits % (1 << mantissa_bits)) / f64::from(1 << mantissa_bits);
        let magnitude = match exponent {
            0 => part * 2f64.powi(1 - bias),
            _ => (1.0 + part) * 2f64.powi(exponent - bias),
        };
        if bits & 0x80 == 0 {
            magnitude
        } else {
            -magnitude
        }
    }

    #[test]
    fn every_bit_pattern_has_the_value_that_it_is_defined_to_have() {
        for bits in 0..=255u8 {
            let (a, b) = (E4M3.value(bits), E5M2.value(bits));
            match bits & 0x7F {
                0x7F => assert!(a.is_nan()),
                _ => assert_eq!(f64::from(a), defined(bits, 4, 7), "{bits:#x}"),
            }
            match bits & 0x7F {
                0x7C => assert_eq!(b.abs(), f32::INFINITY),
                0x7D.. => assert!(b.is_nan()),
                _ => assert_eq!(f64::from(b), defined(bits, 5, 15), "{bits:#x}"),
            }
            if !a.is_nan() {
                assert_eq!(a.is_sign_negative(), bits & 0x80 != 0, "{bits:#x}");
            }
        }
        assert_eq!((E4M3.value(0x7E), E5M2.value(0x7B)), (448.0, 57344.0));
        assert_eq!(
            (E4M3.value(1), E5M2.value(1)),
            (2f32.powi(-9), 2f32.powi(-16))
        );
    }

    #[test]
    fn every_number_is_nearest_to_itself() {
        for float in [E4M3, E5M2] {
            for (bits, value) in float.values().into_iter().enumerate() {
                if value.is_finite() {
                    assert_eq!(float.nearest(value), Some(bits as u8), "{value}");
                }
            }
        }
    }

    #[test]
    fn between_two_numbers_the_nearer_is_taken_and_half_way_the_even() {
        for float in [E4M3, E5M2] {
            let values = float.values();
            for low in 0..float.largest as usize {
                let (a, b) = (f64::from(values[low]), f64::from(values[low + 1]));
                let at = |share: f64| float.nearest((a + (b - a) * share) as f32);
                assert_eq!(at(0.49), Some(low as u8));
                assert_eq!(at(0.51), Some(low as u8 + 1));
                let even = if low % 2 == 0 { low } else { low + 1 };
                assert_eq!(at(0.5), Some(even as u8), "{a} {b}");
            }
        }
    }

    #[test]
    fn what_is_too_large_has_no_nearest_number() {
        assert_eq!(E4M3.nearest(463.9), Some(0x7E));
        assert_eq!(E4M3.nearest(-464.0), Some(0xFE));
        assert_eq!(E4M3.nearest(464.1), None);
        assert_eq!(E5M2.nearest(61439.0), Some(0x7B));
        assert_eq!(E5M2.nearest(61440.0), None);
        for value in [f32::MAX, f32::INFINITY, f32::NEG_INFINITY, 1e5] {
            assert_eq!((E4M3.nearest(value), E5M2.nearest(value)), (None, None));
        }
        for float in [E4M3, E5M2] {
            assert!(float.value(float.nearest(f32::NAN).unwrap()).is_nan());
            assert_eq!(float.nearest(-0.0), Some(0x80));
            assert_eq!(float.nearest(1e-30), Some(0));
        }
    }
}
