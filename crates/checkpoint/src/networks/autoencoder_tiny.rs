//! The tiny autoencoder (TAESD) in files: diffusers' `AutoencoderTiny`, and the original's plain indices.

use burn::tensor::Device;
use latent_models::{AutoencoderTiny, AutoencoderTinyConfig};
use serde_json::{Value, json};

use super::keys::Keys;
use super::{
    DIFFUSERS, DetectError, Kind, LONGEST, Network, Role, Scheme, Shapes, Spot, WIDEST, at_most,
};
use crate::names::Table;

const CLASS: &str = "AutoencoderTiny";
/// A latent number is bent to at most this, and shown in −1..1 around this.
const MAGNITUDE: f64 = 3.0;
const SHIFT: f64 = 0.5;

const AT: Role = Role::AUTOENCODER;

/// The number of layer `index` of a half in the original: its decoder begins with one that has no parameters.
fn original(half: &str, index: usize) -> usize {
    index + usize::from(half == "decoder")
}

/// How many blocks stand after each convolution of a half but the last, and the shapes of the first and the last
/// convolution.
type Half<'a> = (Vec<usize>, &'a [usize], &'a [usize]);

fn half<'a>(shapes: &Shapes<'a>, scheme: Scheme, half: &str) -> Result<Half<'a>, DetectError> {
    let layer = |index: usize| match scheme {
        Scheme::Ldm => format!("{half}.{}", original(half, index)),
        _ => format!("{half}.layers.{index}"),
    };
    let first = shapes.need(&format!("{}.weight", layer(0)), 4)?;
    let (mut blocks, mut last) = (vec![0], first);
    // Two numbers in a row may stand for layers without parameters.
    let (mut index, mut gap) = (1, 0);
    while gap < 3 {
        let conv = shapes.get(&format!("{}.weight", layer(index)));
        match (conv, blocks.last_mut()) {
            (Some(shape), _) => {
                (last, gap) = (shape, 0);
                blocks.push(0);
            }
            (None, Some(count)) if shapes.has(&format!("{}.conv.0.weight", layer(index))) => {
                gap = 0;
                *count += 1;
            }
            _ => gap += 1,
        }
        index += 1;
    }
    blocks.pop();
    Ok((blocks, first, last))
}

impl Kind for AutoencoderTinyConfig {
    type Net = AutoencoderTiny;
    const OWN: &str = "TinyAutoencoder";
    const CLASSES: &[&str] = &[CLASS];
    const ROLES: &[Role] = &[AT];
    const SPOTS: &[Spot] = &[
        AT.spot(Scheme::Ldm, "", "decoder.1.weight"),
        AT.spot(Scheme::Diffusers, "", "decoder.layers.0.weight"),
    ];

    fn of(network: &Network) -> Option<&Self> {
        match network {
            Network::AutoencoderTiny(config) => Some(config),
            _ => None,
        }
    }

    fn init(&self, device: &Device) -> AutoencoderTiny {
        self.init(device)
    }

    fn table(&self, scheme: Scheme) -> Table {
        if scheme != Scheme::Ldm {
            return Table::identity();
        }
        let mut table = Table::default();
        for (half, blocks) in [
            ("encoder", &self.encoder_blocks),
            ("decoder", &self.decoder_blocks),
        ] {
            // At most: a convolution, an activation, an enlargement to a level.
            let layers = blocks.iter().sum::<usize>() + 3 * blocks.len() + 1;
            for index in 0..layers {
                table.pair(
                    format!("{half}.layers.{index}"),
                    format!("{half}.{}", original(half, index)),
                );
            }
        }
        table
    }

    fn from_shapes(shapes: &Shapes<'_>, scheme: Scheme) -> Result<Self, DetectError> {
        let (encoder_blocks, first, last) = half(shapes, scheme, "encoder")?;
        let (decoder_blocks, ..) = half(shapes, scheme, "decoder")?;
        let config = Self {
            channels: first[1],
            latent_channels: last[0],
            width: first[0],
            encoder_blocks,
            decoder_blocks,
        };
        config.validate()?;
        Ok(config)
    }

    fn from_json(value: &Value) -> Result<Self, DetectError> {
        let only = [
            ("act_fn", json!("relu")),
            ("upsample_fn", json!("nearest")),
            ("upsampling_scaling_factor", json!(2)),
            ("latent_magnitude", json!(MAGNITUDE)),
            ("latent_shift", json!(SHIFT)),
            ("scaling_factor", json!(1.0)),
            ("shift_factor", json!(0.0)),
        ];
        let keys = Keys::check("config.json", value, &READ, &["force_upcast"], &only)?;
        let count = |key: &str| match keys.get(key) {
            Some(Value::Array(list)) => list.len(),
            _ => 4,
        };
        let levels = count("num_decoder_blocks");
        let blocks = |key: &str, usual: [usize; 4]| match keys.get(key) {
            Some(_) => keys.sizes(key, levels, 0),
            None => Ok(usual.to_vec()),
        };
        let widths = ["encoder_block_out_channels", "decoder_block_out_channels"];
        let [encoder, decoder] = widths.map(|key| keys.sizes(key, levels, 64));
        let widths = [encoder?, decoder?].concat();
        let width = widths.first().copied().unwrap_or(64);
        if widths.iter().any(|other| *other != width) {
            return Err(keys.bad("decoder_block_out_channels", "one width for all levels"));
        }
        let channels = keys.size("in_channels", 3)?;
        if keys.size("out_channels", 3)? != channels {
            return Err(keys.bad("out_channels", &channels.to_string()));
        }
        Ok(Self {
            channels,
            latent_channels: keys.size("latent_channels", 4)?,
            width,
            encoder_blocks: blocks("num_encoder_blocks", [1, 3, 3, 3])?,
            decoder_blocks: blocks("num_decoder_blocks", [3, 3, 3, 1])?,
        })
    }

    fn to_json(&self, _side: usize) -> Result<Value, String> {
        let widths = vec![self.width; self.decoder_blocks.len()];
        Ok(json!({
            "_class_name": CLASS, "_diffusers_version": DIFFUSERS, "act_fn": "relu", "block_out_channels": widths,
            "decoder_block_out_channels": widths, "encoder_block_out_channels": widths, "force_upcast": false,
            "in_channels": self.channels, "latent_channels": self.latent_channels, "latent_magnitude": MAGNITUDE,
            "latent_shift": SHIFT, "num_decoder_blocks": self.decoder_blocks,
            "num_encoder_blocks": self.encoder_blocks, "out_channels": self.channels, "scaling_factor": 1.0,
            "shift_factor": 0.0, "upsample_fn": "nearest", "upsampling_scaling_factor": 2,
        }))
    }

    fn check(&self) -> Result<(), DetectError> {
        at_most("channels", self.channels, WIDEST)?;
        at_most("latent_channels", self.latent_channels, WIDEST)?;
        at_most("width", self.width, WIDEST)?;
        for blocks in self.encoder_blocks.iter().chain(&self.decoder_blocks) {
            at_most("blocks", *blocks, LONGEST)?;
        }
        Ok(self.validate()?)
    }

    fn file_scheme(&self) -> Scheme {
        Scheme::Ldm
    }
}

const READ: [&str; 8] = [
    "in_channels",
    "out_channels",
    "latent_channels",
    "encoder_block_out_channels",
    "decoder_block_out_channels",
    "num_encoder_blocks",
    "num_decoder_blocks",
    // The decoder's widths once more.
    "block_out_channels",
];
