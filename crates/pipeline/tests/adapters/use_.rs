//! From a request to a picture and back: names, prompts, what pictures carry, strengths that change while the model is open.

use std::sync::Arc;

use burn::tensor::DType;
use latent_checkpoint::file::hash::{sha256, sha256_of_body};
use latent_models::Form;
use latent_pipeline::asked::{Asked, Base, Layer};
use latent_pipeline::library::Library;
use latent_pipeline::model::Stage;
use latent_pipeline::request::{Compat, Lora, Name};
use latent_pipeline::resources::{Disk, Memory, Models};
use latent_pipeline::{Model, ModelFiles, Quiet, Request, Resources, run, run_once};
use latent_testkit::{Golden, closeness};

use super::made::{kohya, write};
use super::{Place, latent, probe, request, strengths, text, uses};

fn models(place: &Place) -> Models {
    let folder = place.path("loras");
    Models {
        loras: Library::open_adapters(&[folder]).unwrap(),
        ..Models::default()
    }
}

/// The place with `fluffy.safetensors` and `sub/bold.safetensors` in a folder of LoRAs.
fn with_loras() -> (Place, Disk) {
    let place = Place::new();
    std::fs::create_dir_all(place.path("loras/sub")).unwrap();
    let named = |name: &str, to: &str, metadata: &[(&str, &str)]| {
        write(&place.path(to), &kohya(&place.named(name)), metadata);
    };
    named(
        "attention",
        "loras/fluffy.safetensors",
        &[("ss_output_name", "soft fur")],
    );
    named(
        "linear",
        "loras/sub/bold.safetensors",
        &[("sshs_model_hash", "0123456789abcdef")],
    );
    let models = models(&place);
    (place, Disk { models })
}

fn asked(place: &Place, resources: &dyn Resources, request: &Request) -> Asked {
    let base = Base {
        request: Request {
            model: Some(Name::from(place.model.as_path())),
            ..request.clone()
        },
        ..Base::default()
    };
    Asked::of(base, Layer::default(), None, resources, &mut || 7).expect("a request")
}

fn open(place: &Place, resources: &dyn Resources, request: &Request) -> Model {
    let asked = asked(place, resources, request);
    let files = ModelFiles::of(&asked.requests[0], resources).expect("files");
    let device = burn::tensor::Device::flex();
    let mut model = Model::open(&files, &device, DType::F32, &mut |_, _, _| {})
        .expect("a model")
        .0;
    model
        .hash_files(&files, resources, &mut |_, _| {})
        .expect("hashes");
    model
}

#[test]
fn tags_flags_and_tables_ask_for_the_same() {
    let (place, disk) = with_loras();
    let direct = place.model(&[
        (&place.path("loras/fluffy.safetensors"), strengths(0.5, 0.8)),
        (&place.path("loras/sub/bold.safetensors"), (-0.25).into()),
    ]);
    let want = (probe(&direct), text(&direct));
    let table = vec![
        Lora {
            strength: 0.5,
            text_strength: Some(0.8),
            ..Lora::from(Name::from("fluffy"))
        },
        Lora {
            strength: -0.25,
            ..Lora::from(Name::from("sub/bold"))
        },
    ];
    let a1111 = |prompt: &str, loras: &[Lora]| Request {
        prompt: prompt.into(),
        loras: loras.to_vec(),
        compat: Compat::A1111,
        ..request()
    };
    for asked in [
        a1111("a cat <lora:fluffy:0.8:0.5><lyco:bold:-0.25>", &[]),
        a1111("a cat <lora:soft fur:0.8:0.5>", &table[1..]),
        a1111("a cat", &table),
        Request {
            compat: Compat::ComfyUi,
            ..a1111("a cat <lora:nobody:1>", &table)
        },
    ] {
        let model = open(&place, &disk, &asked);
        assert_eq!((probe(&model), text(&model)), want, "{}", asked.prompt);
    }
    // From a file, and not by a service, which has names alone.
    let by_path = Lora::from(Name::from(place.path("loras/fluffy.safetensors")));
    assert!(disk.lora(&by_path.name).is_ok());
    let service = Memory {
        models: models(&place),
        ..Memory::default()
    };
    assert!(service.lora(&by_path.name).is_err());
    assert!(service.lora(&"FLUFFY".into()).is_ok());
}

#[test]
fn names_that_fit_nothing_or_several() {
    let (place, disk) = with_loras();
    let refused = |name: &str| disk.lora(&name.into()).map(|_| ()).unwrap_err().to_string();
    assert!(
        refused("flufy").contains("did you mean fluffy.safetensors?"),
        "{}",
        refused("flufy")
    );
    let place_of = |to: &str| {
        write(
            &place.path(to),
            &kohya(&place.named("norm")),
            &[("ss_output_name", "twice")],
        )
    };
    place_of("loras/a.safetensors");
    place_of("loras/b.safetensors");
    let disk = Disk {
        models: models(&place),
    };
    let error = disk
        .lora(&"twice".into())
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(error.contains("a.safetensors, b.safetensors"), "{error}");
    let none = Disk::default()
        .lora(&"fluffy".into())
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(none.contains("--loras DIR"), "{none}");
}

#[test]
fn pictures_say_what_was_merged_and_are_repeated() {
    let (place, disk) = with_loras();
    let fluffy = place.path("loras/fluffy.safetensors");
    let body = sha256_of_body(&fluffy, &mut |_, _| {}).unwrap();
    assert_ne!(body, sha256(&fluffy, &mut |_, _| {}).unwrap());
    let first = Request {
        prompt: "a cat <lora:fluffy:0.8>".into(),
        loras: vec![Lora {
            strength: 0.5,
            text_strength: Some(0.25),
            ..Lora::from(Name::from("bold"))
        }],
        compat: Compat::A1111,
        steps: 2,
        ..request()
    };
    let model = open(&place, &disk, &first);
    let drawn = run(&first, &model, &disk, None, &mut Quiet)
        .unwrap()
        .remove(0);
    let hashes = format!(
        "Lora hashes: \"fluffy: {}, bold: 0123456789ab\"",
        &body[..12]
    );
    assert!(drawn.infotext.contains(&hashes), "{}", drawn.infotext);
    assert!(
        drawn
            .infotext
            .starts_with("a cat <lora:fluffy:0.8> <lora:bold:0.25:0.5>\n"),
        "{}",
        drawn.infotext
    );
    // The text alone asks for the same again.
    let read = latent_pipeline::infotext::Infotext::parse(&drawn.infotext).to_request();
    assert!(
        read.unknown.is_empty() && read.remarks.is_empty(),
        "{read:?}"
    );
    let again = open(&place, &disk, &read.request);
    let repeated = run(&read.request, &again, &disk, None, &mut Quiet)
        .unwrap()
        .remove(0);
    assert_eq!(repeated.picture.rgb(), drawn.picture.rgb());
    // The other programs do not read prompts so.
    let second = Request {
        compat: Compat::ComfyUi,
        prompt: "a cat".into(),
        ..first.clone()
    };
    let model = open(&place, &disk, &second);
    let drawn = run(&second, &model, &disk, None, &mut Quiet)
        .unwrap()
        .remove(0);
    assert!(drawn.infotext.starts_with("a cat\n"), "{}", drawn.infotext);
    let read = latent_pipeline::infotext::Infotext::parse(&drawn.infotext).to_request();
    assert_eq!(read.request.loras, second.loras);
    // Another file of that name is noticed.
    let bytes = {
        let mut bytes = Vec::new();
        let metadata = latent_pipeline::picture::metadata::Metadata {
            parameters: Some(drawn.infotext.replace("0123456789ab", "ffffffffffff")),
            ..Default::default()
        };
        let path = place.path("a.png");
        drawn.picture.write(&path, 90, &metadata, true).unwrap();
        bytes.extend(std::fs::read(&path).unwrap());
        bytes
    };
    let mut base = Base::of_picture("a.png", &bytes).unwrap();
    base.request.model = Some(Name::from(place.model.as_path()));
    let asked = Asked::of(base, Layer::default(), None, &disk, &mut || 7).unwrap();
    let notes = asked.remarks_on(&model).join("\n");
    assert!(
        notes.contains("LoRA bold of the hash ffffffffffff"),
        "{notes}"
    );
}

#[test]
fn a_strength_that_changes_reads_again_only_what_it_touches() {
    let golden = Golden::adapters_lora();
    let place = Place::new();
    let (attention, norm) = (place.kohya("attention"), place.kohya("norm"));
    let mut model = place.model(&[(&attention, 1.0.into())]).packed(Form::Plain);
    let near = |model: &Model, name: &str| {
        let difference = closeness(&probe(model), golden.values(&format!("{name}/unet")));
        assert!(difference < 1e-4, "{name}: {difference:e}");
        let difference = closeness(&text(model), golden.values(&format!("{name}/text")));
        assert!(difference < 1e-4, "{name}: {difference:e}");
    };
    near(&model, "attention");
    model.adapt(&uses(&[(&attention, 0.5.into())])).unwrap();
    near(&model, "attention_0.5");
    model.adapt(&uses(&[(&norm, 1.0.into())])).unwrap();
    near(&model, "norm");
    model.adapt(&[]).unwrap();
    near(&model, "base");
    assert_eq!(
        latent(&model),
        latent(&place.model(&[]).packed(Form::Plain))
    );
    // The denoiser alone: the text encoder stays where it is.
    let encoder = |model: &Model| Arc::as_ptr(&model.texts[0].network.get().unwrap());
    let held = encoder(&model);
    model
        .adapt(&uses(&[(&attention, strengths(0.5, 0.0))]))
        .unwrap();
    assert_eq!(encoder(&model), held);
    // To the bit what a model is that was opened so, in every form.
    for form in [None, Some(Form::Plain), Some(Form::Int8)] {
        let pack = |model: Model| match form {
            Some(form) => model.packed(form),
            None => model,
        };
        let locon = place.kohya("locon");
        let [old, new] = [[(&*attention, 1.0.into())], [(&*locon, 0.5.into())]];
        let mut changed = pack(place.model(&old));
        let before = probe(&changed);
        changed.adapt(&uses(&new)).unwrap();
        let fresh = pack(place.model(&new));
        assert!(
            probe(&changed) == probe(&fresh) && probe(&changed) != before,
            "{form:?}"
        );
        assert!(text(&changed) == text(&fresh), "{form:?}");
    }
    // What does not fit leaves the model as it was.
    let before = probe(&model);
    let bad = place.path("bad.safetensors");
    std::fs::write(&bad, b"no adapter").unwrap();
    assert!(model.adapt(&uses(&[(&bad, 1.0.into())])).is_err());
    assert_eq!(probe(&model), before);
    model.release(Stage::Denoising);
    assert_eq!(probe(&model), before);
}

#[test]
fn a_declared_model_is_merged_as_it_is_read() {
    let place = Place::new();
    let path = place.kohya("locon");
    let files = ModelFiles {
        adapters: uses(&[(&path, 1.0.into())]),
        ..ModelFiles::from(place.model.clone())
    };
    let device = burn::tensor::Device::flex();
    let (mut model, _) = Model::declare(&files, &device, DType::F32).unwrap();
    model.scheduler = super::common::scheduler();
    let drawn = run_once(
        &request(),
        model.packed(Form::Plain),
        &Disk::default(),
        None,
        &mut Quiet,
    )
    .unwrap();
    let got: Vec<f32> = drawn[0].latent.to_data().iter::<f32>().collect();
    let golden = Golden::adapters_lora();
    assert!(closeness(&got, golden.values("locon/latent")) < 2e-3);
}
