//! Textual inversion: against diffusers (golden `adapters_inversion`), by every file and every program's prompts.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/drawing.rs"]
mod drawing;
#[path = "../common/golden.rs"]
mod golden;
mod pictures;
mod said;

use burn::tensor::{Device, Tensor};
use common::{family, fill, scheduler, tiny};
use drawing::{draw_told, encode_with};
use golden::{check, request};
use latent_checkpoint::tiny::TinyFamily;
use latent_models::unet::{Attention, Heads, Labels, timestep_sinusoid};
use latent_models::{ClipTextConfig, Denoiser, UNetConfig, named};
use latent_pipeline::conditioning::Prompts;
use latent_pipeline::embeddings::Embeddings;
use latent_pipeline::request::Compat;
use latent_pipeline::track::Context;
use latent_pipeline::{Code, Error, Model, Request};
use latent_testkit::golden::EMBEDDINGS;
use latent_testkit::{Golden, closeness};
use latent_text::{Dialect, Pad, PseudoWords};
use safetensors::tensor::{Dtype, TensorView};
use tempfile::TempDir;

const PROMPT: &str = "a red apple on a table in the style of zeta";

/// A folder of files, and what is in it.
fn folder(files: &[(&str, &[u8])]) -> (TempDir, Embeddings) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        std::fs::write(folder.path().join(name), bytes).expect("a file");
    }
    let there = Embeddings::open(&[folder.path().to_owned()]).expect("embeddings");
    (folder, there)
}

fn published(file: &str) -> &'static [u8] {
    let found = EMBEDDINGS.iter().find(|(name, _)| *name == file);
    found.expect("a file of that name").1
}

/// Vectors as a file of one tensor.
fn safetensors(name: &str, values: &[f32], shape: [usize; 2]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, shape.to_vec(), &bytes).expect("a tensor");
    safetensors::serialize([(name, view)], None).expect("a file")
}

/// 64×64, as the goldens are.
fn drawn_by(prompt: &str, negative: &str) -> Request {
    Request {
        prompt: prompt.to_owned(),
        negative_prompt: negative.to_owned(),
        width: 64,
        ..request("DDIM")
    }
}

fn states(prompts: &Prompts) -> Tensor<3> {
    let given = &prompts.positive[0].contexts[0].given;
    given.context.clone().expect("text states")
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().iter::<f32>().collect()
}

fn near(got: &[f32], want: &[f32], what: &str) {
    let far = closeness(got, want);
    println!("{what}: {far:.2e}");
    assert!(far < 1e-4, "{what}: {far:e}");
}

#[test]
fn vectors_are_drawn_as_diffusers_draws_them() {
    let golden = Golden::adapters_inversion();
    let model = tiny(4, scheduler());
    for (count, file) in [(1, "zeta_one.bin"), (3, "zeta.safetensors")] {
        let name = format!("zeta.{}", file.rsplit('.').next().expect("an ending"));
        let (_folder, there) = folder(&[(&name, published(file))]);
        for (place, request) in [
            ("prompt", drawn_by(PROMPT, "blurry")),
            (
                "negative",
                drawn_by("a red apple on a table", "blurry zeta, grey"),
            ),
        ] {
            let prompts = encode_with(&model, &request, &there);
            check(
                &golden,
                &format!("{count}_in_{place}"),
                &draw_told(&model, &request, &prompts),
            );
            assert_eq!(prompts.embeddings.len(), 1);
            if place == "prompt" {
                let got = numbers(states(&prompts).narrow(1, 0, 24));
                near(
                    &got,
                    golden.values(&format!("{count}_in_prompt/text")),
                    place,
                );
            }
        }
        let words = PseudoWords::new(&model.tokenizer, [("zeta".to_owned(), 0..count)]);
        let encoded = words.chunks(&model.tokenizer, PROMPT, Dialect::Diffusers, Pad::End);
        let chunk = &encoded.expect("chunks").chunks[0];
        let mut ids: Vec<f32> = chunk.ids.iter().map(|id| *id as f32).collect();
        for &(position, vector) in &chunk.vectors {
            ids[position] = (49_408 + vector) as f32;
        }
        assert_eq!(ids, golden.values(&format!("{count}_in_prompt/ids")));
    }
}

/// A1111's dictionary, as a plain one and as a module's, diffusers' pair, one tensor: the same vectors.
#[test]
fn every_file_is_read() {
    let model = tiny(4, scheduler());
    let request = drawn_by(PROMPT, "blurry");
    let golden = Golden::adapters_inversion();
    for file in [
        "zeta.pt",
        "zeta_parameterdict.pt",
        "zeta.bin",
        "zeta.safetensors",
    ] {
        let name = format!("zeta.{}", file.rsplit('.').next().expect("an ending"));
        let (_folder, there) = folder(&[(&name, published(file))]);
        let prompts = encode_with(&model, &request, &there);
        let got = numbers(states(&prompts).narrow(1, 0, 24));
        near(&got, golden.values("3_in_prompt/text"), file);
    }
    let (_folder, there) = folder(&[("zeta.pt", published("zeta.pt"))]);
    let about = there.entries()[0].read().expect("an embedding").about;
    assert_eq!(
        (about.name.as_deref(), about.steps),
        (Some("zeta"), Some(500))
    );
    // diffusers finds the token that the file brings.
    let (_folder, there) = folder(&[("other.bin", published("zeta.bin"))]);
    let named = Request {
        prompt: PROMPT.replace("zeta", "<zeta>"),
        ..request
    };
    let got = numbers(states(&encode_with(&model, &named, &there)).narrow(1, 0, 24));
    near(
        &got,
        golden.values("3_in_prompt/text"),
        "the file's own token",
    );
}

/// The goldens' model of two text encoders. Its sizes are sinusoids of 8 numbers, not 256.
fn pair() -> Model {
    let device = Device::flex();
    let mut model = family(TinyFamily::Sdxl, TinyFamily::Sdxl.scheduler());
    let small = |config: ClipTextConfig, width| ClipTextConfig {
        width,
        layers: 3,
        heads: 4,
        intermediate: 4 * width,
        ..config
    };
    let clip_l = small(named::clip_l(), 32);
    let clip_g = ClipTextConfig {
        projection: Some(48),
        ..small(named::clip_g(), 48)
    };
    let attention = |depth| Attention {
        heads: Heads::Count(4),
        depth,
    };
    let mut unet = UNetConfig {
        model_channels: 32,
        context: Some(80),
        labels: Labels::Vector(48 + 6 * SINUSOID),
        middle: Some(attention(2)),
        ..named::unet_sdxl_base()
    };
    for (level, (channels, depth)) in unet.levels.iter_mut().zip([(32, 1), (64, 1), (64, 2)]) {
        level.channels = channels;
        level.attention = level.attention.map(|_| attention(depth));
    }
    model.texts[0].network = fill("xl/text_encoder", clip_l.init(&device)).into();
    model.texts[1].network = fill("xl/text_encoder_2", clip_g.init(&device)).into();
    model.denoiser = Denoiser::from(fill("xl/unet", unet.init(&device))).into();
    model.scheduler = scheduler();
    model
}

/// Numbers in the sinusoid of a size.
const SINUSOID: usize = 8;

/// The pooled text of a context alone.
fn pooled(context: &Context) -> Tensor<2> {
    let vector = context.given.vector.clone();
    vector.expect("pooled text and sizes").narrow(1, 0, 48)
}

#[test]
fn a_pair_is_read_by_both_encoders() {
    let golden = Golden::adapters_inversion();
    let model = pair();
    let (_folder, there) = folder(&[("zeta.safetensors", published("xl.safetensors"))]);
    for (place, request) in [
        ("prompt", drawn_by(PROMPT, "blurry")),
        (
            "negative",
            drawn_by("a red apple on a table", "blurry zeta, grey"),
        ),
    ] {
        let mut prompts = encode_with(&model, &request, &there);
        if place == "prompt" {
            let context = numbers(states(&prompts).narrow(1, 0, 24));
            near(&context, golden.values("xl_2_in_prompt/context"), "context");
            let pooled = numbers(pooled(&prompts.positive[0].contexts[0]));
            near(&pooled, golden.values("xl_2_in_prompt/pooled"), "pooled");
        }
        let tracks = prompts.positive.iter_mut().chain([&mut prompts.negative]);
        for context in tracks.flat_map(|track| &mut track.contexts) {
            let sizes = Tensor::from_floats([64.0f32, 64.0, 0.0, 0.0, 64.0, 64.0], &model.device);
            let sizes = timestep_sinusoid(sizes, SINUSOID).reshape([1, 6 * SINUSOID]);
            let vector = Tensor::cat(vec![pooled(context), sizes], 1);
            context.given.vector = Some(vector);
        }
        check(
            &golden,
            &format!("xl_2_in_{place}"),
            &draw_told(&model, &request, &prompts),
        );
    }

    // Vectors of one encoder are none of this model, nor a pair one of the other.
    let (_folder, there) = folder(&[("zeta.pt", published("zeta.pt"))]);
    let error = refused(&model, PROMPT, &there);
    assert!(
        error.contains("pairs of vectors of width 32 and 48"),
        "{error}"
    );
    let (_folder, there) = folder(&[("zeta.safetensors", published("xl.safetensors"))]);
    let error = refused(&tiny(4, scheduler()), PROMPT, &there);
    assert!(
        error.contains("pairs of vectors of width 32 and 48") && error.contains("width 48:"),
        "{error}"
    );
}

fn refused(model: &Model, prompt: &str, there: &Embeddings) -> String {
    let error = try_encode(model, &drawn_by(prompt, ""), there).expect_err("refused");
    error.to_string()
}

fn try_encode(model: &Model, request: &Request, there: &Embeddings) -> Result<Prompts, Error> {
    Prompts::encode(
        model,
        &latent_pipeline::Profile::of(request.compat),
        request,
        [&request.prompt, &request.negative_prompt],
        request.size(),
        latent_text::Pass::Only(request.steps),
        there,
    )
}

#[test]
fn each_program_names_them_in_its_way() {
    let model = tiny(4, scheduler());
    let (folder, _) = folder(&[]);
    std::fs::create_dir(folder.path().join("sub")).expect("a folder");
    std::fs::write(folder.path().join("sub/Zeta.pt"), published("zeta.pt")).expect("a file");
    let there = Embeddings::open(&[folder.path().to_owned()]).expect("embeddings");
    let given = |compat, prompt: &str| {
        let request = Request {
            compat,
            ..drawn_by(prompt, "")
        };
        numbers(states(&encode_with(&model, &request, &there)))
    };
    let a1111 = given(Compat::A1111, "a zeta");
    assert_ne!(a1111, given(Compat::A1111, "a theta"));
    assert_eq!(a1111, given(Compat::A1111, "a ZETA"));
    for name in ["Zeta", "Zeta.pt", "sub/Zeta", "sub/Zeta.pt"] {
        assert_eq!(
            a1111,
            given(Compat::ComfyUi, &format!("a embedding:{name}")),
            "{name}"
        );
    }
    assert_ne!(a1111, given(Compat::ComfyUi, "a Zeta"));
    // A weight acts on all vectors.
    assert_ne!(a1111, given(Compat::A1111, "a (zeta:1.3)"));
    // In schedules too.
    let request = Request {
        compat: Compat::A1111,
        ..drawn_by("[a:zeta:3]", "")
    };
    let prompts = encode_with(&model, &request, &there);
    assert_eq!(prompts.positive[0].contexts.len(), 2);
    assert_eq!(prompts.embeddings[0].name, "Zeta");
    assert_eq!(prompts.embeddings[0].hash.len(), 12);
}

#[test]
fn what_cannot_be_drawn_with_is_refused() {
    let model = tiny(4, scheduler());
    let says = |file: &str, bytes: &[u8], words: &[&str]| {
        let (_folder, there) = folder(&[(file, bytes)]);
        // Nobody names it: it is not even opened.
        try_encode(&model, &drawn_by("a cat", ""), &there).expect("prompts");
        let error = refused(&model, "a zeta", &there);
        for word in [&["zeta"][..], words].concat() {
            assert!(error.contains(word), "{error}");
        }
    };
    let plain = |width: usize| safetensors("emb_params", &vec![0.1; 2 * width], [2, width]);
    says(
        "zeta.safetensors",
        &plain(1024),
        &["Stable Diffusion 2", "width 1024", "width 48", "use one"],
    );
    says("zeta.safetensors", &plain(768), &["Stable Diffusion 1.x"]);
    says(
        "zeta.safetensors",
        &plain(77),
        &["another model, with vectors of width 77"],
    );
    let mut values = vec![0.5; 96];
    values[50] = f32::NAN;
    says(
        "zeta.safetensors",
        &safetensors("emb_params", &values, [2, 48]),
        &["emb_params", "NaN"],
    );
    let nothing = safetensors("emb_params", &[], [0, 48]);
    says("zeta.safetensors", &nothing, &["no vector"]);
    let code = b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00id\x85R.";
    says("zeta.pt", code, &["os.system"]);
    says("zeta.bin", b"<html>", &["web page"]);
    says("zeta.pt", &published("zeta.pt")[..900], &["truncated"]);
    // As many as A1111 cannot put in one place.
    let many = safetensors("x", &vec![0.1; 48 * 80], [80, 48]);
    let (_folder, there) = folder(&[("zeta.safetensors", &many)]);
    let a1111 = Request {
        compat: Compat::A1111,
        ..drawn_by("a zeta", "")
    };
    let error = try_encode(&model, &a1111, &there).expect_err("too many");
    assert_eq!(error.code(), "prompt_too_many_vectors", "{error}");
    let (_folder, there) = folder(&[
        ("a.pt", published("zeta.pt")),
        ("A.pt", published("zeta.bin")),
    ]);
    let several = Request {
        compat: Compat::A1111,
        ..drawn_by("a", "")
    };
    let error = try_encode(&model, &several, &there).expect_err("two files");
    assert_eq!(error.code(), "embedding_unusable");
    assert!(error.to_string().contains("rename one"), "{error}");
}
