//! Every kind and every spelling.

use std::path::Path;

use burn::tensor::DType;
use latent_checkpoint::adapter::Strengths;
use latent_models::Form;
use latent_pipeline::Model;
use latent_testkit::{Golden, closeness};

use super::made::{DIALECTS, spelled, write};
use super::plans::NAMES;
use super::{Place, latent, packed, probe, strengths, text};

/// Of networks in f32, and of whole pipelines.
const NETWORK: f64 = 1e-4;
const PIPELINE: f64 = 2e-3;

fn near(what: &str, got: &[f32], want: &[f32], most: f64) {
    let difference = closeness(got, want);
    println!("{what}: {difference:.2e}");
    assert!(difference <= most, "{what}: {difference:e} > {most:e}");
}

fn check(golden: &Golden, name: &str, model: &Model) {
    near(
        &format!("{name}/unet"),
        &probe(model),
        golden.values(&format!("{name}/unet")),
        NETWORK,
    );
    near(
        &format!("{name}/text"),
        &text(model),
        golden.values(&format!("{name}/text")),
        NETWORK,
    );
}

#[test]
fn every_kind_gives_the_reference_s_networks_and_pictures() {
    let golden = Golden::adapters_lora();
    let place = Place::new();
    let base = place.model(&[]);
    check(&golden, "base", &base);
    near(
        "base/latent",
        &latent(&base),
        golden.values("base/latent"),
        PIPELINE,
    );
    let plain = probe(&base);
    for name in NAMES {
        let path = place.kohya(name);
        let model = place.model(&[(&path, 1.0.into())]);
        check(&golden, name, &model);
        assert!(
            closeness(&probe(&model), &plain) > 1e-3,
            "{name} changes something"
        );
        near(
            &format!("{name}/latent"),
            &latent(&model),
            golden.values(&format!("{name}/latent")),
            PIPELINE,
        );
    }
}

#[test]
fn strengths_are_those_of_a1111() {
    let golden = Golden::adapters_lora();
    let place = Place::new();
    let file = |name: &str| place.kohya(name);
    let cases: [(&str, &[(&str, Strengths)]); 6] = [
        ("attention_0.5", &[("attention", 0.5.into())]),
        (
            "stack_0.8_-0.35",
            &[("attention", 0.8.into()), ("linear", (-0.35).into())],
        ),
        ("linear_unet0.9_te0.3", &[("linear", strengths(0.9, 0.3))]),
        ("dora_0.5", &[("dora", 0.5.into())]),
        ("oft_0.5", &[("oft", 0.5.into())]),
        ("loha_-0.6", &[("loha", (-0.6).into())]),
    ];
    for (name, adapters) in cases {
        let paths: Vec<_> = adapters
            .iter()
            .map(|(name, s)| (file(name), s.clone()))
            .collect();
        let adapters: Vec<(&Path, Strengths)> = paths
            .iter()
            .map(|(path, s)| (path.as_path(), s.clone()))
            .collect();
        let model = place.model(&adapters);
        check(&golden, name, &model);
        near(
            &format!("{name}/latent"),
            &latent(&model),
            golden.values(&format!("{name}/latent")),
            PIPELINE,
        );
    }
    // At no strength nothing changes, to the bit.
    let path = file("dora");
    assert_eq!(
        probe(&place.model(&[(&path, 0.0.into())])),
        probe(&place.model(&[]))
    );
}

#[test]
fn every_spelling_is_the_same_adapter() {
    let golden = Golden::adapters_lora();
    let place = Place::new();
    let adapter = place.named("attention");
    let mut first: Option<Vec<f32>> = None;
    for (dialect, has_text) in DIALECTS {
        let path = place.file(
            &format!("attention.{dialect}.safetensors"),
            &spelled(&adapter, dialect),
        );
        let model = place.model(&[(&path, 1.0.into())]);
        let got = probe(&model);
        near(dialect, &got, golden.values("attention/unet"), NETWORK);
        let want = if has_text {
            "attention/text"
        } else {
            "base/text"
        };
        near(dialect, &text(&model), golden.values(want), NETWORK);
        // f16 holds alpha folded into the other factor exactly; only the product is rounded elsewhere.
        let expected = first.get_or_insert_with(|| got.clone());
        let apart = closeness(&got, expected);
        assert!(apart < 2e-6, "{dialect}: {apart:e}");
    }
}

#[test]
fn alpha_in_settings_and_peft_s_folders() {
    let golden = Golden::adapters_lora();
    let place = Place::new();
    let adapter = place.named("attention");
    // Spelled as diffusers does, with the factors as they are, and alpha in the metadata alone.
    let alphas = |component: &str| {
        let all = adapter
            .iter()
            .filter(|(site, part, _)| *part == "alpha" && site.role.folder() == component);
        let pairs =
            all.map(|(site, _, values)| format!("\"{}\": {}", site.path, values.numbers[0]));
        pairs.collect::<Vec<_>>().join(", ")
    };
    let unfolded: Vec<_> = spelled(&adapter, "comfy")
        .into_iter()
        .filter(|(name, _)| !name.ends_with("alpha"))
        .collect();
    let peft: Vec<String> = spelled(&adapter, "peft")
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    let tensors: Vec<_> = peft
        .into_iter()
        .zip(unfolded)
        .map(|(name, (_, values))| (name, values))
        .collect();
    let metadata = format!(
        "{{\"unet.r\": 2, \"unet.lora_alpha\": 2, \"unet.alpha_pattern\": {{{}}}, \"text_encoder.r\": 2, \
         \"text_encoder.lora_alpha\": 2, \"text_encoder.alpha_pattern\": {{{}}}}}",
        alphas("unet"),
        alphas("text_encoder")
    );
    let path = place.path("metadata.safetensors");
    write(&path, &tensors, &[("lora_adapter_metadata", &metadata)]);
    check(&golden, "attention", &place.model(&[(&path, 1.0.into())]));

    // A folder for each network.
    let folder = place.path("peft");
    for (component, start) in [("unet", "unet."), ("text_encoder", "text_encoder.")] {
        let inner = folder.join(component);
        std::fs::create_dir_all(&inner).unwrap();
        let own = tensors.iter().filter_map(|(name, values)| {
            Some((
                format!("base_model.model.{}", name.strip_prefix(start)?),
                values.clone(),
            ))
        });
        write(
            &inner.join("adapter_model.safetensors"),
            &own.collect::<Vec<_>>(),
            &[],
        );
        let config = format!(
            "{{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 2, \"alpha_pattern\": {{{}}}}}",
            alphas(component)
        );
        std::fs::write(inner.join("adapter_config.json"), config).unwrap();
    }
    check(&golden, "attention", &place.model(&[(&folder, 1.0.into())]));
    let unet = place.model(&[(&folder.join("unet"), 1.0.into())]);
    near(
        "one folder",
        &probe(&unet),
        golden.values("attention/unet"),
        NETWORK,
    );
    near(
        "one folder",
        &text(&unet),
        golden.values("base/text"),
        NETWORK,
    );
}

#[test]
fn magnitudes_of_peft_are_those_of_the_outputs() {
    let golden = Golden::adapters_lora();
    let place = Place::new();
    let mut tensors = Vec::new();
    for (site, part, values) in place.named("dora") {
        let start = format!("{}.{}", site.role.folder(), site.path);
        let mut values = values;
        let ending = match part {
            "dora_scale" => {
                // Of a convolution [1, o, 1, 1], else [o].
                let o = values.shape[0];
                values.shape = match site.shape.len() {
                    2 => vec![o],
                    _ => vec![1, o, 1, 1],
                };
                "lora_magnitude_vector"
            }
            "lora_down.weight" => "lora_A.weight",
            "lora_up.weight" => "lora_B.weight",
            part => part,
        };
        tensors.push((format!("{start}.{ending}"), values));
    }
    let path = place.file("dora.peft.safetensors", &tensors);
    check(&golden, "dora", &place.model(&[(&path, 1.0.into())]));
}

#[test]
fn packed_networks_and_other_types_have_the_merged_weights() {
    let golden = Golden::adapters_lora();
    let place = Place::new();
    for name in ["attention", "locon", "dora", "oft", "norm"] {
        let path = place.kohya(name);
        let adapters = [(path.as_path(), Strengths::from(1.0))];
        let want = golden.values(&format!("{name}/unet"));
        let model = packed(place.model(&adapters), Form::Plain);
        near(&format!("{name} packed"), &probe(&model), want, NETWORK);
        near(
            &format!("{name} packed"),
            &latent(&model),
            golden.values(&format!("{name}/latent")),
            PIPELINE,
        );
        // Rounded once, after the sum: about as far from the reference as the network without an adapter is.
        for (dtype, form) in [(DType::BF16, Form::Plain), (DType::BF16, Form::Int8)] {
            let opened =
                |adapters: &[_]| packed(place.open(adapters, dtype).expect("a model"), form);
            let plain = closeness(&probe(&opened(&[])), golden.values("base/unet"));
            assert!(plain < 0.1, "{form:?}: {plain:e}");
            near(
                &format!("{name} {form:?}"),
                &probe(&opened(&adapters)),
                want,
                3.0 * plain,
            );
        }
    }
}
