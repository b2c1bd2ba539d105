//! A T2I-Adapter in files: diffusers', and the original code's, which counts all blocks of a full one in one row.

use burn::tensor::Device;
use latent_models::t2i::T2iForm;
use latent_models::{T2iAdapter, T2iAdapterConfig};
use serde_json::{Value, json};

use super::keys::Keys;
use super::{
    DIFFUSERS, DetectError, Kind, LONGEST, Network, Role, Scheme, Shapes, Spot, WIDEST, at_most,
};
use crate::names::Table;

const AT: Role = Role::T2I_ADAPTER;
/// The first convolution of full ones and of light ones under the original names, and under diffusers'.
const FULL: &str = "body.0.block1.weight";
const LIGHT: &str = "body.0.body.0.block1.weight";
const DIFFUSERS_ANY: &str = "adapter.body.0.resnets.0.block1.weight";

const READ: [&str; 5] = [
    "in_channels",
    "channels",
    "num_res_blocks",
    "downscale_factor",
    "adapter_type",
];

impl Kind for T2iAdapterConfig {
    type Net = T2iAdapter;
    const OWN: &str = "T2iAdapter";
    const CLASSES: &[&str] = &["T2IAdapter"];
    const ROLES: &[Role] = &[AT];
    const SPOTS: &[Spot] = &[
        AT.spot(Scheme::Ldm, "", FULL),
        AT.spot(Scheme::Ldm, "", LIGHT),
        AT.spot(Scheme::Diffusers, "", DIFFUSERS_ANY),
    ];

    fn of(network: &Network) -> Option<&Self> {
        match network {
            Network::T2iAdapter(config) => Some(config),
            _ => None,
        }
    }

    fn init(&self, device: &Device) -> T2iAdapter {
        self.init(device)
    }

    fn table(&self, scheme: Scheme) -> Table {
        if scheme != Scheme::Ldm {
            return Table::identity();
        }
        let mut table = Table::default();
        table.pair("adapter.conv_in", "conv_in");
        for level in 0..self.channels.len() {
            let ours = format!("adapter.body.{level}");
            let light = self.form == T2iForm::Light;
            let first = if light { level } else { level * self.resblocks };
            for conv in ["in_conv", "out_conv"] {
                table.pair(format!("{ours}.{conv}"), format!("body.{first}.{conv}"));
            }
            for resnet in 0..self.resblocks {
                let theirs = match light {
                    true => format!("body.{level}.body.{resnet}"),
                    false => format!("body.{}", first + resnet),
                };
                table.pair(format!("{ours}.resnets.{resnet}"), theirs);
            }
        }
        table
    }

    fn from_shapes(shapes: &Shapes<'_>, scheme: Scheme) -> Result<Self, DetectError> {
        let original = scheme == Scheme::Ldm;
        let above = if original { "" } else { "adapter." };
        let light = !shapes.has(&format!("{above}conv_in.weight"));
        // The width of each block, in order: of a level's resblocks, or of a light level.
        let block = |i: usize| match (original, light) {
            (true, true) => format!("body.{i}.out_conv.weight"),
            (true, false) => format!("body.{i}.block1.weight"),
            (false, true) => format!("adapter.body.{i}.out_conv.weight"),
            (false, false) => format!("adapter.body.{i}.resnets.0.block1.weight"),
        };
        let blocks = shapes.count(block);
        let widths = (0..blocks).map(|i| Ok(shapes.need(&block(i), 4)?[0]));
        let widths = widths.collect::<Result<Vec<_>, DetectError>>()?;
        let entrance = match light {
            true => format!("{above}body.0.in_conv.weight"),
            false => format!("{above}conv_in.weight"),
        };
        let entrance = shapes.need(&entrance, 4)?[1];
        let resblocks = match (original, light) {
            (true, true) => shapes.count(|j| format!("body.0.body.{j}.block1.weight")),
            // Of published full ones, whose levels are no more than their widths show.
            (true, false) => FULL_RESBLOCKS,
            (false, _) => shapes.count(|j| format!("adapter.body.0.resnets.{j}.block1.weight")),
        };
        let channels: Vec<usize> = match original && !light {
            true => widths.iter().copied().step_by(FULL_RESBLOCKS).collect(),
            false => widths,
        };
        let Some((in_channels, unshuffle)) = ENTRANCES
            .into_iter()
            .find(|(channels, by)| channels * by * by == entrance)
        else {
            return Err(DetectError::Shape {
                tensor: shapes.full("conv_in.weight"),
                found: vec![entrance],
                expected:
                    "64, 192, 256 or 768 channels: 8×8 or 16×16 pixels of one or three colours"
                        .into(),
            });
        };
        let config = Self {
            in_channels,
            unshuffle,
            channels,
            resblocks,
            form: match (light, unshuffle) {
                (true, _) => T2iForm::Light,
                (false, 16) => T2iForm::FullXl,
                (false, _) => T2iForm::Full,
            },
        };
        config.validate()?;
        Ok(config)
    }

    fn from_json(value: &Value) -> Result<Self, DetectError> {
        let keys = Keys::check("config.json", value, &READ, &[], &[])?;
        let channels = match keys.get("channels") {
            Some(Value::Array(list)) => keys.sizes("channels", list.len(), 0)?,
            Some(_) => return Err(keys.bad("channels", "a list of numbers")),
            None => vec![320, 640, 1280, 1280],
        };
        Ok(Self {
            in_channels: keys.size("in_channels", 3)?,
            unshuffle: keys.size("downscale_factor", 8)?,
            channels,
            resblocks: keys.size("num_res_blocks", 2)?,
            form: match keys.text("adapter_type", "full_adapter")? {
                "full_adapter" => T2iForm::Full,
                "full_adapter_xl" => T2iForm::FullXl,
                "light_adapter" => T2iForm::Light,
                _ => {
                    let expected = "full_adapter, full_adapter_xl or light_adapter";
                    return Err(keys.bad("adapter_type", expected));
                }
            },
        })
    }

    fn to_json(&self, _side: usize) -> Result<Value, String> {
        Ok(json!({
            "_class_name": "T2IAdapter", "_diffusers_version": DIFFUSERS,
            "adapter_type": match self.form {
                T2iForm::Full => "full_adapter", T2iForm::FullXl => "full_adapter_xl", T2iForm::Light => "light_adapter",
            },
            "channels": self.channels, "downscale_factor": self.unshuffle, "in_channels": self.in_channels,
            "num_res_blocks": self.resblocks,
        }))
    }

    fn check(&self) -> Result<(), DetectError> {
        at_most("in_channels", self.in_channels, WIDEST)?;
        at_most("unshuffle", self.unshuffle, LONGEST)?;
        at_most("resblocks", self.resblocks, LONGEST)?;
        at_most("channels (how many)", self.channels.len(), LONGEST)?;
        for channels in &self.channels {
            at_most("channels", *channels, WIDEST)?;
        }
        Ok(self.validate()?)
    }
}

/// Residual blocks of a level of every published full one.
const FULL_RESBLOCKS: usize = 2;
/// Channels of the picture, and pixels that become channels.
const ENTRANCES: [(usize, usize); 4] = [(1, 8), (3, 8), (1, 16), (3, 16)];
