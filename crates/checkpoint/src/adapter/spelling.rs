//! How programs spell the modules of a model in the keys of adapters.
//!
//! Kohya's form has underscores in the place of the dots, so that a name cannot be taken apart again. So nobody takes one
//! apart: the model's own modules are spelled in every form, and the file's stems are looked up among those.

use serde::Serialize;

use crate::networks::Role;
use crate::patch::Target;

/// Who named the modules of an adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// kohya's scripts: `lora_unet_` with diffusers' path, `lora_te_` (`lora_te1_`, `lora_te2_`) with transformers'.
    Kohya,
    /// The same with the original path of the denoiser, as kohya writes for models with two text encoders.
    KohyaOriginal,
    /// diffusers with PEFT: `unet.` and `text_encoder.`; a file of before (0.17 to 0.22) may be of this form and of the next.
    Diffusers,
    /// diffusers' attention processors (0.12 to 0.21): `….attn1.processor.to_q_lora`.
    Processors,
    /// PEFT's own folders: `base_model.model.`.
    Peft,
    /// ComfyUI: `diffusion_model.` with the original path, `text_encoders.clip_l.transformer.`.
    Comfy,
    /// SimpleTuner: `lycoris_` with diffusers' path.
    Lycoris,
}

impl Dialect {
    /// In words, for a person.
    pub fn words(self) -> &'static str {
        match self {
            Self::Kohya => "kohya",
            Self::KohyaOriginal => "kohya, original paths",
            Self::Diffusers => "diffusers",
            Self::Processors => "diffusers, attention processors",
            Self::Peft => "PEFT",
            Self::Comfy => "ComfyUI",
            Self::Lycoris => "SimpleTuner",
        }
    }

    /// The one that a stem is of, by what it begins with and has in it; `None` where it is nobody's.
    pub fn of(stem: &str) -> Option<Self> {
        let original = |path: &str| {
            [
                "input_blocks_",
                "middle_block_",
                "output_blocks_",
                "time_embed_",
                "label_emb_",
                "out_",
            ]
            .iter()
            .any(|block| path.starts_with(block))
        };
        if let Some(path) = stem.strip_prefix("lora_unet_") {
            return Some(match original(path) {
                true => Self::KohyaOriginal,
                false => Self::Kohya,
            });
        }
        if stem.starts_with("lora_te") {
            return Some(Self::Kohya);
        }
        let comfy = [
            "diffusion_model.",
            "text_encoders.",
            "clip_l.",
            "clip_g.",
            "clip_h.",
        ];
        let bare = [
            "down_blocks.",
            "mid_block.",
            "up_blocks.",
            "conv_in",
            "conv_out",
            "text_model.",
        ];
        let starts = |words: &[&str]| words.iter().any(|word| stem.starts_with(word));
        let own = ["unet.", "text_encoder.", "text_encoder_2."];
        let rules = [
            (stem.starts_with("lycoris_"), Self::Lycoris),
            (stem.contains(PEFT), Self::Peft),
            (starts(&comfy), Self::Comfy),
            (stem.contains(".processor."), Self::Processors),
            (starts(&own) || starts(&bare), Self::Diffusers),
        ];
        let found = rules.into_iter().find(|(holds, _)| *holds);
        found.map(|(_, dialect)| dialect)
    }
}

/// Every spelling of the module that owns a parameter, and which of its parameters that is: `weight` or `bias`.
pub fn stems<'a>(target: &Target<'a>) -> (Vec<String>, &'a str) {
    let (path, kind) = target.name.rsplit_once('.').unwrap_or(("", target.name));
    let each = Dialect::ALL.iter();
    let stems = each.flat_map(|dialect| dialect.spell(target, path));
    (stems.collect(), kind)
}

impl Dialect {
    const ALL: [Self; 7] = [
        Self::Kohya,
        Self::KohyaOriginal,
        Self::Diffusers,
        Self::Processors,
        Self::Peft,
        Self::Comfy,
        Self::Lycoris,
    ];

    /// How this dialect spells the module at `path` in the network of `target`: the first is how it is written, the others
    /// are read as well.
    pub fn spell(self, target: &Target<'_>, path: &str) -> Vec<String> {
        match target.role() {
            Role::DENOISER => self.denoiser(target, path),
            role @ (Role::TEXT_ENCODER | Role::TEXT_ENCODER_2) => self.text(role, path),
            _ => Vec::new(),
        }
    }

    fn denoiser(self, target: &Target<'_>, path: &str) -> Vec<String> {
        let original = || {
            let name = target.original()?;
            Some(name.rsplit_once('.')?.0.to_owned())
        };
        let one = |name: Option<String>| name.into_iter().collect();
        match self {
            Self::Kohya => vec![format!("lora_unet_{}", flat(path))],
            Self::KohyaOriginal => one(original().map(|path| format!("lora_unet_{}", flat(&path)))),
            Self::Diffusers => vec![format!("unet.{path}"), path.to_owned()],
            Self::Processors => match processor(path) {
                Some(old) => vec![format!("unet.{old}"), old],
                None => Vec::new(),
            },
            Self::Peft => in_folders(Role::DENOISER, path),
            Self::Comfy => one(original().map(|path| format!("diffusion_model.{path}"))),
            Self::Lycoris => vec![format!("lycoris_{}", flat(path))],
        }
    }

    fn text(self, role: Role, path: &str) -> Vec<String> {
        let second = role == Role::TEXT_ENCODER_2;
        match (self, second) {
            (Self::Kohya, true) => vec![format!("lora_te2_{}", flat(path))],
            (Self::Kohya, false) => ["lora_te_", "lora_te1_"]
                .map(|start| format!("{start}{}", flat(path)))
                .into(),
            (Self::Diffusers, true) => vec![format!("text_encoder_2.{path}")],
            (Self::Diffusers, false) => vec![format!("text_encoder.{path}"), path.to_owned()],
            (Self::Processors, _) => text_processor(path)
                .into_iter()
                .map(|old| format!("{}.{old}", role.folder()))
                .collect(),
            (Self::Peft, _) => in_folders(role, path),
            (Self::Comfy, true) => comfy(&["clip_g"], path),
            (Self::Comfy, false) => comfy(&["clip_l", "clip_h"], path),
            (Self::KohyaOriginal | Self::Lycoris, _) => Vec::new(),
        }
    }
}

fn flat(path: &str) -> String {
    path.replace('.', "_")
}

/// In a folder of PEFT's by itself, and in one beside those of other networks.
fn in_folders(role: Role, path: &str) -> Vec<String> {
    let alone = format!("{PEFT}{path}");
    let beside = format!("{}/{alone}", role.folder());
    match role {
        // Both text encoders have the same names; which one a folder is of must be said.
        Role::TEXT_ENCODER_2 => vec![beside],
        _ => vec![alone, beside],
    }
}

/// What PEFT writes before the path.
const PEFT: &str = "base_model.model.";

fn comfy(encoders: &[&str], path: &str) -> Vec<String> {
    let each = encoders.iter().flat_map(|encoder| {
        ["text_encoders.{}.transformer.", "{}.transformer.", "{}."]
            .map(|form| format!("{}{path}", form.replace("{}", encoder)))
    });
    each.collect()
}

/// The old name of a projection of attention: `….attn1.to_out.0` was `….attn1.processor.to_out_lora`.
fn processor(path: &str) -> Option<String> {
    let (attention, projection) = path.strip_suffix(".0").unwrap_or(path).rsplit_once('.')?;
    let known = ["to_q", "to_k", "to_v", "to_out"].contains(&projection);
    known.then(|| format!("{attention}.processor.{projection}_lora"))
}

/// The same in text encoders, before 0.19 and in the one release that wrote four for each projection, three of them dead.
fn text_processor(path: &str) -> Vec<String> {
    let Some((attention, projection)) = path.rsplit_once('.') else {
        return Vec::new();
    };
    let old = ["q", "k", "v", "out"].into_iter().find(|which| {
        projection.strip_suffix("_proj") == Some(which) && attention.ends_with("self_attn")
    });
    old.map_or_else(Vec::new, |which| {
        vec![
            format!("{attention}.to_{which}_lora"),
            format!("{path}.to_{which}_lora"),
        ]
    })
}

/// Whether a stem is one of the dead ones of that release: `q_proj.to_k_lora`.
pub fn is_dead(stem: &str) -> bool {
    let mut names = stem.rsplit('.');
    let (old, projection) = (names.next(), names.next());
    let old = old.and_then(|old| old.strip_prefix("to_")?.strip_suffix("_lora"));
    let projection = projection.and_then(|name| name.strip_suffix("_proj"));
    matches!((old, projection), (Some(old), Some(own)) if old != own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_of_attention() {
        assert_eq!(
            processor("mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0").as_deref(),
            Some("mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_out_lora")
        );
        assert_eq!(processor("mid_block.attentions.0.proj_in"), None);
        assert_eq!(
            text_processor("text_model.encoder.layers.0.self_attn.k_proj"),
            [
                "text_model.encoder.layers.0.self_attn.to_k_lora",
                "text_model.encoder.layers.0.self_attn.k_proj.to_k_lora"
            ]
        );
        assert!(is_dead("text_encoder.x.self_attn.k_proj.to_q_lora"));
        assert!(!is_dead("text_encoder.x.self_attn.k_proj.to_k_lora"));
        assert!(!is_dead("text_encoder.x.self_attn.to_q_lora"));
    }

    #[test]
    fn stems_say_their_dialect() {
        for (stem, dialect) in [
            ("lora_unet_down_blocks_0_x", Some(Dialect::Kohya)),
            ("lora_unet_input_blocks_4_1_x", Some(Dialect::KohyaOriginal)),
            ("lora_te2_text_model_x", Some(Dialect::Kohya)),
            ("unet.down_blocks.0.x", Some(Dialect::Diffusers)),
            (
                "mid_block.attentions.0.attn1.processor.to_q_lora",
                Some(Dialect::Processors),
            ),
            ("base_model.model.x", Some(Dialect::Peft)),
            ("text_encoder/base_model.model.x", Some(Dialect::Peft)),
            ("diffusion_model.out.2", Some(Dialect::Comfy)),
            ("lycoris_conv_in", Some(Dialect::Lycoris)),
            ("model.something", None),
        ] {
            assert_eq!(Dialect::of(stem), dialect, "{stem}");
        }
    }
}
