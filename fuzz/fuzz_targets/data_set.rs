//! Data sets: tables, shards and IDX files of strangers, and the pictures in them.
#![no_main]

use latent_data::{DataConfig, json, open};
use libfuzzer_sys::fuzz_target;

/// The names by which the formats are known.
const NAMES: [&str; 7] = [
    "a.csv",
    "a.jsonl",
    "a.parquet",
    "a.tar",
    "a-images-idx3-ubyte",
    "a-images-idx3-ubyte.gz",
    "a.png",
];

// The first byte chooses the format, the rest is the file.
fuzz_target!(|data: &[u8]| {
    let Some((&format, bytes)) = data.split_first() else { return };
    if let Ok(value) = serde_json::from_slice(bytes) {
        let _ = json::boxes("fuzz", value, &["thing".to_owned()]);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join(NAMES[usize::from(format) % NAMES.len()]);
    std::fs::write(&file, bytes).expect("a temporary file");
    let Ok(path) = toml::Value::try_from(&file) else { return };
    let config = format!("path = {path}\nsize = 16");
    let config: DataConfig = toml::from_str(&config).expect("a configuration");
    let Ok(source) = open(&config, &[]) else { return };
    for index in 0..source.len().min(4) {
        let _ = source.read(index);
    }
});
