//! Files that do not fit, or are damaged: each is refused with what is wrong, and nothing panics.

use std::path::Path;

use latent_checkpoint::adapter::{BlockWeights, Strengths};
use latent_checkpoint::tiny::{TinyFamily, write_family};
use latent_pipeline::{Model, ModelFiles};
use latent_testkit::{hostile::hostile_files, recipe};

use burn::tensor::{DType, Device};

use super::made::{Values, kohya, spelled, write};
use super::{Place, probe, strengths};

fn values(shape: &[usize]) -> Values {
    let count = shape.iter().product();
    Values {
        shape: shape.to_vec(),
        numbers: vec![0.5; count],
        whole: false,
    }
}

fn number(value: f32) -> Values {
    Values {
        numbers: vec![value],
        ..values(&[])
    }
}

/// A query of the denoiser's first attention, of width 32; its keys read tokens of width 48.
const QUERY: &str = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";
const KEY: &str = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k";

fn low(stem: &str, [o, i, r]: [usize; 3]) -> Vec<(String, Values)> {
    vec![
        (format!("{stem}.lora_down.weight"), values(&[r, i])),
        (format!("{stem}.lora_up.weight"), values(&[o, r])),
    ]
}

/// What is wrong, the tensors of a file, and what is said of it.
type Misfit<'a> = (&'a str, Vec<(String, Values)>, &'a [&'a str]);

#[test]
fn misfits_say_what_is_wrong() {
    let place = Place::new();
    let fits = || low(QUERY, [32, 32, 2]);
    let with = |more: Vec<(String, Values)>| [fits(), more].concat();
    let one = |part: &str, value: Values| vec![(format!("{QUERY}.{part}"), value)];
    let cases: Vec<Misfit<'_>> = vec![
        (
            "a module that the model has not",
            with(low("lora_unet_nothing", [32, 32, 2])),
            &["2 of its 4 tensors", "lora_unet_nothing"],
        ),
        (
            "an unknown part",
            with(one("lora_sideways.weight", values(&[2, 2]))),
            &["lora_sideways"],
        ),
        (
            "another width",
            low(QUERY, [32, 48, 2]),
            &["[2, 48]", "[2, 32]"],
        ),
        (
            "tokens of another width",
            low(KEY, [32, 80, 2]),
            &["width 80", "width 48"],
        ),
        (
            "tokens of SDXL",
            low(KEY, [32, 2048, 2]),
            &["made for SDXL", "Stable Diffusion 1.x"],
        ),
        (
            "tokens of Stable Diffusion 2",
            low(KEY, [32, 1024, 2]),
            &["made for Stable Diffusion 2.x"],
        ),
        (
            "a second text encoder",
            with(low(
                "lora_te2_text_model_encoder_layers_0_mlp_fc1",
                [192, 48, 2],
            )),
            &["made for SDXL"],
        ),
        (
            "two ranks",
            vec![
                (format!("{QUERY}.lora_down.weight"), values(&[2, 32])),
                (format!("{QUERY}.lora_up.weight"), values(&[32, 3])),
            ],
            &["lora_up", "[32, 3]", "[32, 2]"],
        ),
        ("no rank", low(QUERY, [32, 32, 0]), &["lora_down"]),
        (
            "half of it",
            fits()[..1].to_vec(),
            &["lora_down", "`lora_up` is missing"],
        ),
        (
            "the other half",
            fits()[1..].to_vec(),
            &["lora_up", "`lora_down` is missing"],
        ),
        (
            "two kinds at once",
            with(one("hada_w1_a", values(&[32, 2]))),
            &["hada_w1_a", "missing"],
        ),
        (
            "a difference beside it",
            with(one("diff", values(&[32, 32]))),
            &["diff", "does not go with"],
        ),
        (
            "an alpha of three",
            with(one("alpha", values(&[3]))),
            &["alpha", "one number"],
        ),
        (
            "an alpha that is none",
            with(one("alpha", number(f32::NAN))),
            &["alpha", "NaN"],
        ),
        (
            "magnitudes of another width",
            with(one("dora_scale", values(&[31, 1]))),
            &["dora_scale", "[31, 1]"],
        ),
        (
            "a bias of another width",
            with(vec![(
                "lora_unet_time_embedding_linear_2.diff_b".into(),
                values(&[7]),
            )]),
            &["diff_b"],
        ),
        (
            "two spellings of one module",
            [
                fits(),
                low(
                    "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q",
                    [32, 32, 2],
                ),
            ]
            .concat(),
            &["two names of one module"],
        ),
        (
            "a part twice",
            with(one("lora_A.weight", values(&[2, 32]))),
            &["same part"],
        ),
        (
            "blocks that do not divide",
            one("oft_blocks", values(&[6, 5, 5])),
            &["oft_blocks"],
        ),
        (
            "butterflies of odd blocks",
            one("oft_blocks", values(&[2, 32, 1, 1])),
            &["oft_blocks"],
        ),
        (
            "factors of a LoKr",
            [
                one("lokr_w1", values(&[5, 4])),
                one("lokr_w2", values(&[8, 8])),
            ]
            .concat(),
            &["lokr_w2"],
        ),
        (
            "an IA³ of another width",
            [one("weight", values(&[33])), one("on_input", number(1.0))].concat(),
            &["weight"],
        ),
        (
            "a T-LoRA",
            with(one("lambda_layer", values(&[1, 2]))),
            &["T-LoRA", "time step"],
        ),
        (
            "nothing known",
            vec![("emb_params".into(), values(&[2, 768]))],
            &["no adapter", "emb_params"],
        ),
        ("no tensors", Vec::new(), &["no tensors"]),
    ];
    assert!(cases.len() > 24);
    for (what, tensors, words) in cases {
        let path = place.file("case.safetensors", &tensors);
        let error = place.refused(&path);
        for word in words {
            assert!(error.contains(word), "{what}: {word}: {error}");
        }
        assert!(error.contains("case.safetensors"), "{what}: {error}");
    }
    // What is missing and may be.
    let path = place.file("whole.safetensors", &fits());
    place.model(&[(&path, 1.0.into())]);
}

#[test]
fn weights_that_are_no_numbers_are_refused_while_they_are_read() {
    let place = Place::new();
    let mut tensors = low(QUERY, [32, 32, 2]);
    tensors[0].1.numbers[5] = f32::NAN;
    let path = place.file("nan.safetensors", &tensors);
    let error = place.refused(&path);
    assert!(
        error.contains("lora_down") && error.contains("element 5 is NaN"),
        "{error}"
    );
    let mut tensors = low(QUERY, [32, 32, 2]);
    tensors[1].1.numbers.fill(6e4);
    tensors.push((format!("{QUERY}.alpha"), number(6e4)));
    let path = place.file("large.safetensors", &tensors);
    let text = place.open(&[(&path, Strengths::from(1e38))], DType::F32);
    assert!(text.is_err(), "a sum that is infinite");
}

#[test]
fn damaged_files_and_pickles_that_run_are_refused() {
    let place = Place::new();
    let whole = place.kohya("attention");
    let bytes = std::fs::read(&whole).unwrap();
    for keep in [0, 7, 64, bytes.len() / 2, bytes.len() - 1] {
        let path = place.path("cut.safetensors");
        std::fs::write(&path, &bytes[..keep]).unwrap();
        assert!(!place.refused(&path).is_empty(), "{keep}");
    }
    let folder = place.path("hostile");
    std::fs::create_dir(&folder).unwrap();
    for file in hostile_files(&folder) {
        let opened = place.open(&[(&file.path, 1.0.into())], DType::F32);
        assert!(opened.is_err(), "{}", file.name);
    }
    let checkpoint = place.refused(&place.model);
    assert!(
        checkpoint.contains("checkpoint and no LoRA"),
        "{checkpoint}"
    );
    let folder = place.path("empty");
    std::fs::create_dir(&folder).unwrap();
    assert!(place.refused(&folder).contains("holds no adapter"));
    std::fs::write(
        folder.join("adapter_config.json"),
        "{\"peft_type\": \"IA3\"}",
    )
    .unwrap();
    assert!(place.refused(&folder).contains("adapter_model.safetensors"));
    write(
        &folder.join("adapter_model.safetensors"),
        &spelled(&place.named("attention"), "base_model"),
        &[],
    );
    assert!(place.refused(&folder).contains("`peft_type` is \"IA3\""));
    std::fs::write(folder.join("adapter_config.json"), "[").unwrap();
    assert!(place.refused(&folder).contains("adapter_config.json"));
}

#[test]
fn the_family_of_another_model_is_named() {
    let place = Place::new();
    let dir = place.path("xl");
    std::fs::create_dir(&dir).unwrap();
    let xl = write_family(&dir, TinyFamily::Sdxl, &mut |folder, name, shape| {
        recipe::tensor_f16(&format!("{folder}/{name}"), shape, 0)
    });
    let path = place.path("sd1.safetensors");
    let metadata = [("ss_base_model_version", "sd_v1-5")];
    write(&path, &kohya(&place.named("attention")), &metadata);
    let files = ModelFiles {
        adapters: super::uses(&[(&path, 1.0.into())]),
        ..ModelFiles::from(xl.unwrap().safetensors)
    };
    let opened = Model::declare(&files, &Device::flex(), DType::F32);
    let error = opened.map(|_| ()).unwrap_err().to_string();
    assert!(
        error.contains("made for Stable Diffusion 1.x") && error.contains("family SDXL"),
        "{error}"
    );
}

#[test]
fn block_weights_and_ranks() {
    let place = Place::new();
    let path = place.kohya("attention");
    let plain = probe(&place.model(&[]));
    let full = probe(&place.model(&[(&path, 1.0.into())]));
    let blocks = |weights: Vec<f64>| Strengths {
        blocks: Some(BlockWeights::new(weights).unwrap()),
        ..Strengths::from(1.0)
    };
    assert_eq!(probe(&place.model(&[(&path, blocks(vec![1.0; 17]))])), full);
    assert_eq!(
        probe(&place.model(&[(&path, blocks(vec![0.0; 26]))])),
        plain
    );
    let mut middle = vec![0.0; 26];
    middle[13] = 1.0;
    let only = probe(&place.model(&[(&path, blocks(middle))]));
    assert!(only != plain && only != full);
    let wrong = place.open(&[(&path, blocks(vec![1.0; 12]))], DType::F32);
    let error = wrong.map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("expected 17 or 26"), "{error}");

    let ranks = |ranks| Strengths {
        ranks: Some(ranks),
        ..Strengths::from(1.0)
    };
    assert_eq!(probe(&place.model(&[(&path, ranks(9))])), full);
    let fewer = probe(&place.model(&[(&path, ranks(1))]));
    assert!(fewer != full && fewer != plain);
    let loha = place.kohya("loha");
    let error = place
        .open(&[(&loha, ranks(1))], DType::F32)
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("plain LoRAs alone"), "{error}");
    let error = place.open(&[(&path, strengths(f64::NAN, 1.0))], DType::F32);
    assert!(
        error
            .map(|_| ())
            .unwrap_err()
            .to_string()
            .contains("strength is NaN")
    );
}

#[test]
fn an_inpainting_model_takes_what_was_made_for_four_channels() {
    let place = Place::with_channels(9);
    let path: &Path = &place.kohya("locon");
    place.model(&[(path, 1.0.into())]);
    // `conv_in` of it is wider than the adapter's.
    let full = place.kohya("full");
    place.model(&[(&full, 1.0.into())]);
}
