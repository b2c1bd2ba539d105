//! The second pass.

use serde::{Deserialize, Serialize};

use super::{Size, Upscaler};

/// The second pass at a larger size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Hires {
    /// Factor on both sides, 1 to 8, where neither `width` nor `height` is given. Default 2.
    pub scale: f64,
    /// Target width in pixels; alone it keeps the aspect.
    pub width: Option<usize>,
    /// Target height in pixels; alone it keeps the aspect.
    pub height: Option<usize>,
    /// How the first pass is enlarged. Default `Latent`.
    pub upscaler: Upscaler,
    /// Steps of the second pass; `None` is as many as the first.
    pub steps: Option<usize>,
    /// The second pass's strength, 0 to 1. Default 0.7.
    pub denoising_strength: f64,
    /// Another sampler for the second pass.
    pub sampler: Option<String>,
    /// Another scheduler for the second pass.
    pub scheduler: Option<String>,
    /// Another prompt for the second pass.
    pub prompt: Option<String>,
    /// Another negative prompt for the second pass.
    pub negative_prompt: Option<String>,
}

impl Default for Hires {
    fn default() -> Self {
        Self {
            scale: 2.0,
            width: None,
            height: None,
            upscaler: Upscaler::default(),
            steps: None,
            denoising_strength: 0.7,
            sampler: None,
            scheduler: None,
            prompt: None,
            negative_prompt: None,
        }
    }
}

impl Hires {
    /// Its steps, where the first pass has `first`.
    pub fn steps_after(&self, first: usize) -> usize {
        self.steps.filter(|steps| *steps > 0).unwrap_or(first)
    }

    /// The size the first pass is enlarged to, and the size that is left after cutting to the asked aspect: A1111's
    /// rule. Both are equal unless `width` and `height` are given with another aspect than the first pass.
    pub fn target(&self, first: Size) -> (Size, Size) {
        let Size { width, height } = first;
        let keep_width = |w: usize| Size {
            width: w,
            height: w * height / width.max(1),
        };
        let keep_height = |h: usize| Size {
            width: h * width / height.max(1),
            height: h,
        };
        match (
            self.width.filter(|v| *v > 0),
            self.height.filter(|v| *v > 0),
        ) {
            (None, None) => {
                let scaled = |v: usize| (v as f64 * self.scale) as usize;
                let size = Size {
                    width: scaled(width),
                    height: scaled(height),
                };
                (size, size)
            }
            (Some(w), None) => (keep_width(w), keep_width(w)),
            (None, Some(h)) => (keep_height(h), keep_height(h)),
            (Some(w), Some(h)) => {
                let cut = Size {
                    width: w,
                    height: h,
                };
                // src_ratio < dst_ratio without division.
                if width * h < w * height {
                    (keep_width(w), cut)
                } else {
                    (keep_height(h), cut)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hires_targets_follow_the_reference() {
        let first = Size {
            width: 512,
            height: 768,
        };
        let size = |width, height| Size { width, height };
        let target = |hires: Hires| hires.target(first);
        assert_eq!(
            target(Hires {
                scale: 1.5,
                ..Hires::default()
            })
            .0,
            size(768, 1152)
        );
        assert_eq!(
            target(Hires {
                width: Some(1024),
                ..Hires::default()
            })
            .0,
            size(1024, 1536)
        );
        let both = Hires {
            width: Some(1024),
            height: Some(1024),
            ..Hires::default()
        };
        assert_eq!(target(both), (size(1024, 1536), size(1024, 1024)));
    }
}
