//! `latent train` as a person runs it: what is known before the first step, one run in one folder, how it ends.

#[path = "common/training.rs"]
mod training;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Output, Stdio},
};

use image::{GrayImage, Luma, RgbImage};

use training::*;

const PLAIN: &str = "[model.unet]\nout_channels = 3\nmodel_channels = 8\nnorm_groups = 4\nin_channels = 3\n\
                     levels = [{ channels = 8, resblocks = 1 }]";
const ATTENDS: &str = "[model.unet]\nout_channels = 3\nmodel_channels = 8\nnorm_groups = 4\nin_channels = 3\ncontext = 16\nmiddle = { heads = { width = 8 }, depth = 1 }\n\
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
        said.contains("004.png") && said.contains("1 of 6 pictures has no caption"),
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
        "1 caption is longer than the 8 tokens that the text encoder reads, and cut: 001.png",
        "left or right is said in 1 caption, and flip = 0.5",
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

/// The last line of what a run says with `--json`.
fn error_of(output: &Output) -> serde_json::Value {
    let said = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

/// A batch that no machine has room for is refused before anything is read.
#[cfg(target_os = "linux")]
#[test]
fn a_batch_that_memory_cannot_hold_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    pictures(&root.join("data"), 2);
    settings(root, DATA, PLAIN, "");
    let text = fs::read_to_string(root.join("s.toml")).unwrap();
    let large = text.replacen("batch = 2", "batch = 40000000000", 1);
    fs::write(root.join("s.toml"), large).unwrap();
    let output = command(root, &[TRAIN, &["--json"]].concat())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = error_of(&output);
    assert_eq!(error["error"], "memory_short");
    let message = error["message"].as_str().unwrap();
    for word in ["s.toml: batch = 40000000000", "accumulation", "can be had"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    assert!(!root.join("run").exists());
}

/// What no estimate foresees: a picture of its own size. It is so large that its tensors meet the limit, and no small
/// allocation of the C library, which ends the process.
#[cfg(target_os = "linux")]
#[test]
fn memory_that_runs_out_is_said_in_the_words_of_training() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir(root.join("data")).unwrap();
    let picture = RgbImage::new(2048, 2048);
    picture.save(root.join("data/a.png")).unwrap();
    settings(root, "steps = 2\ndata = { path = \"data\" }", PLAIN, "");
    let text = fs::read_to_string(root.join("s.toml")).unwrap();
    let alone = text.replacen("batch = 2", "batch = 1", 1);
    fs::write(root.join("s.toml"), alone).unwrap();
    let program = env!("CARGO_BIN_EXE_latent");
    let line = format!("ulimit -v 700000 && exec {program} train s.toml --out run -t 1 --json");
    let mut shell = Command::new("sh");
    let output = shell.args(["-c", &line]).current_dir(root).output();
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("precision") && !said.contains("--dtype"),
        "{said}"
    );
    let error = error_of(&output);
    assert_eq!(error["error"], "memory_short");
    assert!(error["message"].as_str().unwrap().contains("accumulation"));
}

#[test]
fn steps_that_change_nothing_are_noted() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    pictures(&root.join("data"), 2);
    settings(root, DATA, PLAIN, "");
    let with = |more: &[&str]| latent(root, &[TRAIN, more].concat());
    let (code, said) = with(&["--steps", "1"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("note: --steps"), "{said}");
    let (code, said) = with(&["--resume", "--steps", "60"]);
    assert_eq!(code, Some(0), "{said}");
    let longer =
        "note: --steps 60 makes no run longer: it ends after 2 steps, by `steps = 2` in s.toml";
    assert!(said.contains(longer), "{said}");
    let again = [TRAIN, &["--resume", "--steps", "1", "--json"]].concat();
    let output = command(root, &again).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains(
            r#"{"event":"note","message":"--steps 1 counts from the run's beginning, and the run is at step 2 already"#
        ),
        "{said}"
    );
}

#[test]
fn a_longer_run_with_a_decay_names_its_length() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    pictures(&root.join("data"), 2);
    let with = |steps: &str| {
        settings(root, &DATA.replace("steps = 2", steps), PLAIN, "");
        let text = fs::read_to_string(root.join("s.toml")).unwrap();
        let decays = text.replacen("peak = 1e-3", "peak = 1e-3, decay = \"cosine\"", 1);
        fs::write(root.join("s.toml"), decays).unwrap();
        latent(root, &[TRAIN, &["--resume"]].concat())
    };
    assert_eq!(with("steps = 1").0, Some(0));
    let (code, said) = with("steps = 2");
    assert_eq!(code, Some(2), "{said}");
    let why = "rate.over was 1 and is 2: the settings leave it out, and so it is the length of the run, steps = 2";
    assert!(said.contains(why), "{said}");
}

#[test]
fn mistakes_name_the_settings_and_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    pictures(&root.join("data"), 2);
    let with = |data: &str, model: &str| {
        settings(root, &format!("steps = 2\ndata = {{ {data} }}"), PLAIN, "");
        let text = fs::read_to_string(root.join("s.toml")).unwrap();
        let more = text.replacen(
            "kind = \"stage2\"",
            &format!("kind = \"stage2\"\n{model}"),
            1,
        );
        fs::write(root.join("s.toml"), more).unwrap();
        refused(root)
    };
    for (data, model, words) in [
        (
            "path = \"p\", size = 16",
            "",
            "s.toml: data.path: cannot read p: ",
        ),
        (
            "path = \"data\", size = 16, flip = 1.5",
            "",
            "s.toml: data.flip = 1.5: expected 0 to 1",
        ),
        (
            "path = \"data\"",
            "",
            "s.toml: data.size = none: expected a size, or a batch of 1",
        ),
        (
            "path = \"data\", size = 16",
            "first_stage = \"kl-f8\"",
            "s.toml: model.first_stage: kl-f8: ",
        ),
    ] {
        let said = with(data, model);
        assert!(said.contains(words), "{words}: {said}");
    }
    settings(root, &format!("begin_from = \"none\"\n{DATA}"), PLAIN, "");
    let said = refused(root);
    assert!(said.contains("s.toml: begin_from = none"), "{said}");
    // A file in the place of the run's folder.
    settings(root, DATA, PLAIN, "");
    fs::remove_dir_all(root.join("run")).unwrap();
    fs::write(root.join("run"), "").unwrap();
    let output = command(root, &[TRAIN, &["--json"]].concat()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = error_of(&output);
    assert_eq!(error["error"], "output_exists");
    let message = error["message"].as_str().unwrap();
    assert!(message.starts_with("run: is a file"), "{message}");
}
