//! What layers make together.

use latent_pipeline::asked::{Asked, Base, Layer, Said};
use latent_pipeline::library::Library;
use latent_pipeline::picture::Picture;
use latent_pipeline::picture::files::Format;
use latent_pipeline::picture::metadata::Metadata;
use latent_pipeline::request::Name;
use latent_pipeline::resources::{Disk, Memory, Models, ResourceError};
use latent_pipeline::{Code, Request, Resources, Result};

fn layer(fields: serde_json::Value) -> Layer {
    Layer::of(fields).expect("fields")
}

fn png(width: usize, height: usize, metadata: &Metadata) -> Vec<u8> {
    let picture = Picture::plain(width, height, [9; 3]);
    picture
        .encode(Format::Png, 95, metadata)
        .expect("a picture")
}

fn text(parameters: &str) -> Base {
    let metadata = Metadata {
        parameters: Some(parameters.to_owned()),
        ..Metadata::default()
    };
    Base::of_picture("a.png", &png(8, 8, &metadata)).expect("settings")
}

fn ask(base: Base, typed: serde_json::Value, resources: &dyn Resources) -> Result<Asked> {
    Asked::of(base, layer(typed), None, resources, &mut || 7)
}

#[test]
fn a_later_layer_wins() {
    let base =
        Base::of_values(serde_json::json!({"prompt": "a", "steps": 9, "guidance": {"scale": 3.5}}));
    let typed = serde_json::json!({"steps": 11, "width": 64});
    let asked = ask(base.expect("fields"), typed, &Memory::default()).expect("a request");
    let request = &asked.requests[0];
    assert_eq!(
        (
            request.prompt.as_str(),
            request.steps,
            request.guidance.scale
        ),
        ("a", 11, 3.5)
    );
    assert_eq!((request.width, request.height), (64, 512));
    assert_eq!(request.seed, Some(7));
    let all = Said {
        size: true,
        guidance: true,
        steps: true,
        prompt: true,
    };
    assert_eq!(asked.said, all);
}

/// A given picture that is a value, not a file: a service reads its size as a command line does.
#[test]
fn an_upload_keeps_its_size() {
    let mut memory = Memory::default();
    memory
        .files
        .insert("upload-1".into(), png(40, 24, &Metadata::default()));
    let typed = serde_json::json!({"start": {"image": "upload-1"}});
    let asked = ask(Base::default(), typed, &memory).expect("a request");
    let request = &asked.requests[0];
    assert_eq!((request.width, request.height), (40, 24));
}

/// The name of a file of this machine stands for nothing, in any field.
#[test]
fn no_path_of_a_request_is_opened() {
    let file = tempfile::NamedTempFile::with_suffix(".png").expect("a file");
    std::fs::write(file.path(), png(8, 8, &Metadata::default())).expect("a file");
    let mut memory = Memory::default();
    memory
        .files
        .insert("upload-1".into(), png(8, 8, &Metadata::default()));
    for path in ["/etc/passwd", file.path().to_str().expect("a path")] {
        for (table, field) in [
            ("start", "image"),
            ("condition", "semantic_map"),
            ("condition", "layout"),
            ("condition", "upscale"),
            ("condition", "depth"),
        ] {
            let typed = serde_json::json!({table: {field: path}});
            let error = ask(Base::default(), typed, &memory).expect_err(field);
            assert_eq!(error.code(), "resource_unknown", "{field}: {error}");
            assert!(error.to_string().contains(field), "{error}");
            assert!(memory.bytes(&path.into()).is_err());
        }
        let typed = serde_json::json!({"start": {"image": "upload-1", "mask": path}});
        let error = ask(Base::default(), typed, &memory).expect_err("a mask");
        assert_eq!(error.code(), "resource_unknown", "{error}");
        for field in ["model", "vae", "text_encoder", "refiner"] {
            let typed = serde_json::json!({field: path});
            let error = ask(Base::default(), typed, &memory).expect_err(field);
            assert_eq!(error.code(), "model_unknown", "{field}: {error}");
            assert!(memory.beside(&path.into(), "vae.pt").is_none());
        }
        // The same is a file to a command line.
        assert!(Disk::default().find(&path.into()).is_ok());
    }
    let error = memory.find(&"uplaod-1".into()).expect_err("a slip");
    assert!(error.to_string().contains("upload-1"), "{error}");
}

fn with_models(names: &[&str]) -> (tempfile::TempDir, Models) {
    let folder = tempfile::tempdir().expect("a folder");
    for name in names {
        std::fs::write(folder.path().join(name), name).expect("a file");
    }
    let library = Library::open(&[folder.path().to_owned()], None).expect("a library");
    let models = Models {
        library,
        ..Models::default()
    };
    (folder, models)
}

#[test]
fn the_model_of_a_picture_is_found_in_the_library() {
    let settings =
        "cat\nSteps: 4, Sampler: Euler, Seed: 9, Size: 64x64, Model: dream_8, VAE: soft.pt";
    let error = ask(text(settings), serde_json::json!({}), &Memory::default());
    let error = error.expect_err("no model");
    assert_eq!(error.code(), "model_of_picture_missing", "{error}");
    assert!(error.to_string().contains("--models"), "{error}");

    let (_folder, models) = with_models(&["dream_8.safetensors", "soft.pt", "b.ckpt"]);
    let memory = Memory {
        models,
        ..Memory::default()
    };
    let asked = ask(text(settings), serde_json::json!({}), &memory).expect("a request");
    let request = &asked.requests[0];
    assert_eq!(request.model, Some("dream_8.safetensors".into()));
    assert_eq!(request.vae, Some("soft.pt".into()));
    assert_eq!(asked.notes.len(), 2, "{:?}", asked.notes);
    // What is typed wins.
    let typed = serde_json::json!({"model": "b"});
    let asked = ask(text(settings), typed, &memory).expect("a request");
    assert_eq!(asked.requests[0].model, Some("b".into()));

    // A request of this program whose file has moved.
    let request = Request {
        model: Some("/elsewhere/dream_8.safetensors".into()),
        ..Request::default()
    };
    let metadata = Metadata {
        parameters: Some(settings.to_owned()),
        request: Some(request.to_json()),
        ..Metadata::default()
    };
    let moved = || Base::of_picture("a.png", &png(8, 8, &metadata)).expect("settings");
    let asked = ask(moved(), serde_json::json!({}), &memory).expect("a request");
    assert_eq!(asked.requests[0].model, Some("dream_8.safetensors".into()));
    // It says itself which autoencoder it was drawn with: none but the model's.
    assert_eq!(asked.requests[0].vae, None);
    let error = ask(moved(), serde_json::json!({}), &Memory::default()).expect_err("gone");
    assert_eq!(error.code(), "model_unknown", "{error}");
}

#[test]
fn the_refiner_of_a_picture_is_found_in_the_library() {
    let settings = "cat\nSteps: 4, Sampler: Euler, Seed: 9, Size: 64x64, Model: dream_8, Refiner: fine [0123456789], \
         Refiner switch at: 0.7";
    let asked = |names: &[&str], typed| {
        let (_folder, models) = with_models(names);
        let memory = Memory {
            models,
            ..Memory::default()
        };
        ask(text(settings), typed, &memory).expect("a request")
    };
    let both = ["dream_8.safetensors", "fine.safetensors", "b.ckpt"];
    let found = asked(&both, serde_json::json!({}));
    let request = &found.requests[0];
    assert_eq!(request.refiner, Some("fine.safetensors".into()));
    assert_eq!(request.refiner_switch, 0.7);
    assert_eq!(found.notes.len(), 2, "{:?}", found.notes);
    let typed = asked(&both, serde_json::json!({"refiner": "b"}));
    assert_eq!(typed.requests[0].refiner, Some("b".into()));
    let without = asked(&both[..1], serde_json::json!({}));
    assert_eq!(without.requests[0].refiner, None);
    let said = without.notes.join("\n");
    assert!(
        said.contains("fine (hash 0123456789)") && said.contains("--refiner"),
        "{said}"
    );
}

#[test]
fn an_autoencoder_beside_a_model_of_the_library_is_taken() {
    let (_folder, models) = with_models(&["a.safetensors", "a.vae.pt", "b.safetensors"]);
    let memory = Memory {
        models,
        ..Memory::default()
    };
    let vae = |typed| {
        let asked = ask(Base::default(), typed, &memory).expect("a request");
        asked.requests[0].vae.clone()
    };
    let beside: Option<Name> = Some("a.vae.pt".into());
    assert_eq!(vae(serde_json::json!({"model": "a"})), beside);
    assert_eq!(vae(serde_json::json!({"model": "b"})), None);
    assert_eq!(vae(serde_json::json!({"model": "a", "vae": "none"})), None);
    let comfy = serde_json::json!({"model": "a", "compat": "comfyui"});
    assert_eq!(vae(comfy), None);
}

#[test]
fn without_a_model_there_must_be_a_built_in_one() {
    let error = Memory::default().model(None).expect_err("no model");
    assert!(matches!(error, ResourceError::NoModel));
}
