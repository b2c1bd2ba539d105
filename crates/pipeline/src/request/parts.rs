//! The choices a request is made of.

use latent_diffusion::Prediction;
use serde::{Deserialize, Serialize};

use super::RequestError;

/// A field with a short list of names. One table serves the files, the flags and the error messages.
pub trait Choice: Copy + PartialEq + Sized + 'static {
    /// What the field is called in messages.
    const FIELD: &'static str;
    /// Every name that is read, the one that is written first for its value.
    const NAMES: &'static [(&'static str, Self)];

    /// The written name.
    fn name(self) -> &'static str {
        Self::NAMES
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("", |(name, _)| name)
    }

    /// Reads a name, without regard to case or to the difference between space, `-` and `_`.
    fn read(text: &str) -> Result<Self, RequestError> {
        let wanted = folded(text);
        Self::NAMES
            .iter()
            .find(|(name, _)| folded(name) == wanted)
            .map(|(_, value)| *value)
            .ok_or_else(|| RequestError::choice(Self::FIELD, text, Self::NAMES.iter().map(|n| n.0)))
    }
}

fn folded(text: &str) -> String {
    text.trim()
        .chars()
        .map(|c| match c {
            ' ' | '-' => '_',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

macro_rules! choice {
    ($type:ident, $field:literal, [$($name:literal => $value:ident),* $(,)?]) => {
        impl $crate::request::Choice for $type {
            const FIELD: &'static str = $field;
            const NAMES: &'static [(&'static str, Self)] = &[$(($name, Self::$value)),*];
        }
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($crate::request::Choice::name(*self))
            }
        }
        impl std::str::FromStr for $type {
            type Err = $crate::request::RequestError;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::request::Choice::read(text)
            }
        }
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str($crate::request::Choice::name(*self))
            }
        }
        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(from)?;
                $crate::request::Choice::read(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

pub(crate) use choice;

/// Whose picture a request asks for, where programs differ for the same settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compat {
    /// AUTOMATIC1111/stable-diffusion-webui.
    #[default]
    A1111,
    /// ComfyUI.
    ComfyUi,
    /// Hugging Face diffusers.
    Diffusers,
}
choice!(Compat, "compat", [
    "a1111" => A1111, "automatic1111" => A1111, "webui" => A1111, "forge" => A1111,
    "comfyui" => ComfyUi, "comfy" => ComfyUi,
    "diffusers" => Diffusers,
]);

/// How prompt weights act on the text embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightRule {
    /// A1111: multiply each token by its weight, then restore the mean of the whole.
    A1111,
    /// ComfyUI: move each token away from the empty prompt's embedding by its weight.
    ComfyUi,
    /// Weights are read and have no effect.
    Ignore,
}
choice!(WeightRule, "weight_rule", [
    "a1111" => A1111, "mean" => A1111,
    "comfyui" => ComfyUi, "comfy" => ComfyUi, "interpolate" => ComfyUi,
    "ignore" => Ignore, "none" => Ignore,
]);

/// Whose random numbers the noise is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rng {
    /// torch's CPU generator (MT19937).
    Cpu,
    /// torch's CUDA generator (Philox), which A1111 also calls NV.
    Cuda,
}
choice!(Rng, "rng", [
    "cpu" => Cpu, "torch_cpu" => Cpu,
    "cuda" => Cuda, "nv" => Cuda, "gpu" => Cuda, "philox" => Cuda,
]);

/// The number type of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// 32 bits.
    F32,
    /// 16 bits, IEEE.
    F16,
    /// 16 bits, the upper half of f32.
    Bf16,
    /// The denoiser's weights in 8 bits with a scale for each output, its numbers in 8 bits with a scale for each pixel;
    /// everything else in bf16. On the CPU only.
    Int8,
}
choice!(Dtype, "dtype", [
    "f32" => F32, "float32" => F32, "fp32" => F32, "full" => F32,
    "f16" => F16, "float16" => F16, "fp16" => F16, "half" => F16, "autocast" => F16,
    "bf16" => Bf16, "bfloat16" => Bf16,
    "int8" => Int8, "i8" => Int8, "q8" => Int8,
]);

/// What a denoiser's output means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredictionType {
    /// The noise.
    Epsilon,
    /// The velocity.
    V,
    /// The clean latent.
    Sample,
    /// The direction of a rectified flow.
    Flow,
    /// Karras et al.'s F, of σ_data 0.5.
    Edm,
    /// The velocity in that form, of σ_data 1.
    EdmV,
}

choice!(PredictionType, "prediction", [
    "eps" => Epsilon, "epsilon" => Epsilon,
    "v" => V, "v_prediction" => V, "vpred" => V,
    "sample" => Sample, "x0" => Sample,
    "flow" => Flow, "flow_prediction" => Flow,
    "edm" => Edm, "edm_v" => EdmV,
]);

impl From<PredictionType> for Prediction {
    fn from(asked: PredictionType) -> Self {
        match asked {
            PredictionType::Epsilon => Self::Epsilon,
            PredictionType::V => Self::V,
            PredictionType::Sample => Self::Sample,
            PredictionType::Flow => Self::Flow,
            PredictionType::Edm => Self::Edm,
            PredictionType::EdmV => Self::EdmV,
        }
    }
}

/// What lies under the mask before sampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InpaintFill {
    /// Colours spread from the mask's surroundings.
    Fill,
    /// The picture as it is.
    #[default]
    Original,
    /// Noise in the latent.
    LatentNoise,
    /// Zeros in the latent.
    LatentNothing,
}
choice!(InpaintFill, "inpaint_fill", [
    "fill" => Fill, "original" => Original,
    "latent_noise" => LatentNoise, "latent_nothing" => LatentNothing,
]);

/// How a picture is fitted to another size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResizeMode {
    /// Both sides as asked: the aspect may change.
    #[default]
    Stretch,
    /// Keep the aspect, cut what sticks out.
    Crop,
    /// Keep the aspect, fill what is missing from the edge.
    Fill,
}
choice!(ResizeMode, "resize_mode", [
    "stretch" => Stretch, "just_resize" => Stretch,
    "crop" => Crop, "crop_and_resize" => Crop,
    "fill" => Fill, "resize_and_fill" => Fill,
]);

/// Which opposite edges of the picture meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tiling {
    /// None.
    #[default]
    None,
    /// Left and right.
    X,
    /// Top and bottom.
    Y,
    /// All four.
    Both,
}
choice!(Tiling, "tiling", [
    "none" => None, "false" => None, "off" => None, "x" => X, "y" => Y,
    "both" => Both, "xy" => Both, "true" => Both, "on" => Both,
]);

/// A switch that may be left to the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Switch {
    /// As needed.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}
choice!(Switch, "vae_tiling", [
    "auto" => Auto, "on" => On, "true" => On, "off" => Off, "false" => Off,
]);

/// How the first pass is enlarged for the second. The latent modes are torch's `interpolate`; the others work on pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Upscaler {
    /// Bilinear on the latent.
    #[default]
    Latent,
    /// Bilinear on the latent, antialiased.
    LatentAntialiased,
    /// Bicubic on the latent.
    LatentBicubic,
    /// Bicubic on the latent, antialiased.
    LatentBicubicAntialiased,
    /// Nearest on the latent.
    LatentNearest,
    /// Nearest on the latent, by pixel centres.
    LatentNearestExact,
    /// Lanczos on the picture.
    Lanczos,
    /// Nearest on the picture.
    Nearest,
    /// Bicubic on the picture.
    Bicubic,
    /// Bilinear on the picture.
    Bilinear,
    /// Box average on the picture.
    Area,
}
choice!(Upscaler, "hires.upscaler", [
    "Latent" => Latent, "Latent (bilinear)" => Latent,
    "Latent (antialiased)" => LatentAntialiased, "Latent (bicubic)" => LatentBicubic,
    "Latent (bicubic antialiased)" => LatentBicubicAntialiased, "Latent (nearest)" => LatentNearest,
    "Latent (nearest-exact)" => LatentNearestExact,
    "Lanczos" => Lanczos, "Nearest" => Nearest, "None" => Lanczos, "Bicubic" => Bicubic, "Bilinear" => Bilinear,
    "Area" => Area,
]);

impl Upscaler {
    /// Whether it works on the latent.
    pub fn is_latent(self) -> bool {
        matches!(
            self,
            Self::Latent
                | Self::LatentAntialiased
                | Self::LatentBicubic
                | Self::LatentBicubicAntialiased
                | Self::LatentNearest
                | Self::LatentNearestExact
        )
    }
}

/// Bound the guided prediction as at a smaller scale (Imagen, §2.3; the "mimic" form of the A1111 extension).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DynamicThresholding {
    /// Share of values kept unclamped, above 0 up to 1. Default 0.995.
    pub percentile: f64,
    /// The guidance scale whose range is imitated, ≥ 1. Default 7.
    pub mimic: f64,
}

impl Default for DynamicThresholding {
    fn default() -> Self {
        Self {
            percentile: 0.995,
            mimic: 7.0,
        }
    }
}

/// Pixels added at each edge of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outpaint {
    /// Pixels.
    pub left: usize,
    /// Pixels.
    pub right: usize,
    /// Pixels.
    pub top: usize,
    /// Pixels.
    pub bottom: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_any_spelling() {
        assert_eq!("Latent-Noise".parse(), Ok(InpaintFill::LatentNoise));
        assert_eq!("BF16".parse(), Ok(Dtype::Bf16));
        assert_eq!(
            "latent (nearest-exact)".parse(),
            Ok(Upscaler::LatentNearestExact)
        );
        let error = "difusers".parse::<Compat>().unwrap_err().to_string();
        assert!(
            error.contains("diffusers") && error.contains("compat"),
            "{error}"
        );
    }
}
