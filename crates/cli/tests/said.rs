//! What a run does beside what was meant is said, and what is wrong is said where it stands.

mod common;

use common::{Place, TINY};
use latent_pipeline::picture::{Picture, metadata::Metadata};
use serde_json::Value;

const BASE: [&str; 9] = [
    "generate", "-m", TINY, "--steps", "2", "--seed", "1", "--size", "64",
];

fn notes(place: &Place, more: &[&str]) -> String {
    let output = place.run(&[&BASE[..], more].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{more:?}: {said}");
    said
}

#[test]
fn a_second_pass_that_makes_smaller_says_so() {
    let place = Place::new();
    let said = notes(&place, &["cat", "--hires-width", "48", "-o", "a.png"]);
    assert!(said.contains("smaller, 48x48 after 64x64"), "{said}");
    let said = notes(&place, &["cat", "--hires-width", "96", "-o", "b.png"]);
    assert!(!said.contains("note"), "{said}");
    let line = [
        "cat",
        "--hires-width",
        "96",
        "--hires-scale",
        "2",
        "-o",
        "c.png",
    ];
    assert!(notes(&place, &line).contains("--hires-scale has no effect"));
    let wrong = ["cat", "--hires-scale", "2", "--hires-sampler", "Eulr"];
    let error = place.fails(&[&BASE[..], &wrong].concat(), 2);
    assert!(
        error.contains("in the second pass") && error.contains("Euler"),
        "{error}"
    );
}

#[test]
fn a_run_without_a_prompt_says_so() {
    let place = Place::new();
    std::fs::write(place.path().join("empty.toml"), "").unwrap();
    std::fs::write(place.path().join("meant.toml"), "prompt = \"\"").unwrap();
    for (request, said) in [("empty.toml", true), ("meant.toml", false)] {
        let notes = notes(
            &place,
            &["--request", request, "--overwrite", "-o", "a.png"],
        );
        assert_eq!(notes.contains("no prompt is stated"), said, "{notes}");
    }
}

#[test]
fn a_sheet_is_named() {
    let place = Place::new();
    let line = [
        &BASE[..],
        &["cat", "--grid", "2x1", "--overwrite", "-o", "sheet.png"],
    ]
    .concat();
    let said = place.ok(&line);
    assert!(said.contains("sheet.png  (sheet of 2)"), "{said}");
    let events = place.ok(&[&line[..], &["--json"]].concat());
    let events = events.lines().map(serde_json::from_str::<Value>);
    let events: Vec<Value> = events.collect::<Result<_, _>>().unwrap();
    let sheet = events
        .iter()
        .find(|event| event["event"] == "sheet")
        .unwrap();
    assert_eq!(
        (&sheet["path"], &sheet["pictures"]),
        (&"sheet.png".into(), &2.into())
    );
    let written = Picture::read(&place.path().join("sheet.png"))
        .unwrap()
        .size();
    assert_eq!(sheet["width"], written.width);
}

#[test]
fn errors_say_where_they_stand_and_what_to_do() {
    let place = Place::new();
    Picture::plain(64, 64, [9; 3])
        .write(
            &place.path().join("base.png"),
            95,
            &Metadata::default(),
            true,
        )
        .unwrap();
    std::fs::write(
        place.path().join("twice.json"),
        r#"{"steps": 1, "steps": 2}"#,
    )
    .unwrap();
    std::fs::write(
        place.path().join("folder.json"),
        r#"{"start": {"image": "."}}"#,
    )
    .unwrap();
    std::fs::write(
        place.path().join("nameless.json"),
        r#"{"start": {"image": ""}}"#,
    )
    .unwrap();
    for (more, said) in [
        (
            &["cat", "--slg-scale", "2", "--skip-layer-start", "0.5"][..],
            "(--skip-layer-end) is 0.2 unless stated: expected a number from 0.5, where it starts, to 1",
        ),
        (&["--request", "twice.json"], "`steps` is stated twice"),
        (
            &["--request", "folder.json"],
            "--init-img: . is a folder: expected a file",
        ),
        (
            &["--request", "nameless.json"],
            "--init-img: \"\" does not exist",
        ),
        (
            &["cat", "--pag", "2", "--pag-layers", "middle"],
            "expected attention blocks, divided by commas: mid, down",
        ),
        (
            &["cat", "--depth", "base.png"],
            "is set: expected nothing: ",
        ),
    ] {
        let error = place.fails(&[&BASE[..], more].concat(), 2);
        assert!(error.contains(said), "{more:?}: {error}");
    }
    let wide = [
        "generate",
        "cat",
        "-m",
        TINY,
        "-i",
        "base.png",
        "--outpaint",
        "16384,0,0,0",
    ];
    let error = place.fails(&wide, 2);
    assert!(
        error.contains("(--outpaint) is 16448x64 with the picture"),
        "{error}"
    );
    let error = place.fails(&["models", "--models", "nowhere"], 2);
    assert!(
        error.contains("nowhere") && error.contains("--models DIR"),
        "{error}"
    );
    let error = place.fails(&["convert", TINY, "averaged.safetensors", "--ema"], 2);
    assert!(
        error.contains("no moving average") && error.contains("--ema"),
        "{error}"
    );
    assert!(!place.path().join("averaged.safetensors").exists());
}

/// The temporary file is no name that anybody knows.
#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_written_is_called_by_its_own_name() {
    let place = Place::new();
    let error = place.fails(&[&BASE[..], &["cat", "-o", "/proc/x.png"]].concat(), 1);
    assert!(
        error.contains("/proc/x.png") && !error.contains(".latent-"),
        "{error}"
    );
}

/// A preview is a file like all others.
#[test]
fn previews_replace_nothing() {
    let place = Place::new();
    let long = [
        "generate", "cat", "-m", TINY, "--steps", "1000", "--size", "64",
    ];
    for (preview, more, said) in [
        ("p.png", &["-o", "./p.png"][..], "is to be written twice"),
        (
            "p-00001.png",
            &["-b", "2", "-o", "p.png"],
            "is to be written twice",
        ),
        (
            "s.png",
            &["--grid", "s.png", "-o", "p.png"],
            "is to be written twice",
        ),
        (TINY, &["-o", "p.png"], "does not say a picture format"),
        ("there.png", &["-o", "p.png"], "there.png exists already"),
    ] {
        std::fs::write(place.path().join("there.png"), "mine").unwrap();
        let error = place.fails(&[&long[..], &["--preview", preview], more].concat(), 2);
        assert!(error.contains(said), "{preview}: {error}");
    }
    assert_eq!(
        std::fs::read(place.path().join("there.png")).unwrap(),
        b"mine"
    );
}

#[test]
fn a_command_line_that_cannot_be_read_ends_with_an_event_too() {
    let place = Place::new();
    for line in [
        &["generate", "cat", "--steps", "x", "--json"][..],
        &["--json", "convert", "a", "b", "--dtype", "foo"],
        &["train", "--json"],
        &["generate", "cat", "--lora", "x", "--json"],
    ] {
        let output = place.run(line);
        let events = String::from_utf8(output.stdout).unwrap();
        let event: Value = serde_json::from_str(events.trim()).expect(&events);
        assert_eq!(
            (output.status.code(), &event["code"]),
            (Some(2), &2.into()),
            "{line:?}"
        );
        assert!(!event["message"].as_str().unwrap().is_empty());
    }
}

#[test]
fn guidance_that_never_acts_is_named() {
    let place = Place::new();
    for (more, said) in [
        (
            &["--slg-scale", "3"][..],
            Some("--slg-scale has no effect: none of the steps"),
        ),
        (
            &["--guidance-interval", "0.6,0.9"],
            Some("--guidance-interval has no effect: none"),
        ),
        (
            &["--perp-neg", "1"],
            Some("--perp-neg has no effect: the negative prompt is empty"),
        ),
        (&["--perp-neg", "1", "-n", "dog"], None),
        (&["--slg-scale", "3", "--skip-layer-end", "0.6"], None),
    ] {
        let notes = notes(
            &place,
            &[&["cat", "--overwrite", "-o", "a.png"], more].concat(),
        );
        match said {
            Some(said) => assert!(notes.contains(said), "{notes}"),
            None => assert!(!notes.contains("no effect"), "{notes}"),
        }
    }
}

/// Each value of a text is read for itself, and what no request may hold is named.
#[test]
fn a_text_with_names_that_nobody_knows_is_repeated() {
    let place = Place::new();
    let parameters = "cat\nSteps: 0, Sampler: Foo, Schedule type: Foo, CFG scale: 3, Seed: 1, Size: 64x64, \
                      Hires upscale: 2, Hires sampler: Foo, Denoising strength: 0.5";
    let metadata = Metadata {
        parameters: Some(parameters.to_owned()),
        ..Metadata::default()
    };
    let path = place.path().join("theirs.png");
    Picture::plain(64, 64, [9; 3])
        .write(&path, 95, &metadata, true)
        .unwrap();
    let line = [
        "generate",
        "--from",
        "theirs.png",
        "-m",
        TINY,
        "--steps",
        "2",
        "-o",
        "again.png",
    ];
    let output = place.run(&line);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    for pair in [
        "Sampler: Foo (a name",
        "Schedule type: Foo (a name",
        "Hires sampler: Foo (a name",
    ] {
        assert!(said.contains(pair), "{pair}: {said}");
    }
    // What was typed takes its place without a word.
    assert!(!said.contains("Steps: 0"), "{said}");
}

#[test]
fn a_fault_of_a_file_names_the_file() {
    let place = Place::new();
    std::fs::write(
        place.path().join("job.toml"),
        "prompt = \"cat\"\nsteps = 0\nclip_skip = 1",
    )
    .unwrap();
    let line = ["generate", "-m", TINY, "--request", "job.toml"];
    assert!(place.fails(&line, 2).contains("job.toml: `steps` is 0"));
    let typed = [&line[..], &["--steps", "0"]].concat();
    assert!(!place.fails(&typed, 2).contains("job.toml"));
}
