//! `latent train`, then `latent export`: every form of what a run has learnt.

use std::path::Path;
use std::process::{Command, Output};

fn latent(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_latent"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn works(folder: &Path, arguments: &[&str]) -> String {
    let output = latent(folder, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

const SETTINGS: &str = r#"
steps = 4
batch = 4
data = { path = "scenes", size = 16 }
rate = { peak = 1e-3 }
checkpoint = { every = 2 }

[model]
kind = "stage1"

[model.autoencoder]
in_channels = 3
out_channels = 3
levels = [{ channels = 8, attention = false }, { channels = 16, attention = false }]
resblocks = 1
middle_attention = false
z_channels = 4
latent_channels = 4
double_z = true
norm_groups = 4

[model.loss]
discriminator_weight = 0.0
"#;

#[test]
fn what_a_run_has_learnt_is_written_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::write(dir.join("small.toml"), SETTINGS).unwrap();
    works(
        dir,
        &[
            "data", "build", "scenes", "scenes", "--count", "8", "--size", "32",
        ],
    );
    let none = latent(dir, &["export", "small.toml", "early"]);
    assert_eq!(none.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&none.stderr).contains("no checkpoint"));

    works(dir, &["train", "small.toml", "--steps", "2"]);
    works(dir, &["export", "small.toml", "half"]);
    works(dir, &["train", "small.toml", "--resume"]);
    works(dir, &["export", "small.toml", "whole"]);
    works(dir, &["export", "small.toml", "whole.safetensors"]);
    let weights = |folder: &str| {
        std::fs::read(dir.join(folder).join("diffusion_pytorch_model.safetensors")).unwrap()
    };
    assert!(weights("whole") == weights("runs/small/model"));
    assert!(weights("half") != weights("whole"));
    let about: serde_json::Value =
        serde_json::from_str(&works(dir, &["info", "whole.safetensors", "--json"])).unwrap();
    assert!(about.to_string().contains("autoencoder"), "{about}");

    let again = latent(dir, &["export", "small.toml", "whole"]);
    assert_eq!(again.status.code(), Some(2));
    works(dir, &["export", "small.toml", "whole", "--overwrite"]);
    assert!(weights("whole") == weights("runs/small/model"));
}

/// The built-in model has a condition of its own, with a vocabulary beside it: one file keeps all of it.
#[test]
fn a_model_with_a_condition_is_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    works(dir, &["convert", "latent-default", "one.safetensors"]);
    let draw = |more: &[&str], name: &str| {
        let mut arguments = vec!["generate", "a red apple", "--seed", "3", "--steps", "2"];
        arguments.extend_from_slice(more);
        arguments.extend_from_slice(&["--no-metadata", "-o", name]);
        works(dir, &arguments);
        std::fs::read(dir.join(name)).unwrap()
    };
    let own = draw(&[], "own.png");
    assert!(own == draw(&["--model", "one.safetensors"], "one.png"));
    works(dir, &["convert", "one.safetensors", "again"]);
    assert!(own == draw(&["--model", "again"], "again.png"));
}
