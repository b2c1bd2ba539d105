//! The keys of an adapter's file: stem, which says the module, and part, which says what of the change it is.
//!
//! Parts are known words and so can be cut off. Stems are not taken apart: they are looked up among the spellings of a
//! model's own modules ([`super::spelling`]).

use std::collections::BTreeMap;

/// Endings of keys, each with the part that it is. Programs write the same part in several ways.
const ENDINGS: [(&str, Part); 40] = [
    ("lora_down.weight", "lora_down"),
    ("lora_A.weight", "lora_down"),
    ("lora_linear_layer.down.weight", "lora_down"),
    ("lora.down.weight", "lora_down"),
    ("down.weight", "lora_down"),
    ("lora_up.weight", "lora_up"),
    ("lora_B.weight", "lora_up"),
    ("lora_linear_layer.up.weight", "lora_up"),
    ("lora.up.weight", "lora_up"),
    ("up.weight", "lora_up"),
    ("lora_up.bias", "lora_bias"),
    ("lora_B.bias", "lora_bias"),
    ("lora_mid.weight", "lora_mid"),
    ("alpha", "alpha"),
    ("scale", "scale"),
    ("dora_scale", "dora_scale"),
    (MAGNITUDE, "magnitude"),
    ("lora_magnitude_vector.weight", "magnitude"),
    ("hada_w1_a", "hada_w1_a"),
    ("hada_w1_b", "hada_w1_b"),
    ("hada_w2_a", "hada_w2_a"),
    ("hada_w2_b", "hada_w2_b"),
    ("hada_t1", "hada_t1"),
    ("hada_t2", "hada_t2"),
    ("lokr_w1", "lokr_w1"),
    ("lokr_w1_a", "lokr_w1_a"),
    ("lokr_w1_b", "lokr_w1_b"),
    ("lokr_w2", "lokr_w2"),
    ("lokr_w2_a", "lokr_w2_a"),
    ("lokr_w2_b", "lokr_w2_b"),
    ("lokr_t2", "lokr_t2"),
    ("diff", "diff"),
    ("diff_b", "diff_b"),
    ("w_norm", "w_norm"),
    ("b_norm", "b_norm"),
    ("on_input", "on_input"),
    ("weight", "weight"),
    ("oft_blocks", "oft_blocks"),
    ("oft_diag", "oft_diag"),
    ("rescale", "rescale"),
];
/// Those of GLoRA, whose words are short.
const GLORA: [(&str, Part); 4] = [
    ("a1.weight", "a1"),
    ("a2.weight", "a2"),
    ("b1.weight", "b1"),
    ("b2.weight", "b2"),
];
/// PEFT's name for the magnitudes of a DoRA.
const MAGNITUDE: &str = "lora_magnitude_vector";
/// The parts that PEFT writes with the name of the adapter behind them where it was saved from memory: `lora_A.default.weight`.
const NAMED: [&str; 3] = ["lora_A", "lora_B", MAGNITUDE];

/// A part of a change: `lora_up`, `hada_w1_a`, …
pub type Part = &'static str;

/// The parts that say something of a bias. All others are of the weight.
pub const BIAS: [Part; 3] = ["diff_b", "b_norm", "lora_bias"];

/// The tensors of one stem, by the part that they are.
pub type Parts = BTreeMap<Part, String>;

/// Stem and part of a key; `None` where its end is no known part.
pub fn split(key: &str) -> Option<(&str, Part)> {
    let endings = ENDINGS.iter().chain(&GLORA);
    let plain = endings.filter_map(|(ending, part)| {
        let stem = key.strip_suffix(*ending)?.strip_suffix('.')?;
        Some((stem, *part))
    });
    // `lora_A.default.weight` ends in `weight`, too.
    let named = NAMED.iter().filter_map(|word| {
        let (stem, name) = key.rsplit_once(&format!(".{word}."))?;
        let name = match (name.strip_suffix(".weight"), *word) {
            (Some(name), _) => name,
            (None, MAGNITUDE) => name,
            (None, _) => return None,
        };
        let ending = match *word {
            MAGNITUDE => MAGNITUDE.to_owned(),
            word => format!("{word}.weight"),
        };
        let (_, part) = ENDINGS.iter().find(|(known, _)| *known == ending)?;
        (!name.is_empty() && !name.contains('.')).then_some((key.get(..stem.len())?, *part))
    });
    let found = plain.chain(named).min_by_key(|(stem, _)| stem.len());
    found.filter(|(stem, _)| !stem.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_cut_before_their_part() {
        for (key, stem, part) in [
            (
                "lora_unet_a_b.lora_down.weight",
                "lora_unet_a_b",
                "lora_down",
            ),
            ("unet.a.to_q.lora_A.weight", "unet.a.to_q", "lora_down"),
            (
                "unet.a.to_q.lora_A.my-style.weight",
                "unet.a.to_q",
                "lora_down",
            ),
            ("unet.a.to_q.lora.up.weight", "unet.a.to_q", "lora_up"),
            (
                "a.processor.to_q_lora.up.weight",
                "a.processor.to_q_lora",
                "lora_up",
            ),
            (
                "a.q_proj.lora_linear_layer.down.weight",
                "a.q_proj",
                "lora_down",
            ),
            ("lora_te_x.alpha", "lora_te_x", "alpha"),
            ("x.lora_magnitude_vector", "x", "magnitude"),
            ("x.lora_magnitude_vector.default.weight", "x", "magnitude"),
            ("x.a1.weight", "x", "a1"),
            ("x.lokr_w2_a", "x", "lokr_w2_a"),
            ("x.weight", "x", "weight"),
        ] {
            assert_eq!(split(key), Some((stem, part)), "{key}");
        }
        for key in [
            "x.q_layer.bias",
            "emb_params",
            ".alpha",
            "x.lambda_layer",
            "x.bias",
        ] {
            assert_eq!(split(key), None, "{key}");
        }
    }
}
