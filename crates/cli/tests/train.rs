//! `latent train` as a person runs it: what is known before the first step, one run in one folder, how it ends.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
};

use image::{GrayImage, Luma, Rgb, RgbImage};

fn command(folder: &Path, line: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latent"));
    command.args(line).current_dir(folder).stdin(Stdio::null());
    command
}

fn latent(folder: &Path, line: &[&str]) -> (Option<i32>, String) {
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

fn picture(folder: &Path, name: &str, mark: u8) {
    let picture = RgbImage::from_fn(16, 16, |x, y| Rgb([(16 * x) as u8, (16 * y) as u8, mark]));
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    picture.save(path).unwrap();
}

/// Pictures with captions.
fn pictures(folder: &Path, count: u8) {
    for i in 0..count {
        picture(folder, &format!("{i:03}.png"), 20 * i);
        fs::write(folder.join(format!("{i:03}.txt")), format!("picture {i}")).unwrap();
    }
}

const TEXT: &str = r#"[model.conditioner]
kind = "text"
tokenizer = "clip"
transformer = { vocabulary = 49408, positions = 8, width = 16, layers = 1, heads = 1, head_width = 16 }
[model.objective]
dropout = 0.1
"#;

/// Settings of a tiny denoiser of pixels; `root` are keys of the root, `unet` those of the network, `tables` what follows.
fn settings(folder: &Path, root: &str, unet: &str, tables: &str) {
    let text = format!(
        r#"batch = 2
{root}
log = {{ every = 1, tensorboard = false }}
rate = {{ peak = 1e-3 }}

[model]
kind = "stage2"
samples = {{ count = 2, steps = 2 }}

[model.unet]
out_channels = 3
model_channels = 8
norm_groups = 4
{unet}

{tables}"#
    );
    fs::write(folder.join("s.toml"), text).unwrap();
}

const PLAIN: &str = "in_channels = 3\nlevels = [{ channels = 8, resblocks = 1 }]";
const ATTENDS: &str = "in_channels = 3\ncontext = 16\nmiddle = { heads = { width = 8 }, depth = 1 }\n\
                       levels = [{ channels = 8, resblocks = 1, attention = { heads = { width = 8 }, depth = 1 } }]";
const DATA: &str = "steps = 2\ndata = { path = \"data\", size = 16 }";

const TRAIN: &[&str] = &["train", "s.toml", "--out", "run"];

/// A run is refused before its first step.
fn refused(folder: &Path) -> String {
    let (code, said) = latent(folder, TRAIN);
    assert_eq!(code, Some(2), "{said}");
    assert!(!folder.join("run/log.jsonl").exists(), "{said}");
    said
}

#[test]
fn captions_are_looked_through_before_the_first_step() {
    let dir = tempfile::tempdir().unwrap();
    let (root, data) = (dir.path(), dir.path().join("data"));
    pictures(&data, 6);
    settings(root, DATA, ATTENDS, TEXT);
    fs::remove_file(data.join("004.txt")).unwrap();
    let said = refused(root);
    assert!(
        said.contains("004.png") && said.contains("1 of 6 pictures have no caption"),
        "{said}"
    );

    // An empty one is a caption too; a long one is cut, and that is said.
    fs::write(data.join("004.txt"), "").unwrap();
    fs::write(
        data.join("001.txt"),
        "a very long way to the left of seven green towers",
    )
    .unwrap();
    settings(
        root,
        "steps = 2\ndata = { path = \"data\", size = 16, flip = 0.5 }",
        ATTENDS,
        TEXT,
    );
    let (code, said) = latent(root, TRAIN);
    assert_eq!(code, Some(0), "{said}");
    for words in [
        "folder: run",
        "read as folder, found by looking: 6 .png, 6 .txt",
        "captions: 6, 1 of them without a word; 13 tokens at most",
        "1 captions are longer than the 8 tokens that the text encoder reads, and are cut: 001.png",
        "1 captions say left or right, and flip = 0.5",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn the_validation_set_is_looked_through_too() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    pictures(&root.join("data"), 6);
    pictures(&root.join("other"), 4);
    fs::remove_file(root.join("other/002.txt")).unwrap();
    let with = |tables: &str| settings(root, DATA, ATTENDS, &format!("{TEXT}{tables}"));
    let validation = "[validation]\nevery = 2\ndata = { path = \"other\", size = 16 }\n";
    with(validation);
    let said = refused(root);
    assert!(said.contains("002.png"), "{said}");

    // Broken pictures of it are named, and no other takes their place.
    fs::write(root.join("other/002.txt"), "words").unwrap();
    fs::write(root.join("other/002.png"), "").unwrap();
    let (code, said) = latent(root, TRAIN);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("skipped 002.png of the validation set"),
        "{said}"
    );
    for file in fs::read_dir(root.join("other")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|e| e == "png") {
            fs::write(path, "").unwrap();
        }
    }
    fs::remove_dir_all(root.join("run")).unwrap();
    let said = refused(root);
    assert!(said.contains("none of which can be read"), "{said}");
}

#[test]
fn classes_are_counted_against_rows() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for class in ["ant", "bee", "cow"] {
        for i in 0..3 {
            picture(root, &format!("data/{class}/{i}.png"), 20 * i);
        }
    }
    let with = |rows: usize, dropout: f64, more: &str| {
        let tables = format!(
            "[model.conditioner]\nkind = \"class\"\nrows = {rows}\nwidth = 16\n[model.objective]\ndropout = {dropout}\n{more}"
        );
        settings(root, DATA, ATTENDS, &tables);
    };
    with(2, 0.0, "");
    let said = refused(root);
    assert!(
        said.contains("model.conditioner.rows = 2: expected 3 or more"),
        "{said}"
    );
    assert!(said.contains("2 (cow)"), "{said}");
    // The last row stands for no condition.
    with(3, 0.1, "");
    let said = refused(root);
    assert!(
        said.contains("rows = 3: expected 4 or more") && said.contains("dropout"),
        "{said}"
    );
    // A validation set without one of the classes counts the others otherwise.
    picture(root, "other/ant/0.png", 1);
    picture(root, "other/cow/0.png", 1);
    let validation = "[validation]\nevery = 2\ndata = { path = \"other\", size = 16 }\n";
    with(4, 0.1, validation);
    let said = refused(root);
    assert!(
        said.contains("class 1 is \"cow\"") && said.contains("\"bee\""),
        "{said}"
    );
    with(
        4,
        0.1,
        &validation.replace(
            "size = 16",
            "size = 16, classes = [\"ant\", \"bee\", \"cow\"]",
        ),
    );
    let (code, said) = latent(root, TRAIN);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("classes: 3, of 3 to 3 pictures each"),
        "{said}"
    );
    let names = fs::read_to_string(root.join("run/model/conditioner/classes.txt")).unwrap();
    assert_eq!(names, "ant\nbee\ncow\n");
}

#[test]
fn masks_are_counted_against_classes() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for i in 0..3u8 {
        picture(root, &format!("data/{i}.png"), i);
        let mask = GrayImage::from_fn(16, 16, |x, _| Luma([if x == 0 { 255 } else { i + 2 }]));
        fs::create_dir_all(root.join("data/masks")).unwrap();
        mask.save(root.join(format!("data/masks/{i}.png"))).unwrap();
    }
    let data = "steps = 2\ndata = { path = \"data\", size = 16, pairs = { masks = \"masks\" } }";
    let with = |classes: usize| {
        let tables = format!(
            "[model.conditioner]\nkind = \"semantic_map\"\nclasses = {classes}\nchannels = 3\nstages = 0\n"
        );
        settings(
            root,
            data,
            &PLAIN.replace("in_channels = 3", "in_channels = 6"),
            &tables,
        );
    };
    with(4);
    let said = refused(root);
    assert!(
        said.contains("classes = 4: expected 5 or more: 2.png has class 4"),
        "{said}"
    );
    with(5);
    let (code, said) = latent(root, TRAIN);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_folder_has_one_run() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    pictures(&root.join("data"), 4);
    settings(root, DATA, PLAIN, "");
    fs::create_dir(root.join("run")).unwrap();
    let held = File::create(root.join("run/.lock")).unwrap();
    held.try_lock().unwrap();
    let said = refused(root);
    assert!(said.contains("another run is writing into it"), "{said}");
    drop(held);
    // Without a checkpoint there is nothing to go on from.
    let (code, said) = latent(root, &[TRAIN, &["--resume"]].concat());
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("run: no checkpoint to go on from; the run begins"),
        "{said}"
    );
    let (code, said) = latent(root, &[TRAIN, &["--resume"]].concat());
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("going on after step 2"), "{said}");
    // The folder of a run is not its model.
    let draw = ["generate", "--model", "run", "-o", "x.png"];
    let (code, said) = latent(root, &draw);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("use run/model"), "{said}");
}

#[test]
fn a_run_that_nobody_follows_stops_and_can_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    pictures(&root.join("data"), 4);
    settings(
        root,
        &DATA.replace("steps = 2", "steps = 100000"),
        PLAIN,
        "",
    );
    let mut child = command(root, &[TRAIN, &["--json"]].concat())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..3 {
        lines.next().unwrap().unwrap();
    }
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(141));
    let checkpoints = fs::read_dir(root.join("run/checkpoints")).unwrap();
    assert_eq!(checkpoints.count(), 1);
}

#[test]
fn what_is_not_there_is_bad_input() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    settings(root, DATA, PLAIN, "");
    for (line, words) in [
        (&["train", "none.toml"][..], "configs/small"),
        (&["train", "s.toml"], "data"),
        (&["export", "s.toml", "model"], "no checkpoint"),
        (&["data", "check", "none"], "none"),
        (&["data", "check", "none.toml"], "none.toml"),
    ] {
        let (code, said) = latent(root, line);
        assert_eq!(code, Some(2), "{line:?}: {said}");
        assert!(said.contains(words), "{line:?}: {said}");
    }
}

#[test]
fn a_key_that_is_not_known_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    pictures(&root.join("data"), 4);
    settings(root, DATA, ATTENDS, TEXT);
    let good = fs::read_to_string(root.join("s.toml")).unwrap();
    for (before, name) in [
        ("batch", "zzz"),
        ("in_channels", "model.unet.zzz"),
        ("tokenizer", "model.conditioner.zzz"),
        ("dropout", "model.objective.zzz"),
    ] {
        let text = good.replacen(before, &format!("zzz = 1\n{before}"), 1);
        let line = 1 + text.lines().position(|line| line == "zzz = 1").unwrap();
        fs::write(root.join("s.toml"), text).unwrap();
        let said = refused(root);
        assert!(said.contains(&format!("line {line}, {name}: ")), "{said}");
    }
    let inner = good.replacen(
        "{ width = 8 }, depth = 1 } }]",
        "{ width = 8 }, depth = 1, dpeth = 2 } }]",
        1,
    );
    assert_ne!(inner, good);
    fs::write(root.join("s.toml"), inner).unwrap();
    let said = refused(root);
    assert!(
        said.contains("model.unet.levels[0].attention.dpeth") && said.contains("`depth`"),
        "{said}"
    );
}
