//! Small runs of `latent train`: pictures, settings, and the program on them.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use image::{Rgb, RgbImage};

pub fn command(folder: &Path, line: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latent"));
    command.args(line).current_dir(folder).stdin(Stdio::null());
    command
}

pub fn latent(folder: &Path, line: &[&str]) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command(folder, line).output().unwrap();
    let said = [stdout, stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(!said.contains("a defect in latent"), "{said}");
    // As the terminal's lines were before they were folded.
    let words = said.split_whitespace().filter(|word| *word != "│");
    (status.code(), words.collect::<Vec<_>>().join(" "))
}

pub fn picture(folder: &Path, name: &str, mark: u8) {
    let picture = RgbImage::from_fn(16, 16, |x, y| Rgb([(16 * x) as u8, (16 * y) as u8, mark]));
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture.save(path).unwrap();
}

/// Pictures with captions.
pub fn pictures(folder: &Path, count: u8) {
    for i in 0..count {
        picture(folder, &format!("{i:03}.png"), 20 * i);
        fs::write(folder.join(format!("{i:03}.txt")), format!("picture {i}")).unwrap();
    }
}

pub const TEXT: &str = r#"[model.conditioner]
kind = "text"
tokenizer = "clip"
transformer = { vocabulary = 49408, positions = 8, width = 16, layers = 1, heads = 1, head_width = 16 }
[model.objective]
dropout = 0.1
"#;

/// Settings of a tiny denoiser of pixels; `root` are keys of the root, `denoiser` is its table, `tables` what follows.
pub fn settings(folder: &Path, root: &str, denoiser: &str, tables: &str) {
    let text = format!(
        r#"batch = 2
{root}
log = {{ every = 1, tensorboard = false }}
rate = {{ peak = 1e-3 }}

[model]
kind = "stage2"
samples = {{ count = 2, steps = 2 }}

{denoiser}

{tables}"#
    );
    fs::write(folder.join("s.toml"), text).unwrap();
}
