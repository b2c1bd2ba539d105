//! The invariants of ARCHITECTURE.md that text can show: arrows between crates, where `unsafe` and printing may stand,
//! the length of files, product names. What the compiler checks (missing docs, lints) is not repeated here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// crate → the crates of this workspace that it may depend on. `testkit` may stand in anybody's dev-dependencies.
const ARROWS: &[(&str, &[&str])] = &[
    ("conditions", &["models", "checkpoint", "text"]),
    ("data", &[]),
    ("default-model", &["checkpoint"]),
    ("kernels", &[]),
    ("ops", &["kernels"]),
    (
        "train",
        &[
            "models",
            "checkpoint",
            "conditions",
            "data",
            "diffusion",
            "text",
            "ops",
            "metrics",
        ],
    ),
    ("diffusion", &[]),
    ("text", &[]),
    ("models", &["ops"]),
    ("checkpoint", &["models", "text"]),
    (
        "pipeline",
        &[
            "models",
            "checkpoint",
            "conditions",
            "text",
            "diffusion",
            "ops",
        ],
    ),
    (
        "eval",
        &[
            "models",
            "checkpoint",
            "data",
            "diffusion",
            "metrics",
            "ops",
            "pipeline",
            "train",
        ],
    ),
    (
        "cli",
        &[
            "models",
            "checkpoint",
            "data",
            "default-model",
            "text",
            "diffusion",
            "eval",
            "kernels",
            "ops",
            "pipeline",
            "queue",
            "serve",
            "train",
            "testkit",
        ],
    ),
    ("metrics", &[]),
    ("queue", &[]),
    ("serve", &["queue"]),
    ("testkit", &[]),
];

/// The only files, by the beginning of their names, that may hold `unsafe`.
const UNSAFE: &[&str] = &["crates/checkpoint/src/file/mmap.rs", "crates/kernels/src/"];

/// Words that name a product. Below `pipeline` they may stand in comments, tests and these tables of data.
const PRODUCTS: &[&str] = &["stable diffusion", "sdxl", "sd15", "sd1.5", "sd 1", "sd_1"];
const PRODUCT_TABLES: &[&str] = &[
    // The configurations whose parameter counts are tested, by the names of their papers and releases.
    "crates/models/src/named/",
    // The small models of each family that tests write, by the family that they stand for.
    "crates/checkpoint/src/tiny/families.rs",
];

/// No file of code is longer.
const MOST_LINES: usize = 500;

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .expect("testkit lies two folders down")
        .to_path_buf()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.map(|e| e.expect("a readable folder").path()) {
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Every source file as (path from the root, text), the local `unify` helper crate left out.
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut paths = Vec::new();
    walk(&root.join("crates"), &mut paths);
    walk(&root.join("fuzz/fuzz_targets"), &mut paths);
    walk(&root.join("examples"), &mut paths);
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let name = path
                .strip_prefix(&root)
                .expect("below the root")
                .to_string_lossy()
                .into_owned();
            (name, fs::read_to_string(&path).expect("a readable file"))
        })
        .filter(|(name, _)| !name.starts_with("crates/unify/"))
        .collect()
}

/// The text without comments and without what follows the first `#[cfg(test)]` that opens a module.
fn code(text: &str) -> String {
    let text = text
        .find("#[cfg(test)]\nmod ")
        .map_or(text, |at| &text[..at]);
    text.lines()
        .map(|line| line.find("//").map_or(line, |at| &line[..at]))
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_library(name: &str) -> bool {
    name.starts_with("crates/")
        && name.contains("/src/")
        && !name.starts_with("crates/cli/")
        && !name.starts_with("crates/testkit/")
}

fn assert_none(rule: &str, broken: Vec<String>) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

#[test]
fn arrows_point_down() {
    let allowed: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut broken = Vec::new();
    for entry in fs::read_dir(root().join("crates")).expect("crates/ is readable") {
        let folder = entry.expect("a readable folder").path();
        let name = folder
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        if name == "unify" {
            continue;
        }
        let Some(may) = allowed.get(name.as_str()) else {
            broken.push(format!("{name} has no line in ARROWS"));
            continue;
        };
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
        let mut section = String::new();
        for line in manifest.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line.to_owned();
            }
            let Some(target) = line.strip_prefix("latent-") else {
                continue;
            };
            let target = target.split(['.', ' ', '=']).next().unwrap_or_default();
            let dev = section == "[dev-dependencies]";
            let allowed = may.contains(&target) || (dev && target == "testkit");
            if !allowed {
                broken.push(format!("{name} depends on {target} in {section}"));
            }
        }
    }
    assert_none("an arrow that ARCHITECTURE.md does not have", broken);
}

#[test]
fn unsafe_stands_where_it_may() {
    let word = ["uns", "afe"].concat();
    let mut broken = Vec::new();
    for (name, text) in sources() {
        let uses = code(&text)
            .lines()
            .filter(|l| {
                l.contains(&format!("{word} ")) || l.contains(&format!("allow({word}_code)"))
            })
            .count();
        let may = UNSAFE.iter().any(|place| name.starts_with(place));
        if uses > 0 && !may && !name.ends_with("tests/tidy.rs") {
            broken.push(format!("{name}: {uses} lines"));
        }
        if may {
            let blocks = code(&text).matches(&format!("{word} {{")).count();
            let reasons = text.matches("SAFETY:").count();
            if reasons < blocks {
                broken.push(format!("{name}: {blocks} blocks, {reasons} SAFETY reasons"));
            }
        }
    }
    assert_none("unsafe outside its places, or without its reason", broken);
}

#[test]
fn files_are_short() {
    let long = sources()
        .into_iter()
        .map(|(name, text)| (name, text.lines().count()))
        .filter(|(_, lines)| *lines > MOST_LINES)
        .map(|(name, lines)| format!("{name}: {lines} lines"))
        .collect();
    assert_none(&format!("a file over {MOST_LINES} lines"), long);
}

#[test]
fn libraries_are_quiet() {
    const LOUD: &[&str] = &[
        "println!",
        "print!",
        "eprintln!",
        "eprint!",
        "dbg!",
        "process::exit",
        "env::var",
        "env::args",
        "todo!",
        "unimplemented!",
        "static mut",
    ];
    let mut broken = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| is_library(name)) {
        let code = code(&text);
        for word in LOUD.iter().filter(|word| code.contains(**word)) {
            broken.push(format!("{name}: {word}"));
        }
    }
    assert_none(
        "a library prints, reads the environment, exits or is unfinished",
        broken,
    );
}

#[test]
fn no_hidden_randomness_or_clock() {
    const HIDDEN: &[&str] = &[
        "thread_rng",
        "rand::rng(",
        "rand::random",
        "SystemTime::now",
        "Tensor::random",
        "getrandom",
    ];
    let mut broken = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| is_library(name)) {
        let code = code(&text);
        for word in HIDDEN.iter().filter(|word| code.contains(**word)) {
            broken.push(format!("{name}: {word}"));
        }
    }
    assert_none("randomness or time that no argument gave", broken);
}

#[test]
fn product_names_stay_above() {
    const BELOW: &[&str] = &[
        "data",
        "kernels",
        "ops",
        "train",
        "diffusion",
        "text",
        "models",
        "checkpoint",
        "conditions",
    ];
    let mut broken = Vec::new();
    for (name, text) in sources() {
        let below = BELOW
            .iter()
            .any(|c| name.starts_with(&format!("crates/{c}/src/")));
        let table = PRODUCT_TABLES.iter().any(|t| name.starts_with(t));
        if !below || table {
            continue;
        }
        let code = code(&text).to_lowercase();
        for word in PRODUCTS.iter().filter(|word| code.contains(**word)) {
            broken.push(format!("{name}: {word}"));
        }
    }
    assert_none("a product name below `pipeline`", broken);
}

#[test]
fn the_diffusion_crate_sees_no_network() {
    let manifest =
        fs::read_to_string(root().join("crates/diffusion/Cargo.toml")).expect("a manifest");
    assert!(!manifest.contains("latent-models") && !manifest.contains("latent-ops"));
    let seen: Vec<_> = sources()
        .into_iter()
        .filter(|(name, text)| {
            name.starts_with("crates/diffusion/src/")
                && ["burn::module", "burn::nn"]
                    .iter()
                    .any(|w| code(text).contains(w))
        })
        .map(|(name, _)| name)
        .collect();
    assert_none("a network inside `diffusion`", seen);
}

#[test]
fn every_crate_opens_with_an_essay() {
    let mut broken = Vec::new();
    for (name, text) in sources() {
        let is_root = name.starts_with("crates/")
            && (name.ends_with("/src/lib.rs") || name.ends_with("/src/main.rs"));
        let lines = text.lines().take_while(|l| l.starts_with("//!")).count();
        if is_root && lines < 3 {
            broken.push(format!("{name}: {lines} lines of introduction"));
        }
    }
    assert_none("a crate without its introduction", broken);
}
