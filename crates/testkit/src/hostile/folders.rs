//! Diffusers folders.

use std::fs;
use std::path::Path;

use super::Hostile;

const INDEX: &str =
    r#"{"_class_name":"StableDiffusionPipeline","unet":["diffusers","UNet2DConditionModel"]}"#;
const CONFIG: &str = r#"{"_class_name":"UNet2DConditionModel"}"#;
const SHARDS: &str = "unet/diffusion_pytorch_model.safetensors.index.json";

/// Name, words of the message, files with their content.
type Case<'a> = (&'static str, &'static str, Vec<(&'a str, &'a str)>);

pub(super) fn folders(dir: &Path) -> Vec<Hostile> {
    let huge = format!(r#"{{"a":"{}"}}"#, "x".repeat(5 << 20));
    let nested = "[".repeat(1 << 20);
    let shards = |files: &[(&'static str, &'static str)]| {
        let mut all = vec![("model_index.json", INDEX), ("unet/config.json", CONFIG)];
        all.extend_from_slice(files);
        all
    };
    // An empty shard: a header of two bytes, no tensors.
    let empty = "\x02\0\0\0\0\0\0\0{}";
    let cases: Vec<Case<'_>> = vec![
        ("folder with nothing in it", "model_index.json", vec![]),
        (
            "model_index.json is not JSON",
            "JSON",
            vec![("model_index.json", "{oops")],
        ),
        (
            "model_index.json is a list",
            "object",
            vec![("model_index.json", "[]")],
        ),
        (
            "model_index.json nested without end",
            "JSON",
            vec![("model_index.json", &nested)],
        ),
        (
            "component outside the folder",
            "subfolder",
            vec![("model_index.json", r#"{"../../etc":["a","b"]}"#)],
        ),
        (
            "config.json of 5 MiB",
            "limit",
            vec![("model_index.json", INDEX), ("unet/config.json", &huge)],
        ),
        (
            "config.json is not JSON",
            "JSON",
            vec![("model_index.json", INDEX), ("unet/config.json", "\u{0}")],
        ),
        (
            "component without a folder",
            "missing",
            vec![("model_index.json", INDEX)],
        ),
        ("component without weights", "no weight files", shards(&[])),
        (
            "shard outside the folder",
            "outside",
            shards(&[(SHARDS, r#"{"weight_map":{"w":"../../etc/passwd"}}"#)]),
        ),
        (
            "shard by an absolute path",
            "outside",
            shards(&[(SHARDS, r#"{"weight_map":{"w":"/etc/passwd"}}"#)]),
        ),
        (
            "missing shard",
            "is missing",
            shards(&[(SHARDS, r#"{"weight_map":{"w":"a.safetensors"}}"#)]),
        ),
        (
            "shard is a number",
            "not text",
            shards(&[(SHARDS, r#"{"weight_map":{"w":7}}"#)]),
        ),
        (
            "shard index without a map",
            "weight_map",
            shards(&[(SHARDS, "{}")]),
        ),
        (
            "shard without its tensor",
            "no shard has it",
            shards(&[
                (SHARDS, r#"{"weight_map":{"w":"a.safetensors"}}"#),
                ("unet/a.safetensors", empty),
            ]),
        ),
    ];
    let write = |(n, (name, says, files)): (usize, Case<'_>)| {
        let path = dir.join(format!("hostile_folder_{n:02}"));
        fs::create_dir_all(&path).expect("a test folder can be written to");
        for (file, content) in files {
            let file = path.join(file);
            let parent = file.parent().unwrap_or(&path);
            fs::create_dir_all(parent).expect("a test folder can be written to");
            fs::write(&file, content).expect("a test folder can be written to");
        }
        Hostile { name, path, says }
    };
    cases.into_iter().enumerate().map(write).collect()
}
