//! The names of weight files: which variant, which form, shards or not.

/// What weight files are called before their variant and ending: by diffusers, then by transformers.
const STEMS: [&str; 3] = ["diffusion_pytorch_model", "model", "pytorch_model"];

/// One way of reading a component's weights; ordered by variant, then by preference.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub(super) variant: String,
    pub(super) pickled: bool,
    pub(super) sharded: bool,
    stem: usize,
    pub(super) file: String,
}

impl Candidate {
    /// Reads `stem[.variant].safetensors`, and of indices both spellings that diffusers has had:
    /// `stem.safetensors.index[.variant].json` and `stem.safetensors[.variant].index.json`.
    pub(super) fn parse(file: &str) -> Option<Self> {
        let mut parts: Vec<&str> = file.split('.').collect();
        let stem = STEMS.iter().position(|&stem| stem == parts[0])?;
        let sharded = *parts.last()? == "json";
        let ending = if sharded {
            let ending = *parts.get(1)?;
            parts.retain(|&part| part != "json");
            let before = parts.len();
            parts.retain(|&part| part != "index");
            if parts.len() == before {
                return None;
            }
            parts.remove(1);
            ending
        } else {
            parts.pop()?
        };
        let pickled = match ending {
            "safetensors" => false,
            "bin" => true,
            _ => return None,
        };
        let variant = match parts.as_slice() {
            [_] => "",
            [_, variant] => variant,
            _ => return None,
        };
        Some(Self {
            variant: variant.to_owned(),
            pickled,
            sharded,
            stem,
            file: file.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_files_are_told_by_name() {
        let parse = |file| Candidate::parse(file).map(|c| (c.variant, c.pickled, c.sharded));
        let is = |v: &str, pickled, sharded| Some((v.to_owned(), pickled, sharded));
        assert_eq!(
            parse("diffusion_pytorch_model.safetensors"),
            is("", false, false)
        );
        assert_eq!(
            parse("diffusion_pytorch_model.fp16.bin"),
            is("fp16", true, false)
        );
        assert_eq!(parse("pytorch_model.bin"), is("", true, false));
        assert_eq!(parse("model.safetensors.index.json"), is("", false, true));
        assert_eq!(
            parse("model.safetensors.index.fp16.json"),
            is("fp16", false, true)
        );
        assert_eq!(
            parse("model.safetensors.fp16.index.json"),
            is("fp16", false, true)
        );
        assert_eq!(parse("pytorch_model.bin.index.json"), is("", true, true));
        for other in [
            "config.json",
            "model.onnx",
            "flax_model.msgpack",
            "diffusion_pytorch_model-00001-of-00002.safetensors",
            "diffusion_pytorch_model.fp16-00001-of-00002.bin.txt",
            "model.json",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
