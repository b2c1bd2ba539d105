//! Models by name: folders of models, their hashes, and pictures that name the model that they were drawn with.

mod common;

use common::{Place, TINY};
use latent_pipeline::picture::{Picture, metadata::Metadata};
use serde_json::Value;

/// A place with a folder `lib` that holds the tiny checkpoint as `dream.safetensors` and, as a diffusers folder, `sub/xl`.
fn place() -> Place {
    let place = Place::new();
    std::fs::create_dir_all(place.path().join("lib/sub")).unwrap();
    std::fs::copy(
        place.path().join(TINY),
        place.path().join("lib/dream.safetensors"),
    )
    .unwrap();
    place.ok(&["convert", TINY, "lib/sub/xl"]);
    place
}

fn lines(text: &str) -> Vec<Value> {
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

#[test]
fn models_are_listed_with_what_they_are() {
    let place = place();
    std::fs::write(place.path().join("lib/no.safetensors"), "nothing").unwrap();
    let listed = lines(&place.ok(&["models", "--models", "lib", "--json"]));
    let names: Vec<&str> = listed.iter().filter_map(|m| m["name"].as_str()).collect();
    assert_eq!(names, ["dream.safetensors", "no.safetensors", "sub/xl"]);
    let kinds: Vec<&str> = listed.iter().filter_map(|m| m["kind"].as_str()).collect();
    assert_eq!(kinds, ["model", "unusable", "model"]);
    assert!(
        listed[0]["about"]
            .as_str()
            .unwrap()
            .contains("Stable Diffusion 1")
    );
    assert_eq!(listed[0]["hash"], Value::Null);

    let hashed = lines(&place.ok(&["models", "--models", "lib", "--json", "--hash"]));
    let info: Value = serde_json::from_str(&place.ok(&["info", TINY, "--hash", "--json"])).unwrap();
    assert_eq!(hashed[0]["sha256"], info["hash"]["sha256"]);
    assert_eq!(hashed[2]["sha256"], Value::Null);
    // It is known from then on, and a name.
    let table = place.ok(&["models", "--models", "lib"]);
    let short = info["hash"]["short"].as_str().unwrap();
    assert!(
        table.contains(short) && table.contains("not to be drawn with"),
        "{table}"
    );
    place.ok(&["info", short, "--models", "lib"]);
    let none = place.fails(&["models"], 2);
    assert!(
        none.contains("--models") && none.contains("LATENT_MODELS"),
        "{none}"
    );
    let gone = place.fails(&["models", "--models", "nowhere"], 2);
    assert!(gone.contains("nowhere"), "{gone}");
}

#[test]
fn a_name_stands_for_its_file() {
    let place = place();
    let named = ["--models", "lib", "-o"];
    place.draw(&["-o", "file.png"]);
    place.draw_with("dream", &[&named[..], &["named.png"]].concat());
    place.draw_with("sub/xl", &[&named[..], &["folder.png"]].concat());
    let file = place.picture("file.png");
    assert!(file == place.picture("named.png") && file == place.picture("folder.png"));
    // The picture keeps the name, and is repeated by it.
    let mut again = place.command(&["generate", "--from", "named.png", "-o", "again.png"]);
    let again = again.env("LATENT_MODELS", place.path().join("lib"));
    assert!(again.output().unwrap().status.success());
    assert_eq!(place.bytes("again.png"), place.bytes("named.png"));

    let vae = [
        "generate", "p", "--size", "64", "--steps", "1", "-m", "dream", "--vae", "xl",
    ];
    place.ok(&[&vae[..], &named[..], &["vae.png"]].concat());
    place.ok(&["convert", "dream", "out.safetensors", "--models", "lib"]);
    place.ok(&["info", "dream", "--models", "lib"]);

    let unknown = place.fails(&["info", "draem", "--models", "lib"], 2);
    assert!(unknown.contains("dream.safetensors"), "{unknown}");
    let line = [
        "generate", "-m", "draem", "-o", "x.png", "--models", "lib", "--json",
    ];
    let output = place.run(&line);
    let event = lines(&String::from_utf8(output.stdout).unwrap())
        .pop()
        .unwrap();
    assert_eq!(event["error"], "model_unknown");
    let message = event["message"].as_str().unwrap();
    assert!(
        message.contains("--model: draem") && message.contains("dream"),
        "{message}"
    );
    std::fs::create_dir(place.path().join("lib/more")).unwrap();
    std::fs::copy(
        place.path().join(TINY),
        place.path().join("lib/more/dream.ckpt"),
    )
    .unwrap();
    // The one at the top is meant before those of folders below.
    place.ok(&["info", "dream", "--models", "lib"]);
    std::fs::rename(
        place.path().join("lib/dream.safetensors"),
        place.path().join("lib/sub/dream.safetensors"),
    )
    .unwrap();
    let several = place.fails(&["info", "dream", "--models", "lib"], 2);
    assert!(
        several.contains("more/dream.ckpt") && several.contains("sub/dream.safetensors"),
        "{several}"
    );
}

/// Another program's picture says the name and the hash of its model: it is found by either.
#[test]
fn a_picture_finds_its_model() {
    let place = place();
    let info: Value = serde_json::from_str(&place.ok(&["info", TINY, "--hash", "--json"])).unwrap();
    let hash = info["hash"]["short"].as_str().unwrap().to_owned();
    let with = |model: &str| {
        let text = format!("cat\nSteps: 1, Sampler: Euler, Seed: 7, Size: 64x64, {model}");
        let metadata = Metadata {
            parameters: Some(text),
            ..Metadata::default()
        };
        let picture = Picture::plain(64, 64, [90, 120, 40]);
        picture
            .write(&place.path().join("a.png"), 95, &metadata, true)
            .unwrap();
    };
    let draw = ["generate", "--from", "a.png", "--overwrite", "-o", "b.png"];
    let from_library = [&draw[..], &["--models", "lib"]].concat();
    with(&format!("Model: renamed, Model hash: {hash}"));
    let missing = place.fails(&from_library, 2);
    assert!(
        missing.contains("renamed") && missing.contains(&hash),
        "{missing}"
    );
    place.ok(&["models", "--models", "lib", "--hash"]);
    place.ok(&from_library);
    with("Model: dream");
    place.fails(&draw, 2);
    place.ok(&from_library);
}

/// What cannot be written has the names of outputs; numbers are those of `info`.
#[test]
fn conversions_say_what_they_wrote_and_why_not() {
    let place = place();
    let said = place.ok(&["convert", TINY, "new.safetensors"]);
    let info: Value = serde_json::from_str(&place.ok(&["info", TINY, "--json"])).unwrap();
    let parts = info["parts"].as_array().unwrap().iter();
    let parameters: u64 = parts.map(|p| p["parameters"].as_u64().unwrap()).sum();
    let written = format!("{parameters} parameters");
    assert!(
        said.contains(',') && said.replace(',', "").contains(&written),
        "{said} {written}"
    );
    let refused = |target: &str| {
        let output = place.run(&["convert", TINY, target, "--json"]);
        lines(&String::from_utf8(output.stdout).unwrap())
            .pop()
            .unwrap()
    };
    for target in ["new.safetensors", "lib/sub/xl"] {
        let event = refused(target);
        assert_eq!(event["error"], "output_exists");
        let message = event["message"].as_str().unwrap();
        assert!(message.contains("--overwrite"), "{message}");
    }
    assert_eq!(refused("no/a.safetensors")["error"], "output_unwritable");
    // Without a denoiser nothing is predicted.
    let shown = place.ok(&["info", "lib/sub/xl/vae"]);
    assert!(!shown.contains("predicts"), "{shown}");
    assert!(place.ok(&["info", TINY]).contains("predicts"));
    // A scheduler that is missing is named by all that open the folder.
    std::fs::remove_dir_all(place.path().join("lib/sub/xl/scheduler")).unwrap();
    let draw = ["generate", "a", "--size", "64", "--steps", "1"];
    for line in [
        &["info", "lib/sub/xl"][..],
        &["convert", "lib/sub/xl", "out"],
        &[&draw[..], &["-m", "lib/sub/xl", "-o", "a.png"]].concat(),
    ] {
        let output = place.run(line);
        assert!(output.status.success(), "{line:?}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(
            said.contains("scheduler/scheduler_config.json is missing")
                && !said.contains("left out"),
            "{said}"
        );
    }
}
