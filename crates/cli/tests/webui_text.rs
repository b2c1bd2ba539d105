//! What A1111 does with a picture of ours: its regular expression reads the text, and every value is one of its own.

use std::process::Command;

use latent_checkpoint::tiny::write_tiny;
use latent_pipeline::picture::metadata::Metadata;
use latent_testkit::recipe::tensor_f16;
use regex::Regex;

/// `re_param_code` of `modules/infotext_utils.py` and the pattern of sizes (facts as published; see docs/compatibility.md).
const PARAMETER: &str = r#"\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)"#;
const SIZE: &str = r"^(\d+)x(\d+)$";

const SAMPLERS: &[&str] = &[
    "DPM++ 2M",
    "DPM++ SDE",
    "DPM++ 2M SDE",
    "DPM++ 2M SDE Heun",
    "DPM++ 2S a",
    "DPM++ 3M SDE",
    "Euler a",
    "Euler",
    "LMS",
    "Heun",
    "DPM2",
    "DPM2 a",
    "DPM fast",
    "DPM adaptive",
    "Restart",
    "DDIM",
    "DDIM CFG++",
    "PLMS",
    "UniPC",
    "LCM",
];
const SCHEDULERS: &[&str] = &[
    "Automatic",
    "Uniform",
    "Karras",
    "Exponential",
    "Polyexponential",
    "SGM Uniform",
    "KL Optimal",
    "Align Your Steps",
    "Simple",
    "Normal",
    "DDIM",
    "Beta",
];
const KEYS: &[&str] = &[
    "Steps",
    "Sampler",
    "Schedule type",
    "CFG scale",
    "Image CFG scale",
    "Seed",
    "Size",
    "Model hash",
    "Model",
    "VAE hash",
    "VAE",
    "Variation seed",
    "Variation seed strength",
    "Seed resize from",
    "Denoising strength",
    "Conditional mask weight",
    "Clip skip",
    "ENSD",
    "Init image hash",
    "RNG",
    "Tiling",
    "Version",
    "Mask blur",
    "Inpaint area",
    "Masked area padding",
    "Masked content",
    "Hires upscale",
    "Hires resize",
    "Hires steps",
    "Hires upscaler",
    "Hires sampler",
    "Hires schedule type",
    "Hires prompt",
    "Hires negative prompt",
    "Eta",
    "Sigma churn",
    "Sigma tmin",
    "Sigma tmax",
    "Sigma noise",
];

/// Draws with a tiny checkpoint and returns the picture's `parameters`.
fn text_of(folder: &std::path::Path, arguments: &[&str]) -> String {
    let file = folder.join("picture.png");
    let model = folder.join("model.safetensors");
    if !model.exists() {
        write_tiny(folder, 4, &mut |component, name, shape| {
            tensor_f16(&format!("{component}/{name}"), shape, 0)
        })
        .expect("the checkpoint can be written");
    }
    let status = Command::new(env!("CARGO_BIN_EXE_latent"))
        .args([
            "generate",
            "--prompt",
            "a (red:1.2) apple, on: \"a table\"\nsecond line",
            "-n",
            "blur, noise",
        ])
        .args([
            "--size",
            "64x64",
            "--steps",
            "3",
            "--seed",
            "7",
            "--overwrite",
            "-o",
        ])
        .arg(&file)
        .arg("--model")
        .arg(&model)
        .args(arguments)
        .env("XDG_CACHE_HOME", folder)
        .env("HOME", folder)
        .output()
        .expect("the program runs");
    assert!(
        status.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&status.stderr)
    );
    let bytes = std::fs::read(&file).expect("the picture is there");
    let metadata = Metadata::read("picture.png", &bytes).expect("metadata");
    metadata.parameters.expect("the `parameters` text")
}

/// The last line's pairs, read as A1111 reads them.
fn pairs(text: &str) -> Vec<(String, String)> {
    let last = text.trim().lines().last().expect("a line");
    let pattern = Regex::new(PARAMETER).expect("a pattern");
    let found: Vec<_> = pattern
        .captures_iter(last)
        .map(|c| (c[1].to_owned(), c[2].to_owned()))
        .collect();
    assert!(
        found.len() >= 3,
        "A1111 would take this for a prompt: {last}"
    );
    found
}

fn check(text: &str) {
    let size = Regex::new(SIZE).expect("a pattern");
    let pairs = pairs(text);
    for (key, value) in &pairs {
        assert!(
            KEYS.contains(&key.as_str()),
            "A1111 has no key {key:?} in: {text}"
        );
        let known = match key.as_str() {
            "Sampler" | "Hires sampler" => SAMPLERS.contains(&value.as_str()),
            "Schedule type" | "Hires schedule type" => SCHEDULERS.contains(&value.as_str()),
            "Size" | "Seed resize from" => size.is_match(value),
            "RNG" => ["CPU", "NV"].contains(&value.as_str()),
            "Steps" | "Seed" | "Variation seed" | "Clip skip" | "ENSD" | "Mask blur"
            | "Hires steps" => value.parse::<i64>().is_ok(),
            "CFG scale"
            | "Denoising strength"
            | "Variation seed strength"
            | "Hires upscale"
            | "Eta" => {
                // Python writes a whole number without its point only where it was one: 7, 7.5.
                value.parse::<f64>().is_ok() && !value.ends_with(".0")
            }
            "Tiling" => value == "True",
            _ => !value.is_empty(),
        };
        assert!(
            known,
            "{key}: {value:?} is none of A1111's values in: {text}"
        );
    }
    for needed in [
        "Steps",
        "Sampler",
        "Schedule type",
        "CFG scale",
        "Seed",
        "Size",
        "Model",
    ] {
        assert!(
            pairs.iter().any(|(key, _)| key == needed),
            "no {needed} in: {text}"
        );
    }
    assert!(text.starts_with(
        "a (red:1.2) apple, on: \"a table\"\nsecond line\nNegative prompt: blur, noise\nSteps: "
    ));
}

#[test]
fn every_sampler_of_a1111_and_every_scheduler() {
    let folder = tempfile::tempdir().expect("a folder");
    for (i, sampler) in SAMPLERS.iter().enumerate() {
        let scheduler = SCHEDULERS[i % SCHEDULERS.len()];
        let text = text_of(
            folder.path(),
            &["--sampler", sampler, "--scheduler", scheduler],
        );
        check(&text);
        assert!(text.contains(&format!("Sampler: {sampler},")), "{text}");
    }
}

#[test]
fn everything_that_adds_a_key() {
    let folder = tempfile::tempdir().expect("a folder");
    text_of(folder.path(), &[]);
    let given = folder.path().join("given.png");
    std::fs::copy(folder.path().join("picture.png"), &given).expect("a copy");
    let given = given.to_string_lossy().into_owned();
    for arguments in [
        &["--clip-skip", "2", "--cfg-scale", "7.5", "--rng", "cpu"][..],
        &[
            "--sampler",
            "Euler a",
            "--ensd",
            "31337",
            "--subseed",
            "9",
            "--subseed-strength",
            "0.3",
        ],
        &[
            "--hires-scale",
            "1.5",
            "--hires-steps",
            "2",
            "--hires-denoising-strength",
            "0.55",
        ],
        &["--init-img", &given, "--strength", "0.6"],
        &["--init-img", &given, "--outpaint", "16,0,0,0"],
        &["--tiling", "both"],
    ] {
        check(&text_of(folder.path(), arguments));
    }
}
