//! Adapters by recipe: those of the goldens `adapters_lora`, in kohya's names, and the same in every other spelling.

use std::collections::BTreeMap;
use std::path::Path;

use half::f16;
use latent_checkpoint::file::write::{Existing, safetensors};
use latent_checkpoint::{Dtype, Network, Role, Scheme, TensorInfo};
use latent_testkit::recipe;

/// A module of a model.
#[derive(Clone, Debug)]
pub struct Site {
    /// kohya's name of it, in diffusers' paths.
    pub name: String,
    pub role: Role,
    /// Its path, and in the original names.
    pub path: String,
    pub original: Option<String>,
    /// Of its weight.
    pub shape: Vec<usize>,
}

/// Every module of networks that has a weight.
pub fn sites(networks: &[(Role, Network)]) -> Vec<Site> {
    let two = networks.len() > 2;
    let mut sites = Vec::new();
    for (role, network) in networks {
        let start = match (*role, two) {
            (Role::DENOISER, _) => "lora_unet_",
            (Role::TEXT_ENCODER, false) => "lora_te_",
            (Role::TEXT_ENCODER, true) => "lora_te1_",
            _ => "lora_te2_",
        };
        let table = (*role == Role::DENOISER).then(|| network.table(Scheme::Ldm));
        for (parameter, shape) in network.parameters() {
            let Some(path) = parameter.strip_suffix(".weight") else {
                continue;
            };
            let place = table.as_ref().and_then(|table| table.place(&parameter));
            let original = place.map(|place| place.name.trim_end_matches(".weight").to_owned());
            sites.push(Site {
                name: format!("{start}{}", path.replace('.', "_")),
                role: *role,
                path: path.to_owned(),
                original,
                shape,
            });
        }
    }
    sites
}

/// Numbers of a tensor, all of which f16 holds.
#[derive(Clone, Debug)]
pub struct Values {
    pub shape: Vec<usize>,
    pub numbers: Vec<f32>,
    /// A whole number, stored as i64.
    pub whole: bool,
}

/// An adapter: module, part, numbers.
pub type Adapter = Vec<(Site, &'static str, Values)>;

/// What one module of a kind keeps, part → shape.
fn shapes(kind: &str, shape: &[usize], r: usize) -> Vec<(&'static str, Vec<usize>)> {
    let (o, i) = (shape[0], shape.get(1).copied().unwrap_or(0));
    let k = shape.get(2..).unwrap_or(&[]);
    let (ones, area): (Vec<usize>, usize) = (vec![1; k.len()], k.iter().product());
    let with = |start: &[usize], end: &[usize]| [start, end].concat();
    let low = || {
        vec![
            ("lora_down.weight", with(&[r, i], k)),
            ("lora_up.weight", with(&[o, r], &ones)),
        ]
    };
    match kind {
        "lora" => low(),
        "mid" => vec![
            ("lora_down.weight", with(&[r, i], &ones)),
            ("lora_mid.weight", with(&[r, r], k)),
            ("lora_up.weight", with(&[o, r], &ones)),
        ],
        "loha" => vec![
            ("hada_w1_a", vec![o, r]),
            ("hada_w1_b", vec![r, i * area]),
            ("hada_w2_a", vec![o, r]),
            ("hada_w2_b", vec![r, i * area]),
        ],
        "loha_tucker" => vec![
            ("hada_t1", with(&[r, r], k)),
            ("hada_w1_a", vec![r, o]),
            ("hada_w1_b", vec![r, i]),
            ("hada_t2", with(&[r, r], k)),
            ("hada_w2_a", vec![r, o]),
            ("hada_w2_b", vec![r, i]),
        ],
        "lokr" => vec![
            ("lokr_w1", vec![4, 4]),
            ("lokr_w2", with(&[o / 4, i / 4], k)),
        ],
        "lokr_low" => vec![
            ("lokr_w1", vec![4, 4]),
            ("lokr_w2_a", vec![o / 4, r]),
            ("lokr_w2_b", vec![r, i / 4 * area]),
        ],
        "lokr_both" => vec![
            ("lokr_w1_a", vec![4, 1]),
            ("lokr_w1_b", vec![1, 4]),
            ("lokr_w2_a", vec![o / 4, 1]),
            ("lokr_w2_b", vec![1, i / 4 * area]),
        ],
        "lokr_tucker" => vec![
            ("lokr_w1", vec![4, 4]),
            ("lokr_t2", with(&[r, r], k)),
            ("lokr_w2_a", vec![r, o / 4]),
            ("lokr_w2_b", vec![r, i / 4]),
        ],
        "full" => vec![("diff", with(&[o, i], k)), ("diff_b", vec![o])],
        "norm" => vec![("w_norm", vec![o]), ("b_norm", vec![o])],
        "dora" => [low(), vec![("dora_scale", with(&[o, 1], &ones))]].concat(),
        "dora_in" => [low(), vec![("dora_scale", with(&[1, i], &ones))]].concat(),
        "oft" => vec![("oft_blocks", vec![o / r, r, r])],
        "oft_rescaled" => vec![
            ("oft_blocks", vec![o / r, r, r]),
            ("rescale", with(&[o, 1], &ones)),
        ],
        "boft" => vec![("oft_blocks", vec![3, o / r, r, r])],
        "glora" => vec![
            ("a1.weight", with(&[i, r], &ones)),
            ("a2.weight", with(&[r, i], &ones)),
            ("b1.weight", with(&[o, r], &ones)),
            ("b2.weight", with(&[r, i], k)),
        ],
        "ia3" | "ia3_in" => {
            let n = if kind == "ia3" { o } else { i };
            let shape = if k.is_empty() {
                vec![n]
            } else {
                with(&[1, n], &ones)
            };
            vec![("weight", shape)]
        }
        other => panic!("{other}"),
    }
}

/// The adapter `name`: of each module its kind and rank.
pub fn adapter(name: &str, plan: &[(Site, &'static str, usize)]) -> Adapter {
    let mut made = Vec::new();
    for (site, kind, r) in plan {
        let whole = format!("{name}/{}", site.name);
        for (part, shape) in shapes(kind, &site.shape, *r) {
            let key = format!("{whole}.{part}");
            let count: usize = shape.iter().product();
            let numbers = match part {
                "dora_scale" | "rescale" => recipe::tensor(&format!("{key}.weight"), &[count], 0),
                _ if kind.starts_with("ia3") => recipe::tensor(&format!("{key}.ia3"), &[count], 0),
                _ => recipe::tensor(&key, &shape, 0),
            };
            made.push((
                site.clone(),
                part,
                Values {
                    shape,
                    numbers,
                    whole: false,
                },
            ));
        }
        let one = |number: f32, whole: bool| Values {
            shape: Vec::new(),
            numbers: vec![number],
            whole,
        };
        let starts = |words: &[&str]| words.iter().any(|word| kind.starts_with(word));
        if starts(&["lora", "mid", "dora", "glora", "lokr"]) {
            let u = recipe::uniform(&format!("{whole}.alpha"), 0)
                .next()
                .expect("a number");
            let halvings = 1 + (1.5 * (u + 1.0)) as i32;
            made.push((
                site.clone(),
                "alpha",
                one(*r as f32 / 2f32.powi(halvings), false),
            ));
        } else if starts(&["loha"]) {
            made.push((site.clone(), "alpha", one(8.0 * *r as f32, false)));
        } else if kind.contains("oft") {
            let bound = if *kind == "oft" { 0.0625 } else { 0.0 };
            made.push((site.clone(), "alpha", one(bound, false)));
        } else if starts(&["ia3"]) {
            let on_input = f32::from(u8::from(*kind == "ia3_in"));
            made.push((site.clone(), "on_input", one(on_input, true)));
        }
    }
    made
}

const DOWN: &str = "lora_down.weight";
const UP: &str = "lora_up.weight";

/// Every other spelling of a low-rank adapter, and whether it has the text encoder.
pub const DIALECTS: [(&str, bool); 9] = [
    ("kohya", true),
    ("kohya_ldm", true),
    ("peft", true),
    ("attn_procs", true),
    ("diffusers_lora", true),
    ("comfy", true),
    ("base_model", false),
    ("bare_attn_procs", false),
    ("lycoris", false),
];

/// A low-rank adapter in a spelling. Where that keeps no alpha, it is folded into `up`.
pub fn spelled(adapter: &Adapter, dialect: &str) -> Vec<(String, Values)> {
    let flat = |path: &str| path.replace('.', "_");
    let old = |path: &str| {
        let path = path
            .strip_suffix(".0")
            .filter(|p| p.ends_with("to_out"))
            .unwrap_or(path);
        let (attention, which) = path.rsplit_once('.').expect("a path");
        format!("{attention}.processor.{which}_lora")
    };
    let has_text = DIALECTS
        .iter()
        .any(|(name, text)| *name == dialect && *text);
    let mut tensors = Vec::new();
    for (site, part, values) in adapter {
        let path = site.path.as_str();
        let original = || site.original.clone().expect("an original name");
        let stem = match (dialect, site.role == Role::DENOISER) {
            (_, false) if !has_text => continue,
            ("kohya" | "kohya_ldm", false) | ("kohya", true) => site.name.clone(),
            ("kohya_ldm", true) => format!("lora_unet_{}", flat(&original())),
            ("comfy", true) => format!("diffusion_model.{}", original()),
            ("comfy", false) => format!("text_encoders.clip_l.transformer.{path}"),
            ("peft", true) => format!("unet.{path}"),
            ("peft", false) => format!("text_encoder.{path}"),
            ("attn_procs", true) => format!("unet.{}", old(path)),
            ("attn_procs" | "diffusers_lora", false) => {
                format!("text_encoder.{path}.lora_linear_layer")
            }
            ("diffusers_lora", true) => format!("unet.{path}.lora"),
            ("base_model", _) => format!("base_model.model.{path}"),
            ("bare_attn_procs", _) => old(path),
            ("lycoris", _) => format!("lycoris_{}", flat(path)),
            (other, _) => panic!("{other}"),
        };
        let keeps = matches!(dialect, "kohya" | "kohya_ldm" | "comfy" | "lycoris");
        let [down, up] = match dialect {
            "peft" | "comfy" | "base_model" => ["lora_A.weight", "lora_B.weight"],
            "kohya" | "kohya_ldm" | "lycoris" => [DOWN, UP],
            _ => ["down.weight", "up.weight"],
        };
        let mut values = values.clone();
        let ending = match *part {
            DOWN => down,
            UP => {
                if !keeps {
                    let own = |wanted: &str| {
                        let mut all = adapter.iter();
                        let found =
                            all.find(|(other, part, _)| other.name == site.name && *part == wanted);
                        &found.expect("a part").2
                    };
                    let factor = own("alpha").numbers[0] / own(DOWN).shape[0] as f32;
                    values.numbers.iter_mut().for_each(|v| *v *= factor);
                }
                up
            }
            "alpha" if keeps => "alpha",
            _ => continue,
        };
        tensors.push((format!("{stem}.{ending}"), values));
    }
    tensors
}

/// All of an adapter in kohya's names.
pub fn kohya(adapter: &Adapter) -> Vec<(String, Values)> {
    let each = adapter.iter();
    each.map(|(site, part, values)| (format!("{}.{part}", site.name), values.clone()))
        .collect()
}

/// Writes a safetensors file of f16, as the oracle does.
pub fn write(path: &Path, tensors: &[(String, Values)], metadata: &[(&str, &str)]) {
    let infos: Vec<TensorInfo> = tensors
        .iter()
        .map(|(name, values)| TensorInfo {
            name: name.clone(),
            dtype: if values.whole { Dtype::I64 } else { Dtype::F16 },
            shape: values.shape.clone(),
        })
        .collect();
    let named: BTreeMap<&str, &Values> = tensors.iter().map(|(n, v)| (n.as_str(), v)).collect();
    let metadata = metadata
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    let mut bytes = |info: &TensorInfo| {
        let numbers = named[info.name.as_str()].numbers.iter();
        let bytes: Vec<u8> = match info.dtype {
            Dtype::I64 => numbers.flat_map(|v| (*v as i64).to_le_bytes()).collect(),
            _ => numbers
                .flat_map(|v| f16::from_f32(*v).to_le_bytes())
                .collect(),
        };
        Ok::<_, latent_checkpoint::Error>(bytes.into())
    };
    safetensors(path, &infos, &metadata, Existing::Replace, &mut bytes).expect("a file");
}
