//! A place where `latent` runs.

#![allow(dead_code)] // each test file uses its own part

#[cfg(unix)]
pub mod service;

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use latent_checkpoint::tiny::write_tiny;
use latent_pipeline::picture::Picture;
use latent_testkit::recipe::tensor_f16;

/// A folder of one's own, with a cache and a tiny checkpoint in it, where `latent` runs.
pub struct Place(tempfile::TempDir);

/// The checkpoint: its networks are those of Stable Diffusion in all but size, its weights a formula.
pub const TINY: &str = "tiny/model.safetensors";

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tiny = folder.path().join("tiny");
        std::fs::create_dir(&tiny).unwrap();
        write_tiny(&tiny, 4, &mut |component, name, shape| {
            tensor_f16(&format!("{component}/{name}"), shape, 0)
        })
        .unwrap();
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn command(&self, line: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_latent"));
        command
            .args(line)
            .current_dir(self.path())
            .env_remove("LATENT_MODELS")
            .stdin(Stdio::null());
        for variable in ["XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"] {
            command.env(variable, self.path().join("cache"));
        }
        command
    }

    pub fn run(&self, line: &[&str]) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs a line that must succeed; standard output.
    pub fn ok(&self, line: &[&str]) -> String {
        let output = self.run(line);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a line that must end with `code`; standard error, unwrapped.
    pub fn fails(&self, line: &[&str], code: i32) -> String {
        let output = self.run(line);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{line:?}: {errors}");
        assert!(!errors.contains("a defect in latent"), "{line:?}: {errors}");
        // miette wraps lines behind a bar.
        errors
            .split_whitespace()
            .filter(|word| *word != "│")
            .collect::<Vec<_>>()
            .join(" ")
    }

    pub fn draw(&self, more: &[&str]) -> String {
        self.draw_with(TINY, more)
    }

    pub fn draw_with(&self, model: &str, more: &[&str]) -> String {
        let base = [
            "generate", "-p", "a cat", "--size", "64x48", "--steps", "2", "-s", "3", "-m", model,
        ];
        self.ok(&[&base[..], more].concat())
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap()
    }

    pub fn picture(&self, name: &str) -> Picture {
        Picture::read(&self.path().join(name)).unwrap()
    }
}
