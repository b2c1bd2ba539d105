//! What fails does so before the work, with a sentence and the documented code; and what does nothing is named.

mod common;

use std::process::Stdio;

use common::{Place, TINY};
use latent_pipeline::picture::{Picture, metadata::Metadata};
use serde_json::Value;

fn picture(place: &Place, name: &str, colour: u8) {
    let path = place.path().join(name);
    let picture = Picture::plain(64, 64, [colour; 3]);
    picture
        .write(&path, 95, &Metadata::default(), true)
        .unwrap();
}

const BASE: [&str; 8] = ["generate", "cat", "-m", TINY, "--steps", "2", "--seed", "1"];

#[test]
fn flags_without_effect_are_named() {
    let place = Place::new();
    picture(&place, "base.png", 90);
    let sized: &[&str] = &["--size", "64"];
    let given: &[&str] = &["-i", "base.png"];
    for (flag, start, line) in [
        ("--strength", sized, &["--strength", "0.3"][..]),
        // The default typed is typed all the same.
        ("--strength", sized, &["--strength", "0.75"]),
        ("--resize-mode", sized, &["--resize-mode", "crop"]),
        ("--mask-blur", given, &["--mask-blur", "3"]),
        ("--inpaint-fill", given, &["--inpaint-fill", "latent_noise"]),
        ("--inpaint-padding", given, &["--inpaint-padding", "8"]),
        ("--subseed", sized, &["--subseed", "5"]),
        ("--eta", sized, &["--eta", "0.5", "--sampler", "Euler"]),
        (
            "--s-churn",
            sized,
            &["--s-churn", "5", "--sampler", "DPM++ 2M"],
        ),
        (
            "--s-noise",
            sized,
            &["--s-noise", "1.1", "--sampler", "Euler"],
        ),
        (
            "--s-tmin",
            sized,
            &["--s-tmin", "0.1", "--sampler", "Euler"],
        ),
        ("--ensd", sized, &["--ensd", "5", "--sampler", "Euler"]),
        ("--negative-prompt", sized, &["-n", "x", "--cfg-scale", "1"]),
        (
            "--cfg-rescale",
            sized,
            &["--cfg-rescale", "0.5", "--cfg-scale", "1"],
        ),
        (
            "--scheduler",
            sized,
            &["--scheduler", "Karras", "--sigmas", "9,1,0"],
        ),
        (
            "--weight-rule",
            sized,
            &["--weight-rule", "a1111", "--compat", "diffusers"],
        ),
        ("--quality", sized, &["--quality", "90"]),
        ("--preview-interval", sized, &["--preview-interval", "2"]),
        (
            "--hires-scale",
            sized,
            &[
                "--hires-scale",
                "1.5",
                "--hires-width",
                "96",
                "--hires-height",
                "96",
            ],
        ),
    ] {
        let more = ["-o", "o.png", "--overwrite"];
        let output = place.run(&[&BASE[..], start, line, &more].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line:?}: {said}");
        assert!(
            said.contains(&format!("{flag} has no effect: ")),
            "{line:?}: {said}"
        );
    }
    let output = place.run(
        &[
            &BASE[..],
            sized,
            &["--sampler", "Euler a", "--eta", "0.5", "-o", "p.png"],
        ]
        .concat(),
    );
    assert!(
        !String::from_utf8_lossy(&output.stderr).contains("note"),
        "{output:?}"
    );
    // A model that reads no classes, and a setting of a file.
    std::fs::write(
        place.path().join("r.toml"),
        "s_churn = 3.0\nsampler = \"DDIM\"\n",
    )
    .unwrap();
    let output = place.run(&[&BASE[..], sized, &["--request", "r.toml", "-o", "q.png"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("`s_churn` has no effect"), "{said}");
}

#[test]
fn tags_of_adapters_are_named() {
    let place = Place::new();
    let base = [
        "generate", "-m", TINY, "--steps", "2", "--seed", "1", "--size", "64",
    ];
    let draw = |prompt: &str, name: &str| {
        let output = place.run(&[&base[..], &["-p", prompt, "-o", name]].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(!draw("cat", "a.png").contains("note"));
    let said = draw("cat <dress:foo:0.8>", "b.png");
    assert!(
        said.contains("`<dress:foo:0.8>` in `prompt` is left out"),
        "{said}"
    );
    assert_eq!(place.picture("a.png"), place.picture("b.png"));
    // The picture keeps what was typed.
    assert!(place.ok(&["info", "b.png"]).contains("cat <dress:foo:0.8>"));
    // One that is read and is not there.
    let missing = [&base[..], &["-p", "cat <lora:foo:0.8>", "-o", "c.png"]].concat();
    let output = place.run(&missing);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("foo") && said.contains("--loras"), "{said}");
    assert!(!place.path().join("c.png").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn standard_output_may_be_full() {
    let place = Place::new();
    let full = || {
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    let draw = [&BASE[..], &["--size", "64", "-o", "a.png", "--overwrite"]].concat();
    let json = [&draw[..], &["--json"]].concat();
    for line in [
        &draw[..],
        &json,
        &["info", TINY],
        &["samplers"],
        &["man"],
        &["completions", "bash"],
        &["--help"],
    ] {
        let output = place.command(line).stdout(full()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{line:?}: {errors}");
        assert!(!errors.contains("defect"), "{line:?}: {errors}");
        let said = errors.contains("standard output") || line == ["--help"];
        assert!(said, "{line:?}: {errors}");
    }
    // An error that cannot be printed as JSON is on standard error.
    let output = place
        .command(&["generate", "--steps", "0", "--json"])
        .stdout(full())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("steps"));
    // Notes that cannot be printed keep nothing from being drawn.
    let output = place
        .command(&draw)
        .arg("--quality")
        .arg("9")
        .stderr(full())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_cannot_be_written_is_known_before_the_work() {
    let place = Place::new();
    // More steps than any test would wait for.
    let long = [
        "generate", "-m", TINY, "--size", "512", "--steps", "1000", "--seed", "1",
    ];
    let fails = |more: &[&str], code: i32| place.fails(&[&long[..], more].concat(), code);
    std::fs::create_dir(place.path().join("folder.png")).unwrap();
    let error = fails(
        &[
            "cat",
            "-o",
            "a.png",
            "--overwrite",
            "--preview",
            "folder.png",
        ],
        1,
    );
    assert!(error.contains("folder.png"), "{error}");
    let text = "x".repeat(40_000);
    let error = fails(&["-p", &text, "-o", "a.jpg"], 2);
    assert!(
        error.contains("do not fit into a JPEG") && error.contains("PNG"),
        "{error}"
    );
    assert!(
        fails(
            &["cat", "--grid", "2x2", "--grid-columns", "3", "-o", "s.png"],
            2
        )
        .contains("--grid-columns")
    );
    // What makes previews is opened before anything is drawn.
    for (file, said) in [
        ("missing.safetensors", "missing.safetensors"),
        (TINY, "no tiny autoencoder"),
    ] {
        let line = [
            "generate",
            "cat",
            "--steps",
            "1000",
            "--preview",
            "p.png",
            "--preview-vae",
            file,
            "-o",
            "b.png",
        ];
        let error = place.fails(&line, 2);
        assert!(error.contains(said), "{error}");
    }
    assert!(!place.path().join("a.png").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn too_little_memory_is_a_sentence() {
    let place = Place::new();
    for limit in ["200000", "300000", "400000"] {
        let line = format!(
            "ulimit -v {limit} && exec {} generate -t 1 -m {TINY} --size 512 --steps 1 --seed 1 cat --overwrite -o a.png",
            env!("CARGO_BIN_EXE_latent")
        );
        let output = std::process::Command::new("sh")
            .args(["-c", &line])
            .current_dir(place.path())
            .stdout(Stdio::null())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let code = output.status.code();
        assert!(
            code == Some(1) || code == Some(0),
            "{limit}: {code:?} {errors}"
        );
        assert!(code == Some(0) || errors.contains("memory"), "{errors}");
    }
}

/// Errors that name a field say what would be right.
#[test]
fn sentences_are_whole() {
    let place = Place::new();
    picture(&place, "base.png", 90);
    picture(&place, "black.png", 0);
    for line in [
        &[
            "-m", TINY, "--size", "64", "--steps", "2", "cat", "--class", "3",
        ][..],
        &[
            "-m",
            TINY,
            "--steps",
            "20",
            "cat",
            "-i",
            "base.png",
            "--strength",
            "0.04",
            "--sampler",
            "DDIM",
        ],
        &[
            "-m",
            TINY,
            "--steps",
            "2",
            "cat",
            "-i",
            "base.png",
            "--mask",
            "black.png",
        ],
        &["--steps", "2", "--sampler", "Euler a", "cat"],
        &[
            "-m",
            TINY,
            "cat",
            "--sampler",
            "UniPC",
            "--steps",
            "1",
            "--compat",
            "comfyui",
            "--size",
            "64",
        ],
    ] {
        let output = place.run(&[&["generate", "-o", "o.png", "--overwrite"], line].concat());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            continue;
        }
        assert!(errors.contains("expected"), "{line:?}: {errors}");
    }
    let error = place.fails(
        &[
            "generate", "-m", TINY, "--size", "64", "cat", "--class", "3",
        ],
        2,
    );
    assert!(
        error.contains("`condition.class` (--class) is set: expected no such condition"),
        "{error}"
    );
}

/// Programs tell errors apart by their names.
#[test]
fn errors_have_stable_names() {
    let place = Place::new();
    picture(&place, "there.png", 0);
    std::fs::write(place.path().join("bad.safetensors"), "nothing").unwrap();
    for (line, name) in [
        (&["generate", "--steps", "0"][..], "field_out_of_range"),
        (&["generate", "cat", "-o", "there.png"], "output_exists"),
        (
            &["generate", "cat", "-m", TINY, "--sampler", "Oiler"],
            "name_unknown",
        ),
        (
            &[
                "generate",
                "cat",
                "-m",
                TINY,
                "--sampler",
                "Euler",
                "--class",
                "2",
            ],
            "field_unusable",
        ),
        (&["info", "nothing.png"], "model_unknown"),
        (&["info", "bad.safetensors"], "checkpoint_unusable"),
        (&["generate", "cat", "--device", "tpu"], "invalid_input"),
    ] {
        let output = place.run(&[line, &["--json"]].concat());
        let event: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(event["error"], name, "{line:?}: {event}");
        assert!(event["message"].as_str().is_some_and(|m| !m.is_empty()));
    }
}
