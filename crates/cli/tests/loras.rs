//! LoRAs on the command line.

mod common;

use std::collections::HashMap;
use std::path::Path;

use common::{Place, TINY};
use half::f16;
use latent_testkit::recipe;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

const STEM: &str = "down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k";
const TEXT: &str = "text_model_encoder_layers_0_self_attn_q_proj";

/// A LoRA of rank 2 for a layer of the denoiser and one of the text encoder, of widths 32 and 48.
fn lora(path: &Path, metadata: &[(&str, &str)]) {
    let names = [
        (format!("lora_unet_{STEM}.lora_down.weight"), vec![2, 48]),
        (format!("lora_unet_{STEM}.lora_up.weight"), vec![32, 2]),
        (format!("lora_te_{TEXT}.lora_down.weight"), vec![2, 48]),
        (format!("lora_te_{TEXT}.lora_up.weight"), vec![48, 2]),
    ];
    let tensors = names.map(|(name, shape)| {
        let values = recipe::tensor_f16(&name, &shape, 0);
        let bytes: Vec<u8> = values.iter().flat_map(|v: &f16| v.to_le_bytes()).collect();
        (name, shape, bytes)
    });
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (
            name.as_str(),
            TensorView::new(Dtype::F16, shape.clone(), bytes).unwrap(),
        )
    });
    let metadata: HashMap<_, _> = metadata
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    std::fs::write(path, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
}

fn place() -> Place {
    let place = Place::new();
    std::fs::create_dir(place.path().join("loras")).unwrap();
    let metadata = [
        ("ss_base_model_version", "sd_v1-5"),
        ("ss_output_name", "soft"),
        (
            "ss_tag_frequency",
            "{\"10_cat\": {\"fluffy cat\": 12, \"grass\": 3}}",
        ),
        ("modelspec.title", "Fluffy\u{1b}[31m"),
    ];
    lora(&place.path().join("loras/fluffy.safetensors"), &metadata);
    place
}

#[test]
fn a_lora_is_named_by_flag_and_by_prompt() {
    let place = place();
    place.draw(&["-o", "plain.png"]);
    place.draw(&[
        "--lora",
        "loras/fluffy.safetensors:0.8:0.5",
        "-o",
        "flag.png",
    ]);
    place.ok(&[
        "generate",
        "a cat <lora:fluffy:0.5:0.8>",
        "--size",
        "64x48",
        "--steps",
        "2",
        "-s",
        "3",
        "-m",
        TINY,
        "--loras",
        "loras",
        "-o",
        "tag.png",
    ]);
    place.draw(&[
        "--lora",
        "soft:0.8:0.5",
        "--lora-model-dir",
        "loras",
        "-o",
        "alias.png",
    ]);
    let [plain, flag, tag, alias] =
        ["plain", "flag", "tag", "alias"].map(|name| place.picture(&format!("{name}.png")));
    assert!(plain.rgb() != flag.rgb() && flag.rgb() == tag.rgb() && flag.rgb() == alias.rgb());
    // What a picture says draws it again.
    place.ok(&["generate", "--from", "flag.png", "-o", "again.png"]);
    assert_eq!(place.picture("again.png").rgb(), flag.rgb());
    let line = [
        "generate",
        "--from",
        "tag.png",
        "--loras",
        "loras",
        "-o",
        "once_more.png",
    ];
    place.ok(&line);
    assert_eq!(place.picture("once_more.png").rgb(), flag.rgb());
    let text = place.ok(&["info", "tag.png"]);
    assert!(text.contains("Lora hashes: \"fluffy: "), "{text}");
    // Other prompts bring other LoRAs.
    std::fs::write(
        place.path().join("prompts.txt"),
        "a cat\na cat <lora:fluffy:0.5:0.8>\na cat\n",
    )
    .unwrap();
    let line = [
        "generate",
        "--prompts-from",
        "prompts.txt",
        "--loras",
        "loras",
        "--size",
        "64x48",
        "--steps",
        "2",
        "-s",
        "3",
        "-m",
        TINY,
        "-o",
        "many.png",
    ];
    place.ok(&line);
    let many: Vec<_> = (1..=3)
        .map(|i| place.picture(&format!("many-{i:05}.png")))
        .collect();
    assert!(
        many[0].rgb() == plain.rgb() && many[1].rgb() == flag.rgb() && many[2].rgb() == plain.rgb()
    );
}

#[test]
fn what_cannot_be_used_is_refused_before_drawing() {
    let place = place();
    let base = [
        "generate", "a cat", "--size", "64x48", "--steps", "2", "-m", TINY, "-o", "a.png",
    ];
    let fails = |more: &[&str]| place.fails(&[&base[..], more].concat(), 2);
    for (line, words) in [
        (
            &["--lora", "nobody:0.5"][..],
            &["--lora", "nobody", "--loras DIR"][..],
        ),
        (
            &["--lora", "loras/fluffy.safetensors:nan"],
            &["--lora", "number"],
        ),
        (
            &["--lora", "loras/fluffy.safetensors:1000"],
            &["loras.strength", "1000"],
        ),
        (&["--lora", TINY], &["checkpoint and no LoRA"]),
        (
            &["-p", "x <lora:fluffy:much>", "--loras", "loras"],
            &["<lora:fluffy:much>", "a number"],
        ),
        (&["--lora", "fluffy", "--loras", "nowhere"], &["nowhere"]),
        (
            &["--lora", "fluffy:1:blocks=1,2", "--loras", "loras"],
            &["2 block weights"],
        ),
    ] {
        let base = match line[0] {
            "-p" => [&["generate"][..], &base[2..]].concat(),
            _ => base.to_vec(),
        };
        let error = place.fails(&[&base[..], line].concat(), 2);
        for word in words {
            assert!(error.contains(word), "{line:?}: {word}: {error}");
        }
    }
    std::fs::write(place.path().join("cut.safetensors"), b"\x10\0\0\0\0\0\0\0{").unwrap();
    assert!(fails(&["--lora", "cut.safetensors"]).contains("cut.safetensors"));
    assert!(!place.path().join("a.png").exists());
    let said = place.run(
        &[
            &base[..],
            &["--compat", "comfyui", "--prompt-2", "x <lora:fluffy:1>"],
        ]
        .concat(),
    );
    let said = String::from_utf8_lossy(&said.stderr)
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    assert!(said.contains("A1111 alone reads LoRAs"), "{said}");
}

#[test]
fn info_says_what_a_lora_is() {
    let place = place();
    let text = place.ok(&["info", "loras/fluffy.safetensors", "--hash"]);
    for words in [
        "LoRA (2 modules)",
        "Stable Diffusion 1.x",
        "tokens of width 48",
        "kohya",
        "rank 2",
        "none: as the rank",
        "fluffy cat (12), grass (3)",
        "Fluffy\\u{1b}[31m",
        "A1111's hash",
    ] {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains(words), "{words}: {text}");
    }
    let json: Value = serde_json::from_str(&place.ok(&[
        "info",
        "soft",
        "--loras",
        "loras",
        "--json",
        "--tensors",
    ]))
    .unwrap();
    assert_eq!(json["kind"], "adapter");
    assert_eq!(json["family"], "Stable Diffusion 1.x");
    assert_eq!(json["about"]["ranks"]["most"], 2.0);
    assert_eq!(json["tensors"].as_array().unwrap().len(), 4);
    let error = place.fails(&["info", "nobody", "--loras", "loras"], 2);
    assert!(error.contains("nobody"), "{error}");
}

#[test]
fn loras_are_renamed_merged_and_extracted() {
    let place = place();
    let fluffy = "loras/fluffy.safetensors";
    let names = |from: &str, to: &str, names: &str| {
        place.ok(&["convert", from, to, "--names", names, "--like", TINY]);
    };
    names(fluffy, "a.safetensors", "diffusers");
    names("a.safetensors", "b.safetensors", "comfyui");
    for file in [fluffy, "a.safetensors", "b.safetensors"] {
        place.draw(&[
            "--lora",
            &format!("{file}:0.8"),
            "--overwrite",
            "-o",
            "drawn.png",
        ]);
        let drawn = place.picture("drawn.png");
        place.draw(&[
            "--lora",
            &format!("{fluffy}:0.8"),
            "--overwrite",
            "-o",
            "drawn.png",
        ]);
        assert_eq!(drawn.rgb(), place.picture("drawn.png").rgb(), "{file}");
    }
    let error = place.fails(&["convert", fluffy, "c.safetensors"], 2);
    assert!(
        error.contains("--names") && error.contains("kohya-original"),
        "{error}"
    );
    let error = place.fails(&["convert", fluffy, "c.ckpt", "--names", "diffusers"], 2);
    assert!(error.contains(".safetensors"), "{error}");
    // Its shapes are those of no published model, and what its trainer states does not fit them.
    let error = place.fails(
        &["convert", fluffy, "c.safetensors", "--names", "pytorch"],
        2,
    );
    assert!(error.contains("expected one of kohya"), "{error}");
    let error = place.fails(&["convert", TINY, "c.safetensors", "--names", "kohya"], 2);
    assert!(error.contains("is a checkpoint"), "{error}");

    let merge = [
        "merge",
        TINY,
        "merged.safetensors",
        "--lora",
        "fluffy:0.8",
        "--loras",
        "loras",
        "--dtype",
        "f32",
    ];
    assert!(place.ok(&merge).contains("1 merged"));
    place.draw_with("merged.safetensors", &["-o", "merged.png"]);
    assert_eq!(
        place.picture("merged.png").rgb(),
        place.picture("drawn.png").rgb()
    );
    assert!(place.fails(&merge, 2).contains("exists already"));
    // With another checkpoint: here with what came of it, half and half, and the difference added to nothing new.
    let with = |to: &str, more: &[&str]| {
        let line = [
            "merge",
            TINY,
            to,
            "--with",
            "merged.safetensors",
            "--dtype",
            "f32",
        ];
        place.ok(&[&line[..], more].concat())
    };
    let told = with("half.safetensors", &[]);
    assert!(
        told.contains("1 merged") && told.contains("parameters changed, by"),
        "{told}"
    );
    with("again.safetensors", &["--minus", TINY]);
    place.draw_with("again.safetensors", &["-o", "again.png"]);
    assert_eq!(
        place.picture("again.png").rgb(),
        place.picture("merged.png").rgb()
    );
    let error = place.fails(&["merge", TINY, "x.safetensors"], 2);
    assert!(error.contains("--with"), "{error}");
    let blocks = [
        "merge",
        TINY,
        "x.safetensors",
        "--with",
        TINY,
        "--blocks",
        "1,0",
    ];
    assert!(place.fails(&blocks, 2).contains("2 block weights"));
    let extract = [
        "extract",
        "merged.safetensors",
        "out.safetensors",
        "--base",
        TINY,
        "--rank",
        "4",
        "--kept",
        "0.999999",
        "--dtype",
        "f32",
        "--json",
    ];
    let told: Value = serde_json::from_str(place.ok(&extract).lines().last().unwrap()).unwrap();
    assert_eq!(told["extracted"]["ranks"][1], 2, "{told}");
    assert!(told["extracted"]["kept"].as_f64().unwrap() > 0.999);
    let info = place.ok(&["info", "out.safetensors"]);
    assert!(info.contains("LoRA (2 modules)"), "{info}");
}
