//! What a hypernetwork is made of, as data.

use burn::tensor::Device;

use super::{Curve, Hypernetwork};
use crate::error::{ConfigError, at_least_one};
use crate::unet::UNetConfig;

/// Wider than what any attention reads.
const MAX_WIDTH: usize = 1 << 16;

/// A hypernetwork.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HypernetworkConfig {
    /// A pair of networks for each width.
    pub widths: Vec<Bent>,
    /// After each layer but the last.
    pub curve: Option<Curve>,
    /// After the last one too.
    pub curve_at_end: bool,
    /// Each layer's outcome is normalised.
    pub norms: bool,
}

/// The networks for what has one width.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bent {
    /// That width.
    pub width: usize,
    /// Outputs of each layer; of the last, the width again.
    pub layers: Vec<usize>,
}

impl HypernetworkConfig {
    /// The network, with parameters that are zeros when read before they are loaded. Allocates nothing.
    ///
    /// The configuration should be [valid](Self::validate).
    pub fn init(&self, device: &Device) -> Hypernetwork {
        Hypernetwork::new(self, device)
    }

    /// Checks that the network can be built and run.
    ///
    /// # Errors
    ///
    /// The first field that cannot be, with what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        at_least_one("widths (how many)", self.widths.len())?;
        for bent in &self.widths {
            at_least_one("layers (how many)", bent.layers.len())?;
            for size in bent.layers.iter().chain([&bent.width]) {
                at_least_one("layers", *size)?;
                if *size > MAX_WIDTH {
                    return Err(ConfigError::new("layers", size, "at most 65536 numbers"));
                }
            }
            if bent.layers.last() != Some(&bent.width) {
                return Err(ConfigError::new(
                    "layers",
                    format!("{:?}", bent.layers),
                    format!("the last as wide as what goes in, {}", bent.width),
                ));
            }
        }
        Ok(())
    }

    /// Its widths, in order.
    pub fn widths(&self) -> Vec<usize> {
        self.widths.iter().map(|bent| bent.width).collect()
    }

    /// Those of its widths that something is read of in a U-Net: its context's, and those of the levels where pixels attend to
    /// themselves.
    pub fn widths_in(&self, unet: &UNetConfig) -> Vec<usize> {
        let levels = unet.levels.iter().filter(|level| level.attention.is_some());
        let middle = unet.middle.and(unet.levels.last());
        let read: Vec<usize> = levels
            .chain(middle)
            .map(|level| level.channels)
            .chain(unet.context)
            .collect();
        let widths = self.widths().into_iter();
        widths.filter(|width| read.contains(width)).collect()
    }
}
