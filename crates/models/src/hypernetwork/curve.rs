//! The activations that hypernetworks are trained with.

use std::str::FromStr;

use burn::tensor::{Tensor, activation};

/// SELU's factors (Klambauer et al., "Self-Normalizing Neural Networks", 2017).
const SELU: (f64, f64) = (1.050_700_987_355_480_5, 1.673_263_242_354_377_2);

/// A function of each number, with torch's constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // each is torch's class of that name
pub enum Curve {
    Relu,
    Relu6,
    LeakyRelu,
    /// Without its randomness: the mean slope below 0.
    RRelu,
    /// Also CELU, which is the same at α = 1.
    Elu,
    Selu,
    Gelu,
    Silu,
    Mish,
    HardSwish,
    HardSigmoid,
    HardTanh,
    Sigmoid,
    LogSigmoid,
    Tanh,
    TanhShrink,
    SoftSign,
    SoftPlus,
    SoftShrink,
    HardShrink,
}

/// What files call them, and what the trainer's own words mean.
const NAMES: [(&str, Curve); 22] = [
    ("relu", Curve::Relu),
    ("relu6", Curve::Relu6),
    ("leakyrelu", Curve::LeakyRelu),
    ("rrelu", Curve::RRelu),
    ("elu", Curve::Elu),
    ("celu", Curve::Elu),
    ("selu", Curve::Selu),
    ("gelu", Curve::Gelu),
    ("silu", Curve::Silu),
    ("mish", Curve::Mish),
    // The trainer's word for this one.
    ("swish", Curve::HardSwish),
    ("hardswish", Curve::HardSwish),
    ("hardsigmoid", Curve::HardSigmoid),
    ("hardtanh", Curve::HardTanh),
    ("sigmoid", Curve::Sigmoid),
    ("logsigmoid", Curve::LogSigmoid),
    ("tanh", Curve::Tanh),
    ("tanhshrink", Curve::TanhShrink),
    ("softsign", Curve::SoftSign),
    ("softplus", Curve::SoftPlus),
    ("softshrink", Curve::SoftShrink),
    ("hardshrink", Curve::HardShrink),
];

impl FromStr for Curve {
    type Err = String;

    /// By the name that files give it, in small letters.
    fn from_str(name: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(own, _)| *own == name);
        found.map(|(_, curve)| *curve).ok_or_else(|| {
            let names = NAMES.map(|(own, _)| own);
            format!("expected linear or one of {}", names.join(", "))
        })
    }
}

impl Curve {
    /// The name that files give it.
    pub fn name(self) -> &'static str {
        let found = NAMES
            .iter()
            .rev()
            .find(|(own, curve)| *curve == self && *own != "celu");
        found.map_or("", |(own, _)| own)
    }

    /// Of each number.
    pub fn of<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        let above = |x: &Tensor<D>| x.clone().clamp_min(0.0);
        let below = |x: &Tensor<D>| x.clone().clamp_max(0.0);
        let falls = |x: &Tensor<D>| below(x).exp() - 1.0;
        match self {
            Self::Relu => above(&x),
            Self::Relu6 => x.clamp(0.0, 6.0),
            Self::LeakyRelu => above(&x) + below(&x) * 0.01,
            Self::RRelu => above(&x) + below(&x) * (11.0 / 48.0),
            Self::Elu => above(&x) + falls(&x),
            Self::Selu => (above(&x) + falls(&x) * SELU.1) * SELU.0,
            Self::Gelu => activation::gelu(x),
            Self::Silu => x.clone() * activation::sigmoid(x),
            Self::Mish => x.clone() * soft_plus(x).tanh(),
            Self::HardSwish => x.clone() * ((x + 3.0).clamp(0.0, 6.0) / 6.0),
            Self::HardSigmoid => (x + 3.0).clamp(0.0, 6.0) / 6.0,
            Self::HardTanh => x.clamp(-1.0, 1.0),
            Self::Sigmoid => activation::sigmoid(x),
            Self::LogSigmoid => -soft_plus(-x),
            Self::Tanh => x.tanh(),
            Self::TanhShrink => x.clone() - x.tanh(),
            Self::SoftSign => x.clone() / (x.abs() + 1.0),
            Self::SoftPlus => soft_plus(x),
            Self::SoftShrink => x.clone() - x.clamp(-0.5, 0.5),
            Self::HardShrink => {
                let small = x.clone().abs().lower_equal_elem(0.5);
                x.mask_fill(small, 0.0)
            }
        }
    }
}

/// ln(1 + eˣ), without overflow.
fn soft_plus<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let tail = (-x.clone().abs()).exp() + 1.0;
    x.clamp_min(0.0) + tail.log()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    /// Against values of torch's classes.
    #[test]
    fn curves_are_torchs() {
        let x = [-4.0, -0.7, -0.2, 0.3, 0.8, 7.0];
        for (name, expected) in [
            ("relu", [0.0, 0.0, 0.0, 0.3, 0.8, 7.0]),
            ("relu6", [0.0, 0.0, 0.0, 0.3, 0.8, 6.0]),
            ("leakyrelu", [-0.04, -0.007, -0.002, 0.3, 0.8, 7.0]),
            ("elu", [-0.981_684, -0.503_415, -0.181_269, 0.3, 0.8, 7.0]),
            (
                "selu",
                [
                    -1.725_899, -0.885_053, -0.318_689, 0.315_21, 0.840_561, 7.354_907,
                ],
            ),
            (
                "gelu",
                [
                    -0.000_127, -0.169_375, -0.084_148, 0.185_373, 0.630_516, 7.0,
                ],
            ),
            (
                "silu",
                [
                    -0.071_945, -0.232_269, -0.090_033, 0.172_333, 0.551_98, 6.993_623,
                ],
            ),
            (
                "mish",
                [
                    -0.072_592, -0.267_87, -0.107_145, 0.208_001, 0.659_7, 6.999_989,
                ],
            ),
            (
                "swish",
                [0.0, -0.268_333, -0.093_333, 0.165, 0.506_667, 7.0],
            ),
            (
                "hardsigmoid",
                [0.0, 0.383_333, 0.466_667, 0.55, 0.633_333, 1.0],
            ),
            ("hardtanh", [-1.0, -0.7, -0.2, 0.3, 0.8, 1.0]),
            (
                "logsigmoid",
                [
                    -4.018_15, -1.103_186, -0.798_139, -0.554_355, -0.371_101, -0.000_911,
                ],
            ),
            (
                "tanhshrink",
                [
                    -3.000_671, -0.095_632, -0.002_625, 0.008_687, 0.135_963, 6.000_002,
                ],
            ),
            (
                "softsign",
                [-0.8, -0.411_765, -0.166_667, 0.230_769, 0.444_444, 0.875],
            ),
            ("softshrink", [-3.5, -0.2, 0.0, 0.0, 0.3, 6.5]),
            ("hardshrink", [-4.0, -0.7, 0.0, 0.0, 0.8, 7.0]),
        ] {
            let curve: Curve = name.parse().unwrap();
            let got = curve.of(Tensor::<1>::from_floats(x, &Device::flex()));
            let got: Vec<f32> = got.into_data().iter::<f32>().collect();
            for (got, expected) in got.iter().zip(expected) {
                assert!(
                    (f64::from(*got) - expected).abs() < 2e-5,
                    "{name}: {got} {expected}"
                );
            }
        }
        assert_eq!("celu".parse::<Curve>().unwrap().name(), "elu");
        assert_eq!("swish".parse::<Curve>().unwrap().name(), "hardswish");
        assert!("prelu".parse::<Curve>().unwrap_err().contains("leakyrelu"));
    }
}
