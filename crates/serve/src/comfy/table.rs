//! The nodes that are known: those of which a graph can be a request of latent's.

use serde_json::{Map, Value, json};

use crate::engine::{Catalogue, Sampler};

/// Latents by ComfyUI's names, and the upscaler that does the same here.
pub const LATENT_METHODS: &[(&str, &str)] = &[
    ("nearest-exact", "Latent (nearest-exact)"),
    ("bilinear", "Latent (bilinear)"),
    ("bicubic", "Latent (bicubic)"),
];

/// The same of pixels.
pub const PIXEL_METHODS: &[(&str, &str)] = &[
    ("nearest-exact", "Nearest"),
    ("bilinear", "Bilinear"),
    ("area", "Area"),
    ("bicubic", "Bicubic"),
    ("lanczos", "Lanczos"),
];

/// A class of nodes.
#[derive(Debug)]
pub struct Class {
    /// Its name.
    pub name: &'static str,
    /// What its page calls it.
    title: &'static str,
    category: &'static str,
    /// The kinds of its outputs.
    pub outputs: &'static [&'static str],
    /// Whether it gives pictures out.
    pub gives: bool,
    /// Whether it loads a file by name.
    pub loads: bool,
    inputs: &'static [(&'static str, Input)],
}

/// What an input takes.
#[derive(Clone, Copy, Debug)]
enum Input {
    /// An output of a node.
    Link(&'static str),
    Text(&'static str),
    /// A default, the least, the most.
    Whole(u64, u64, u64),
    Number(f64, f64, f64),
    Below(i64, i64),
    Words(&'static [&'static str]),
    Methods(&'static [(&'static str, &'static str)]),
    Checkpoints,
    Vaes,
    Loras,
    Samplers,
    Schedulers,
    Uploads,
}

use Input::{
    Checkpoints, Link, Loras, Methods, Number, Samplers, Schedulers, Text, Uploads, Vaes, Whole,
    Words,
};

const SIDE: u64 = 16_384;
const ABLE: Input = Words(&["enable", "disable"]);
const CROP: Input = Words(&["disabled", "center"]);

macro_rules! class {
    ($name:literal, $title:literal, $category:literal, $outputs:expr, $gives:literal, $inputs:expr) => {
        Class {
            name: $name,
            title: $title,
            category: $category,
            outputs: &$outputs,
            gives: $gives,
            loads: false,
            inputs: &$inputs,
        }
    };
}

/// All of them.
pub static CLASSES: &[Class] = &[
    class!(
        "CheckpointLoaderSimple",
        "Load Checkpoint",
        "loaders",
        ["MODEL", "CLIP", "VAE"],
        false,
        [("ckpt_name", Checkpoints)]
    ),
    class!(
        "VAELoader",
        "Load VAE",
        "loaders",
        ["VAE"],
        false,
        [("vae_name", Vaes)]
    ),
    class!(
        "LoraLoader",
        "Load LoRA",
        "loaders",
        ["MODEL", "CLIP"],
        false,
        [
            ("model", Link("MODEL")),
            ("clip", Link("CLIP")),
            ("lora_name", Loras),
            ("strength_model", Number(1.0, -100.0, 100.0)),
            ("strength_clip", Number(1.0, -100.0, 100.0)),
        ]
    ),
    class!(
        "LoraLoaderModelOnly",
        "LoraLoaderModelOnly",
        "loaders",
        ["MODEL"],
        false,
        [
            ("model", Link("MODEL")),
            ("lora_name", Loras),
            ("strength_model", Number(1.0, -100.0, 100.0)),
        ]
    ),
    class!(
        "CLIPTextEncode",
        "CLIP Text Encode (Prompt)",
        "conditioning",
        ["CONDITIONING"],
        false,
        [("text", Text("")), ("clip", Link("CLIP"))]
    ),
    class!(
        "CLIPSetLastLayer",
        "CLIP Set Last Layer",
        "conditioning",
        ["CLIP"],
        false,
        [
            ("clip", Link("CLIP")),
            ("stop_at_clip_layer", Input::Below(-1, -24)),
        ]
    ),
    class!(
        "EmptyLatentImage",
        "Empty Latent Image",
        "latent",
        ["LATENT"],
        false,
        [
            ("width", Whole(512, 16, SIDE)),
            ("height", Whole(512, 16, SIDE)),
            ("batch_size", Whole(1, 1, 64)),
        ]
    ),
    Class {
        loads: true,
        ..class!(
            "LoadImage",
            "Load Image",
            "image",
            ["IMAGE", "MASK"],
            false,
            [("image", Uploads)]
        )
    },
    Class {
        loads: true,
        ..class!(
            "LoadImageMask",
            "Load Image (as Mask)",
            "mask",
            ["MASK"],
            false,
            [
                ("image", Uploads),
                ("channel", Words(&["alpha", "red", "green", "blue"])),
            ]
        )
    },
    class!(
        "ImageScale",
        "Upscale Image",
        "image/upscaling",
        ["IMAGE"],
        false,
        [
            ("image", Link("IMAGE")),
            ("upscale_method", Methods(PIXEL_METHODS)),
            ("width", Whole(512, 0, SIDE)),
            ("height", Whole(512, 0, SIDE)),
            ("crop", CROP),
        ]
    ),
    class!(
        "ImageScaleBy",
        "Upscale Image By",
        "image/upscaling",
        ["IMAGE"],
        false,
        [
            ("image", Link("IMAGE")),
            ("upscale_method", Methods(PIXEL_METHODS)),
            ("scale_by", Number(1.0, 0.01, 8.0)),
        ]
    ),
    class!(
        "VAEEncode",
        "VAE Encode",
        "latent",
        ["LATENT"],
        false,
        [("pixels", Link("IMAGE")), ("vae", Link("VAE"))]
    ),
    class!(
        "VAEEncodeForInpaint",
        "VAE Encode (for Inpainting)",
        "latent/inpaint",
        ["LATENT"],
        false,
        [
            ("pixels", Link("IMAGE")),
            ("vae", Link("VAE")),
            ("mask", Link("MASK")),
            ("grow_mask_by", Whole(6, 0, 64)),
        ]
    ),
    class!(
        "SetLatentNoiseMask",
        "Set Latent Noise Mask",
        "latent/inpaint",
        ["LATENT"],
        false,
        [("samples", Link("LATENT")), ("mask", Link("MASK"))]
    ),
    class!(
        "LatentUpscale",
        "Upscale Latent",
        "latent",
        ["LATENT"],
        false,
        [
            ("samples", Link("LATENT")),
            ("upscale_method", Methods(LATENT_METHODS)),
            ("width", Whole(512, 0, SIDE)),
            ("height", Whole(512, 0, SIDE)),
            ("crop", CROP),
        ]
    ),
    class!(
        "LatentUpscaleBy",
        "Upscale Latent By",
        "latent",
        ["LATENT"],
        false,
        [
            ("samples", Link("LATENT")),
            ("upscale_method", Methods(LATENT_METHODS)),
            ("scale_by", Number(1.5, 0.01, 8.0)),
        ]
    ),
    class!(
        "KSampler",
        "KSampler",
        "sampling",
        ["LATENT"],
        false,
        [
            ("model", Link("MODEL")),
            ("seed", Whole(0, 0, u64::MAX)),
            ("steps", Whole(20, 1, 10_000)),
            ("cfg", Number(8.0, 0.0, 100.0)),
            ("sampler_name", Samplers),
            ("scheduler", Schedulers),
            ("positive", Link("CONDITIONING")),
            ("negative", Link("CONDITIONING")),
            ("latent_image", Link("LATENT")),
            ("denoise", Number(1.0, 0.0, 1.0)),
        ]
    ),
    class!(
        "KSamplerAdvanced",
        "KSampler (Advanced)",
        "sampling",
        ["LATENT"],
        false,
        [
            ("model", Link("MODEL")),
            ("add_noise", ABLE),
            ("noise_seed", Whole(0, 0, u64::MAX)),
            ("steps", Whole(20, 1, 10_000)),
            ("cfg", Number(8.0, 0.0, 100.0)),
            ("sampler_name", Samplers),
            ("scheduler", Schedulers),
            ("positive", Link("CONDITIONING")),
            ("negative", Link("CONDITIONING")),
            ("latent_image", Link("LATENT")),
            ("start_at_step", Whole(0, 0, 10_000)),
            ("end_at_step", Whole(10_000, 0, 10_000)),
            ("return_with_leftover_noise", Words(&["disable", "enable"])),
        ]
    ),
    class!(
        "VAEDecode",
        "VAE Decode",
        "latent",
        ["IMAGE"],
        false,
        [("samples", Link("LATENT")), ("vae", Link("VAE"))]
    ),
    class!(
        "SaveImage",
        "Save Image",
        "image",
        [],
        true,
        [
            ("images", Link("IMAGE")),
            ("filename_prefix", Text("ComfyUI"))
        ]
    ),
    class!(
        "PreviewImage",
        "Preview Image",
        "image",
        [],
        true,
        [("images", Link("IMAGE"))]
    ),
    class!(
        "SaveImageWebsocket",
        "SaveImageWebsocket",
        "api/image",
        [],
        true,
        [("images", Link("IMAGE"))]
    ),
];

/// A class by name.
pub fn find(name: &str) -> Option<&'static Class> {
    CLASSES.iter().find(|class| class.name == name)
}

/// The upscaler of a method.
pub fn method(
    methods: &'static [(&'static str, &'static str)],
    word: &str,
) -> Option<&'static str> {
    let found = methods.iter().find(|(name, _)| *name == word);
    found.map(|(_, upscaler)| *upscaler)
}

/// A sampler's name as ComfyUI writes them.
fn sampler_name(sampler: &Sampler) -> String {
    let mut names = sampler.aliases.iter();
    names
        .find(|name| !name.starts_with("k_"))
        .unwrap_or(&sampler.name)
        .clone()
}

impl Input {
    /// As `object_info` tells it: a kind or a list, and what belongs to it.
    fn told(self, catalogue: &Catalogue) -> Value {
        let names = |names: &mut dyn Iterator<Item = &String>| json!([names.collect::<Vec<_>>()]);
        match self {
            Link(kind) => json!([kind]),
            Text(default) => {
                json!(["STRING", { "default": default, "multiline": default.is_empty(), "dynamicPrompts": false }])
            }
            Whole(default, min, max) => {
                json!(["INT", { "default": default, "min": min, "max": max }])
            }
            Number(default, min, max) => {
                json!(["FLOAT", { "default": default, "min": min, "max": max, "step": 0.01 }])
            }
            Self::Below(default, min) => {
                json!(["INT", { "default": default, "min": min, "max": -1 }])
            }
            Words(words) => json!([words]),
            Methods(methods) => json!([methods.iter().map(|(name, _)| name).collect::<Vec<_>>()]),
            Checkpoints => names(&mut catalogue.models.iter().map(|model| &model.name)),
            Vaes => names(&mut catalogue.vaes.iter()),
            Loras => names(&mut catalogue.loras.iter().map(|lora| &lora.name)),
            Samplers => json!([catalogue
                .samplers
                .iter()
                .map(sampler_name)
                .collect::<Vec<_>>()]),
            Schedulers => {
                let own = catalogue.schedulers.iter().map(|scheduler| &scheduler.name);
                names(&mut own.filter(|name| *name != "automatic"))
            }
            Uploads => json!([[], { "image_upload": true }]),
        }
    }
}

impl Class {
    /// As `object_info` tells it.
    pub fn info(&self, catalogue: &Catalogue) -> Value {
        let inputs = self.inputs.iter();
        let required: Map<_, _> = inputs
            .map(|(name, input)| ((*name).to_owned(), input.told(catalogue)))
            .collect();
        let order: Vec<_> = self.inputs.iter().map(|(name, _)| name).collect();
        json!({
            "input": { "required": required },
            "input_order": { "required": order },
            "output": self.outputs,
            "output_is_list": vec![false; self.outputs.len()],
            "output_name": self.outputs,
            "name": self.name,
            "display_name": self.title,
            "description": "",
            "python_module": "nodes",
            "category": self.category,
            "output_node": self.gives,
        })
    }
}
