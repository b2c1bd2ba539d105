//! Adapters that are damaged, or that are made up wrongly: an error that names the file and what is wrong, for every kind of them.
//! Those of LoRAs are in `crates/pipeline/tests/adapters/refusals.rs`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{DType, Device};
use latent_checkpoint::file::write::{Existing, safetensors};
use latent_checkpoint::load::AboutChanges;
use latent_checkpoint::{
    AdapterFile, Checkpoint, Dtype, Error, HypernetworkFile, Inversion, LoadOptions, Network, Role,
    Scheme, TensorFile, TensorInfo,
};
use latent_models::ip_adapter::ProjectionConfig;
use latent_models::t2i::T2iForm;
use latent_models::{ControlNetConfig, IpAdapterConfig, StyleAdapterConfig, T2iAdapterConfig};
use latent_testkit::hostile::hostile_files;

/// Names with shapes.
type Tensors = BTreeMap<String, Vec<usize>>;

/// What reads a kind of adapters as far as its weights.
type Reader = fn(&Path) -> Result<(), String>;

fn said<T>(result: Result<T, impl std::fmt::Display>) -> Result<(), String> {
    result.map(drop).map_err(|e| e.to_string())
}

fn hypernetwork(path: &Path) -> Result<(), String> {
    let read = HypernetworkFile::open(path);
    said(read.and_then(|file| file.load(&Device::flex(), DType::F32)))
}

fn embedding(path: &Path) -> Result<(), String> {
    said(Inversion::open(path))
}

fn lora(path: &Path) -> Result<(), String> {
    said(AdapterFile::open(path).and_then(|file| file.about()))
}

fn network<K: latent_checkpoint::Kind>(path: &Path, role: Role) -> Result<(), String> {
    let options = LoadOptions::new(Device::flex(), DType::F32);
    let opened = Checkpoint::open(path);
    said(opened.and_then(|file| file.load::<K>(role, &options, &mut |_, _| {})))
}

fn ip_adapter(path: &Path) -> Result<(), String> {
    network::<IpAdapterConfig>(path, Role::IP_ADAPTER)
}

fn t2i(path: &Path) -> Result<(), String> {
    network::<T2iAdapterConfig>(path, Role::T2I_ADAPTER)
}

fn style(path: &Path) -> Result<(), String> {
    network::<StyleAdapterConfig>(path, Role::STYLE_ADAPTER)
}

fn control(path: &Path) -> Result<(), String> {
    network::<ControlNetConfig>(path, Role::CONTROLNET)
}

#[test]
fn no_reader_of_adapters_takes_a_damaged_file() {
    let readers: [(&str, Reader); 7] = [
        ("hypernetwork", hypernetwork),
        ("embedding", embedding),
        ("lora", lora),
        ("ip_adapter", ip_adapter),
        ("t2i", t2i),
        ("style", style),
        ("control", control),
    ];
    let dir = tempfile::tempdir().unwrap();
    let mut taken = Vec::new();
    for hostile in hostile_files(dir.path()) {
        for (name, reader) in readers {
            let words = match reader(&hostile.path) {
                Ok(()) => "it was accepted".to_owned(),
                Err(words) => words,
            };
            // The names of files in a folder are under it.
            if !words.contains(&*hostile.path.to_string_lossy()) || words.len() > 4000 {
                taken.push(format!("{name} {}: {words}", hostile.name));
            }
        }
    }
    assert!(taken.is_empty(), "{}:\n{}", taken.len(), taken.join("\n"));
}

/// A file of these tensors, zeros but for one value.
fn write(path: &Path, tensors: &Tensors, first: f32, metadata: &[(&str, &str)]) {
    let infos: Vec<TensorInfo> = tensors
        .iter()
        .map(|(name, shape)| TensorInfo {
            name: name.clone(),
            dtype: Dtype::F32,
            shape: shape.clone(),
        })
        .collect();
    let metadata = metadata.iter();
    let metadata = metadata.map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    safetensors::<Error>(
        path,
        &infos,
        &metadata.collect(),
        Existing::Replace,
        |info| {
            let mut values = vec![0f32; info.shape.iter().product()];
            if let Some(value) = values.first_mut() {
                *value = first;
            }
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            Ok(bytes.into())
        },
    )
    .unwrap();
}

fn named(network: Network, scheme: Scheme) -> Tensors {
    let table = network.table(scheme);
    let parameters = network.parameters().into_iter();
    parameters
        .map(|(name, shape)| (table.place(&name).expect("a name").name, shape))
        .collect()
}

fn of_hypernetwork() -> Tensors {
    let mut all = Tensors::new();
    for side in [0, 1] {
        for (index, shape) in [(0, vec![8, 4]), (2, vec![4, 8])] {
            all.insert(format!("4.{side}.linear.{index}.bias"), vec![shape[0]]);
            all.insert(format!("4.{side}.linear.{index}.weight"), shape);
        }
    }
    all
}

fn of_ip_adapter() -> Tensors {
    named(
        IpAdapterConfig {
            projection: ProjectionConfig::Linear {
                input: 6,
                tokens: 2,
            },
            context: 8,
            attentions: vec![4, 4, 6],
        }
        .into(),
        Scheme::Diffusers,
    )
}

fn of_t2i() -> Tensors {
    named(
        T2iAdapterConfig {
            in_channels: 1,
            unshuffle: 8,
            channels: vec![8, 8, 12, 12],
            resblocks: 2,
            form: T2iForm::Full,
        }
        .into(),
        Scheme::Ldm,
    )
}

fn of_style() -> Tensors {
    let mut all = Tensors::new();
    set(&mut all, "style_embedding", &[1, 2, 8]);
    set(&mut all, "proj", &[8, 6]);
    for (stem, inside) in [
        ("ln_pre.", vec![8]),
        ("ln_post.", vec![8]),
        ("transformer_layes.0.ln_1.", vec![8]),
        ("transformer_layes.0.ln_2.", vec![8]),
        ("transformer_layes.0.attn.in_proj_", vec![24, 8]),
        ("transformer_layes.0.attn.out_proj.", vec![8, 8]),
        ("transformer_layes.0.mlp.c_fc.", vec![32, 8]),
        ("transformer_layes.0.mlp.c_proj.", vec![8, 32]),
    ] {
        set(&mut all, &format!("{stem}bias"), &inside[..1]);
        set(&mut all, &format!("{stem}weight"), &inside);
    }
    all
}

type Change = fn(&mut Tensors);

/// The kind, what is changed of a good file, its first value, its metadata, and what the error must say.
type Case<'a> = (
    &'a str,
    Change,
    f32,
    &'a [(&'a str, &'a str)],
    &'a [&'a str],
);

fn set(all: &mut Tensors, name: &str, shape: &[usize]) {
    all.insert(name.to_owned(), shape.to_vec());
}

#[test]
fn what_does_not_go_together_says_so() {
    let nothing: Change = |_| {};
    let cases: &[Case<'_>] = &[
        ("hypernetwork", nothing, f32::NAN, &[], &["NaN"]),
        ("hypernetwork", nothing, f32::INFINITY, &[], &["inf"]),
        (
            "hypernetwork",
            nothing,
            0.0,
            &[("activation_func", "prelu")],
            &["prelu", "leakyrelu"],
        ),
        (
            "hypernetwork",
            |all| all.retain(|name, _| !name.starts_with("4.1.")),
            0.0,
            &[],
            &["keys alone"],
        ),
        (
            "hypernetwork",
            |all| drop(all.remove("4.0.linear.0.bias")),
            0.0,
            &[],
            &["place 0", "not the other"],
        ),
        (
            "hypernetwork",
            |all| set(all, "4.0.linear.2.weight", &[4, 7]),
            0.0,
            &[],
            &["4.0.linear.2.weight", "reads 7 numbers", "gives 8"],
        ),
        (
            "hypernetwork",
            |all| {
                set(all, "4.0.linear.2.weight", &[5, 8]);
                set(all, "4.0.linear.2.bias", &[5]);
            },
            0.0,
            &[],
            &["gives 5 numbers", "4 are to be bent"],
        ),
        (
            "hypernetwork",
            |all| {
                set(all, "4.1.linear.0.weight", &[6, 4]);
                set(all, "4.1.linear.0.bias", &[6]);
                set(all, "4.1.linear.2.weight", &[4, 6]);
            },
            0.0,
            &[],
            &["keys and for values differ"],
        ),
        (
            "hypernetwork",
            |all| set(all, "optimizer.state", &[2]),
            0.0,
            &[],
            &["optimizer.state", "no layer"],
        ),
        (
            "hypernetwork",
            |all| {
                set(all, "4.0.linear.1.weight", &[8]);
                set(all, "4.0.linear.1.bias", &[8]);
            },
            0.0,
            &[],
            &["normalised and others are not"],
        ),
        (
            "hypernetwork",
            |all| set(all, "4.0.linear.0.weight", &[8, 4, 1]),
            0.0,
            &[],
            &["[8, 4, 1]", "reads 4 numbers"],
        ),
        (
            "hypernetwork",
            |all| {
                all.clear();
                for side in [0, 1] {
                    set(all, &format!("0.{side}.linear.0.weight"), &[0, 0]);
                    set(all, &format!("0.{side}.linear.0.bias"), &[0]);
                }
            },
            0.0,
            &[],
            &["at least 1"],
        ),
        (
            "embedding",
            |all| {
                all.clear();
                set(all, "a", &[2, 4]);
                set(all, "b", &[2, 4]);
            },
            0.0,
            &[],
            &["no textual inversion", "2 tensors"],
        ),
        (
            "embedding",
            |all| {
                all.clear();
                set(all, "emb_params", &[0, 4]);
            },
            0.0,
            &[],
            &["no vector"],
        ),
        (
            "embedding",
            |all| {
                all.clear();
                set(all, "clip_l", &[2, 4]);
                set(all, "clip_g", &[3, 5]);
            },
            0.0,
            &[],
            &["2 vectors", "3 for the second"],
        ),
        (
            "embedding",
            |all| {
                all.clear();
                set(all, "emb_params", &[2, 4]);
            },
            f32::NAN,
            &[],
            &["emb_params", "NaN"],
        ),
        ("ip_adapter", nothing, f32::NAN, &[], &["NaN"]),
        (
            "ip_adapter",
            |all| set(all, "ip_adapter.3.to_v_ip.weight", &[4, 9]),
            0.0,
            &[],
            &["ip_adapter.3.to_v_ip.weight", "[4, 9]"],
        ),
        (
            "ip_adapter",
            |all| drop(all.remove("ip_adapter.1.to_v_ip.weight")),
            0.0,
            &[],
            &["ip_adapter.1.to_v_ip.weight"],
        ),
        (
            "ip_adapter",
            |all| set(all, "image_proj.proj.weight", &[17, 6]),
            0.0,
            &[],
            &["image_proj"],
        ),
        (
            "ip_adapter",
            |all| all.retain(|name, _| name.starts_with("image_proj")),
            0.0,
            &[],
            &[""],
        ),
        (
            "ip_adapter",
            |all| set(all, "image_proj.more.weight", &[1]),
            0.0,
            &[],
            &["image_proj.more.weight"],
        ),
        ("t2i", nothing, f32::INFINITY, &[], &["inf"]),
        (
            "t2i",
            |all| set(all, "conv_in.weight", &[8, 65, 3, 3]),
            0.0,
            &[],
            &["conv_in.weight", "65"],
        ),
        (
            "t2i",
            |all| drop(all.remove("body.3.block2.weight")),
            0.0,
            &[],
            &["body.3.block2.weight"],
        ),
        (
            "t2i",
            |all| set(all, "body.0.block1.weight", &[8, 8]),
            0.0,
            &[],
            &["body.0.block1.weight"],
        ),
        ("style", nothing, f32::NAN, &[], &["NaN"]),
        (
            "style",
            |all| set(all, "style_embedding", &[2, 8]),
            0.0,
            &[],
            &["style_embedding", "3 dimensions"],
        ),
        (
            "style",
            |all| all.retain(|name, _| !name.starts_with("transformer_layes")),
            0.0,
            &[],
            &["transformer_layes.0"],
        ),
        (
            "style",
            |all| set(all, "transformer_layes.0.attn.in_proj_weight", &[16, 8]),
            0.0,
            &[],
            &["transformer_layes.0.attn.in_proj_weight", "[16, 8]"],
        ),
        (
            "style",
            |all| set(all, "task_embedding", &[16, 8]),
            0.0,
            &[],
            &["task_embedding"],
        ),
        (
            "control",
            |all| {
                all.clear();
                set(all, "control_model.zero_convs.0.0.weight", &[4, 4, 1, 1]);
                set(
                    all,
                    "control_model.input_hint_block.0.weight",
                    &[16, 3, 3, 3],
                );
            },
            0.0,
            &[],
            &[""],
        ),
    ];
    assert!(cases.len() >= 25, "{}", cases.len());
    let dir = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for (i, (kind, change, first, metadata, words)) in cases.iter().enumerate() {
        let (good, reader): (Tensors, Reader) = match *kind {
            "hypernetwork" => (of_hypernetwork(), hypernetwork),
            "embedding" => (Tensors::new(), embedding),
            "ip_adapter" => (of_ip_adapter(), ip_adapter),
            "t2i" => (of_t2i(), t2i),
            "style" => (of_style(), style),
            _ => (Tensors::new(), control),
        };
        let path: PathBuf = dir.path().join(format!("{i}.safetensors"));
        if !good.is_empty() {
            write(&path, &good, 0.0, &[]);
            assert_eq!(reader(&path), Ok(()), "{kind} as it should be");
        }
        let mut tensors = good;
        change(&mut tensors);
        write(&path, &tensors, *first, metadata);
        let said = match reader(&path) {
            Ok(()) => "it was accepted".to_owned(),
            Err(said) => said,
        };
        let names = said.contains(&*path.to_string_lossy());
        if !names || words.iter().any(|word| !said.contains(word)) || said.len() > 2000 {
            wrong.push(format!("{i} {kind} (wants {words:?}): {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// A Control-LoRA tells its rank and its family by its shapes.
#[test]
fn changes_of_a_denoiser_say_what_they_are() {
    let mut all = Tensors::new();
    set(&mut all, "lora_controlnet", &[]);
    let stem = "input_blocks.4.1.transformer_blocks.0.attn2";
    for (part, input) in [("to_k", 2048), ("to_q", 640)] {
        set(&mut all, &format!("{stem}.{part}.up"), &[640, 16]);
        set(&mut all, &format!("{stem}.{part}.down"), &[16, input]);
    }
    set(&mut all, "input_hint_block.0.weight", &[16, 3, 3, 3]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control-lora.safetensors");
    write(&path, &all, 0.0, &[]);
    let file = TensorFile::open(&path).unwrap();
    let about = AboutChanges::of(&file).expect("it has the mark");
    assert!(about.low_rank);
    assert_eq!(about.ranks, Some([16, 16]));
    assert_eq!(about.context, Some(2048));
    assert_eq!((about.changed, about.own), (2, 1));

    all.remove("lora_controlnet");
    write(&path, &all, 0.0, &[]);
    assert_eq!(AboutChanges::of(&TensorFile::open(&path).unwrap()), None);
}
