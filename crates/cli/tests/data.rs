//! `latent data` as a person runs it.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

fn run(folder: &Path, line: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_latent"));
    command.arg("data").args(line).current_dir(folder);
    // Nothing may be fetched by a test.
    command
        .env("HOME", folder.join("cache"))
        .env_remove("XDG_CACHE_HOME")
        .env("PATH", "");
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.split_whitespace()
        .filter(|word| *word != "│")
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn scenes_are_built_checked_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let build = [
        "build",
        "scenes",
        "set",
        "--count",
        "6",
        "--size",
        "48",
        "--concepts",
        "star,red heart",
    ];
    let built = run(dir.path(), &build);
    assert!(built.status.success(), "{}", text(&built.stderr));
    assert_eq!(text(&built.stdout), "set: 6 scenes of 2 things");
    let again = run(dir.path(), &[&build[..], &["--json"]].concat());
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("set exists already"));
    let error: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(error["error"], "output_exists");
    let one = ["build", "scenes", "one", "--count", "1", "--size", "32"];
    let one = run(dir.path(), &[&one[..], &["--concepts", "star"]].concat());
    assert_eq!(text(&one.stdout), "one: 1 scene of 1 thing");
    let said = text(&run(dir.path(), &["check", "one"]).stdout);
    assert!(said.contains("one: 1 picture, 0 broken"), "{said}");

    std::fs::write(dir.path().join("set.toml"), "path = 'set'\nsize = 32").unwrap();
    let check = ["check", "set.toml", "--sheet", "sheet.png", "--json"];
    let checked = run(dir.path(), &[&check[..], &["--threads", "1"]].concat());
    assert!(checked.status.success(), "{}", text(&checked.stderr));
    let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
    assert_eq!(
        (&report["pictures"], &report["masks"]),
        (&6.into(), &6.into())
    );
    assert_eq!(report["shapes"][0]["width"], 32);
    assert_eq!(report["classes"][2]["name"], "star");
    let sheet = std::fs::read(dir.path().join("sheet.png")).unwrap();
    assert!(sheet.starts_with(b"\x89PNG"));
    let kept = run(dir.path(), &check);
    assert_eq!(
        kept.status.code(),
        Some(2),
        "a sheet is not replaced unasked"
    );
    // What was read is told all the same, before the error.
    let said = String::from_utf8_lossy(&kept.stdout);
    let mut lines = said.lines();
    let report: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(report["read"]["format"], "jsonl");
    let error: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert!(error.to_string().contains("sheet.png"), "{error}");

    std::fs::write(dir.path().join("set/pictures/000002.png"), "no\u{1b}[31m").unwrap();
    let broken = run(dir.path(), &["check", "set"]);
    assert_eq!(broken.status.code(), Some(2));
    let said = text(&broken.stdout);
    assert!(
        said.contains("6 pictures, 1 broken") && said.contains("000002.png"),
        "{said}"
    );
    assert!(said.contains("read as jsonl, found by looking"), "{said}");
    std::fs::write(dir.path().join("set/stray.avif"), "").unwrap();
    let said = text(&run(dir.path(), &["check", "set"]).stdout);
    assert!(
        said.contains("note left out: 1 picture that the table does not name: stray.avif"),
        "{said}"
    );
}

#[test]
fn a_folder_of_icons_becomes_a_set() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("mine")).unwrap();
    let svg = r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><path fill="red" d="M1 1h5v6h-5z"/></svg>"#;
    for name in ["ball.svg", "cup.svg", "notes.md"] {
        std::fs::write(dir.path().join("mine").join(name), svg).unwrap();
    }
    let list = "thing\talso\tdrawn as\nmug\tbeaker\tcup\nkite\n";
    std::fs::write(dir.path().join("list.tsv"), list).unwrap();
    let build = ["build", "icons", "set", "--from", "mine", "--size", "32"];
    let listed = [&build[..], &["--things", "list.tsv", "--variants", "3"]].concat();
    let built = run(dir.path(), &listed);
    let said = text(&built.stdout);
    assert!(built.status.success(), "{}", text(&built.stderr));
    assert!(said.starts_with("set: 2 drawings; "), "{said}");
    assert!(said.contains("left out: notes.md"), "{said}");
    assert!(
        said.contains("1 on the list and drawn by none: kite"),
        "{said}"
    );
    let table = |part: &str| {
        let file = dir.path().join("set").join(part).join("metadata.jsonl");
        std::fs::read_to_string(file).unwrap()
    };
    let rows = table("train") + &table("test");
    assert!(
        rows.contains(r#""thing":"mug""#) && rows.contains(r#""thing":"ball""#),
        "{rows}"
    );
    let again = run(dir.path(), &build);
    assert!(text(&again.stderr).contains("set exists already"));
}

#[test]
fn mistakes_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.toml"), "path = 'x'\nsizes = 3").unwrap();
    std::fs::write(dir.path().join("b.toml"), "path = 'x'\nflip = 1.5").unwrap();
    for (line, word) in [
        (&["check", "nowhere"][..], "nowhere"),
        (&["check", "a.toml"], "sizes"),
        (
            &["check", "b.toml"],
            "b.toml is no data configuration: flip = 1.5",
        ),
        (&["check", "."], "no pictures"),
        (&["build", "scenes", "out", "--art", "clip"], "fluent-flat"),
        (
            &["build", "scenes", "out", "--concepts", "unicorn"],
            "unicorn",
        ),
        (
            &["build", "scenes", "out", "--least", "4", "--most", "2"],
            "--least 4 --most 2: expected 1 to 4",
        ),
        (&["build", "scenes", "out", "--count", "0"], "--count 0"),
        (
            &["build", "scenes", "out", "--size", "9"],
            "--size 9: expected 32 to 2048",
        ),
        (
            &["build", "icons", "out", "--from", "a.toml"],
            "a.toml: it is a file, expected a folder",
        ),
        (
            &["build", "icons", "out", "--from", ".", "--things", "a.toml"],
            "a.toml, line 1 is damaged: expected the columns",
        ),
        (
            &["build", "default", "out", "--styles", "--variants", "11"],
            "--variants 11: with --styles a drawing has at most 10",
        ),
        (
            &["build", "fashion-mnist", "out", "--from", "/nope"],
            "--from /nope: there is no such file or folder",
        ),
        (
            &["build", "fashion-mnist", "out", "--from", "a.toml"],
            "a.toml is damaged: it is no Debian package",
        ),
    ] {
        let output = run(dir.path(), line);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line:?}: {said}");
        assert!(said.contains(word), "{line:?}: {said}");
    }
    // The registry's client is not there: where the file could be put is said.
    let fetch = run(dir.path(), &["build", "scenes", "out", "--art", "noto"]);
    assert_eq!(fetch.status.code(), Some(1));
    let said = text(&fetch.stderr);
    assert!(
        said.contains("npm pack") && said.contains("noto-1.2.9.tgz"),
        "{said}"
    );
    assert!(!dir.path().join("out").exists());
}
