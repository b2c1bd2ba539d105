//! Adapters written: in other names, merged into a checkpoint, out of the difference of two.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::DType;
use latent_checkpoint::adapter::{Dialect, ExtractOptions, WRITTEN, extract, rename};
use latent_checkpoint::convert::{ConvertOptions, Target};
use latent_checkpoint::file::write::Existing;
use latent_checkpoint::{AdapterFile, Checkpoint, Dtype, TensorFile};
use latent_pipeline::family;
use latent_pipeline::model::{merge, published};
use latent_testkit::{Golden, closeness};

use super::made::{kohya, spelled, write};
use super::{Place, open, probe, strengths, text, uses};

type Tensors = BTreeMap<String, (Vec<usize>, Dtype, Vec<u8>)>;

fn tensors(path: &Path) -> Tensors {
    let file = TensorFile::open(path).unwrap();
    let each = file.tensors().iter();
    each.map(|info| {
        let bytes = file.bytes(&info.name).unwrap().into_owned();
        (info.name.clone(), (info.shape.clone(), info.dtype, bytes))
    })
    .collect()
}

#[test]
fn names_change_and_no_bit_of_a_number() {
    let golden = Golden::adapters_lora();
    let place = Place::new();
    let model = Checkpoint::open(&place.model).unwrap().targets();
    let first = place.path("first.safetensors");
    let metadata = [
        ("ss_output_name", "soft"),
        ("sshs_model_hash", "0123456789ab"),
    ];
    write(&first, &kohya(&place.named("attention")), &metadata);
    let renamed = |from: &Path, dialect: Dialect| {
        let to = place.path(&format!("{}.safetensors", dialect.words()));
        let file = AdapterFile::open(from).unwrap();
        let left = rename(&file, &model, dialect, &to, Existing::Replace).unwrap();
        assert!(left.is_empty());
        to
    };
    // Round and round; between any two there is the way over the third.
    let mut at = first.clone();
    for dialect in [
        Dialect::Diffusers,
        Dialect::KohyaOriginal,
        Dialect::Comfy,
        Dialect::Diffusers,
        Dialect::Comfy,
        Dialect::Kohya,
    ] {
        at = renamed(&at, dialect);
        let adapted = place.model(&[(&at, 1.0.into())]);
        let difference = closeness(&probe(&adapted), golden.values("attention/unet"));
        assert!(difference < 1e-4, "{dialect:?}: {difference:e}");
        let difference = closeness(&text(&adapted), golden.values("attention/text"));
        assert!(difference < 1e-4, "{dialect:?}: {difference:e}");
    }
    assert_eq!(tensors(&at), tensors(&first));
    let file = TensorFile::open(&at).unwrap();
    assert_eq!(
        file.metadata().get("ss_output_name").map(String::as_str),
        Some("soft")
    );
    assert!(
        !file.metadata().contains_key("sshs_model_hash"),
        "it is another file's"
    );
    // What one program wrote before others is written in their names too.
    for old in ["attn_procs", "diffusers_lora"] {
        let from = place.file("old.safetensors", &spelled(&place.named("attention"), old));
        let to = renamed(&from, Dialect::Kohya);
        let adapted = place.model(&[(&to, 1.0.into())]);
        assert!(
            closeness(&probe(&adapted), golden.values("attention/unet")) < 1e-4,
            "{old}"
        );
    }
    assert_eq!(WRITTEN.len(), 5);
}

#[test]
fn magnitudes_go_to_diffusers_and_back() {
    let golden = Golden::adapters_lora();
    let place = Place::new();
    let model = Checkpoint::open(&place.model).unwrap().targets();
    let first = place.kohya("dora");
    let [peft, back] = ["peft.safetensors", "back.safetensors"].map(|name| place.path(name));
    let file = AdapterFile::open(&first).unwrap();
    rename(&file, &model, Dialect::Diffusers, &peft, Existing::Replace).unwrap();
    let adapted = place.model(&[(&peft, 1.0.into())]);
    assert!(closeness(&probe(&adapted), golden.values("dora/unet")) < 1e-4);
    rename(
        &AdapterFile::open(&peft).unwrap(),
        &model,
        Dialect::Kohya,
        &back,
        Existing::Replace,
    )
    .unwrap();
    assert_eq!(tensors(&back), tensors(&first));
}

#[test]
fn what_a_spelling_cannot_say_is_refused() {
    let place = Place::new();
    let model = Checkpoint::open(&place.model).unwrap().targets();
    let refused = |name: &str, dialect| {
        let file = AdapterFile::open(&place.kohya(name)).unwrap();
        let to = place.path("to.safetensors");
        rename(&file, &model, dialect, &to, Existing::Replace)
            .unwrap_err()
            .to_string()
    };
    assert!(refused("loha", Dialect::Diffusers).contains("LoHa"));
    assert!(refused("dora_in", Dialect::Diffusers).contains("of the inputs"));
    assert!(
        refused("attention", Dialect::Lycoris).contains("no name in the spelling of SimpleTuner")
    );
    let other = published("SDXL").unwrap();
    let file = AdapterFile::open(&place.kohya("attention")).unwrap();
    let error = rename(
        &file,
        &other,
        Dialect::Kohya,
        &place.path("x.safetensors"),
        Existing::Replace,
    );
    assert!(error.unwrap_err().to_string().contains("fits nothing"));
    for (family, networks) in [
        ("Stable Diffusion 1.x", 2),
        ("Stable Diffusion 2.x", 2),
        ("SDXL", 3),
    ] {
        assert_eq!(published(family).unwrap().len(), networks);
    }
    assert!(published("another").is_none());
}

#[test]
fn merged_checkpoints_hold_the_sum_and_it_comes_out_again() {
    let place = Place::new();
    let (attention, locon) = (place.kohya("attention"), place.kohya("locon"));
    let adapters = [
        (attention.as_path(), strengths(0.7, 0.4)),
        (locon.as_path(), 0.5.into()),
    ];
    let want = place.model(&adapters);
    let opened = family::open(&place.model, latent_checkpoint::Files::Disk).unwrap();
    let merged = |name: &str, dtype| {
        let to = place.path(name);
        let options = ConvertOptions {
            target: Target::of(&to).unwrap(),
            dtype,
            moving_average: false,
            existing: Existing::Refuse,
        };
        let pair = (&opened.0, &opened.1);
        let merged = merge(pair, None, &uses(&adapters), &to, &options, &mut |_, _| {}).unwrap();
        assert!(merged.notes.is_empty(), "{:?}", merged.notes);
        to
    };
    let plain = open(
        &merged("sum.safetensors", Some(Dtype::F32)),
        &[],
        DType::F32,
    )
    .unwrap();
    assert_eq!((probe(&plain), text(&plain)), (probe(&want), text(&want)));
    let folder = open(&merged("sum", Some(Dtype::F32)), &[], DType::F32).unwrap();
    assert_eq!(probe(&folder), probe(&want));
    let rounded = open(&merged("half.ckpt", None), &[], DType::F32).unwrap();
    let difference = closeness(&probe(&rounded), &probe(&want));
    assert!((1e-7..5e-3).contains(&difference), "{difference:e}");

    // Of one LoRA of rank 2 the difference is of rank 2 again.
    let one = [(attention.as_path(), 1.0.into())];
    let (tuned, to) = (
        place.path("tuned.safetensors"),
        place.path("extracted.safetensors"),
    );
    let options = ConvertOptions {
        target: Target::Safetensors,
        dtype: Some(Dtype::F32),
        moving_average: false,
        existing: Existing::Refuse,
    };
    merge(
        (&opened.0, &opened.1),
        None,
        &uses(&one),
        &tuned,
        &options,
        &mut |_, _| {},
    )
    .unwrap();
    let (base, tuned) = (
        Checkpoint::open(&place.model).unwrap(),
        Checkpoint::open(&tuned).unwrap(),
    );
    let options = ExtractOptions {
        rank: 4,
        kept: 0.999_999,
        dtype: Dtype::F32,
        existing: Existing::Refuse,
    };
    let found = extract(&base, &tuned, &to, &options, &mut |_, _| {}).unwrap();
    assert_eq!(found.ranks.map(|[_, most]| most), Some(2));
    assert!(
        found.kept > 0.999_99 && found.left_out.is_empty(),
        "{found:?}"
    );
    let golden = Golden::adapters_lora();
    let adapted = place.model(&[(&to, 1.0.into())]);
    for (got, name) in [
        (probe(&adapted), "attention/unet"),
        (text(&adapted), "attention/text"),
    ] {
        let difference = closeness(&got, golden.values(name));
        assert!(difference < 1e-3, "{name}: {difference:e}");
    }
    let again = extract(&base, &tuned, &to, &options, &mut |_, _| {});
    assert!(again.unwrap_err().to_string().contains("exists already"));
    let same = ExtractOptions {
        existing: Existing::Replace,
        ..options
    };
    let error = extract(&base, &base, &to, &same, &mut |_, _| {})
        .unwrap_err()
        .to_string();
    assert!(error.contains("nothing to extract"), "{error}");
}
