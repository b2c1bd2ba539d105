//! Names of moving averages, with their dots again.
//!
//! The training code registers the average of a U-Net's weights as buffers, whose names may hold no dots, so it takes them out
//! (`LitEma` in CompVis/latent-diffusion `ldm/modules/ema.py`). Where a file has the plain weights too, their names lead to the
//! average's. Where it has the average alone, the names are read by the words that the original code has.

use super::EMA_PREFIX;

/// Every word of an original U-Net's names; of two that a name may begin with, the longer one is meant.
const WORDS: [&str; 31] = [
    "input_blocks",
    "output_blocks",
    "middle_block",
    "time_embed",
    "label_emb",
    "in_layers",
    "out_layers",
    "emb_layers",
    "skip_connection",
    "transformer_blocks",
    "attn1",
    "attn2",
    "to_q",
    "to_k",
    "to_v",
    "to_out",
    "norm1",
    "norm2",
    "norm3",
    "norm",
    "ff",
    "net",
    "proj_in",
    "proj_out",
    "proj",
    "qkv",
    "conv",
    "op",
    "out",
    "weight",
    "bias",
];

/// Words behind which two numbers follow, the second of one digit.
const PAIRS: [&str; 3] = ["input_blocks", "output_blocks", "label_emb"];

/// The original name, without the U-Net's prefix, of the average called `stored`; `None` for another tensor.
pub fn dotted(stored: &str) -> Option<String> {
    let mut rest = stored
        .strip_prefix(EMA_PREFIX)?
        .strip_prefix("diffusion_model")?;
    let mut parts: Vec<&str> = Vec::new();
    while !rest.is_empty() {
        let fitting = WORDS.iter().filter(|word| rest.starts_with(**word));
        let word = fitting.max_by_key(|word| word.len())?;
        parts.push(word);
        rest = &rest[word.len()..];
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        rest = after;
        match (PAIRS.contains(word), digits) {
            (false, 0) => {}
            (false, _) => parts.push(number),
            (true, 2..) => parts.extend([&number[..digits - 1], &number[digits - 1..]]),
            (true, _) => return None,
        }
    }
    Some(parts.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ema_name;

    #[test]
    fn dots_come_back() {
        for name in [
            "input_blocks.0.0.weight",
            "input_blocks.11.0.in_layers.2.bias",
            "input_blocks.4.1.transformer_blocks.0.attn1.to_out.0.weight",
            "input_blocks.8.1.transformer_blocks.10.ff.net.0.proj.weight",
            "input_blocks.3.0.op.weight",
            "middle_block.1.transformer_blocks.0.norm3.weight",
            "middle_block.1.norm.weight",
            "output_blocks.5.2.conv.weight",
            "output_blocks.2.0.skip_connection.bias",
            "label_emb.0.2.weight",
            "time_embed.2.weight",
            "out.0.weight",
            "out.2.bias",
            "output_blocks.10.1.proj_out.weight",
        ] {
            assert_eq!(dotted(&ema_name(name)).as_deref(), Some(name));
        }
        assert_eq!(dotted("model_ema.decay"), None);
        assert_eq!(dotted("model_ema.diffusion_modelsomething_else"), None);
        assert_eq!(dotted("model.diffusion_model.out.0.weight"), None);
    }
}
