//! The program as a person runs it: files in, files out, exit codes.

mod common;

#[cfg(unix)]
use std::process::Child;
use std::process::{Command, Stdio};

use common::{Place, TINY};
use latent_pipeline::picture::{Picture, metadata::Metadata};
use serde_json::Value;

#[test]
fn a_picture_repeats_to_the_bit() {
    let place = Place::new();
    place.draw(&[
        "-o",
        "a.png",
        "--batch-size",
        "2",
        "-b",
        "2",
        "--grid",
        "sheet.png",
        "--save-latents",
        "l.safetensors",
    ]);
    assert_eq!(place.picture("sheet.png").size().to_string(), "128x96");
    for number in 1..=4 {
        let name = format!("a-0000{number}.png");
        place.ok(&[
            "generate",
            "--from",
            &name,
            "-o",
            &format!("again{number}.png"),
        ]);
        assert_eq!(
            place.bytes(&name),
            place.bytes(&format!("again{number}.png"))
        );
    }
    // One thread or two, alone or in a batch.
    for threads in ["1", "2"] {
        let name = format!("alone{threads}.png");
        place.ok(&[
            "generate",
            "-p",
            "a cat",
            "--size",
            "64x48",
            "--steps",
            "2",
            "-s",
            "6",
            "-m",
            TINY,
            "-o",
            &name,
            "--threads",
            threads,
        ]);
        assert_eq!(place.bytes("a-00004.png"), place.bytes(&name));
    }
    let latents = place.bytes("l.safetensors");
    let header: Value = serde_json::from_slice(
        &latents[8..8 + usize::from(latents[0]) + 256 * usize::from(latents[1])],
    )
    .unwrap();
    assert_eq!(header["latents"]["shape"], serde_json::json!([4, 4, 6, 8]));
    assert_eq!(header["__metadata__"]["seeds"], "3,4,5,6");
}

#[test]
fn other_starts_than_text() {
    let place = Place::new();
    place.draw(&["-o", "a.png"]);
    Picture::plain(64, 48, [0; 3])
        .write(
            &place.path().join("none.png"),
            95,
            &Metadata::default(),
            false,
        )
        .unwrap();
    let mut mask = Picture::plain(64, 48, [0; 3]);
    mask.paste(&Picture::plain(24, 24, [255; 3]), 8, 8);
    mask.write(
        &place.path().join("mask.png"),
        95,
        &Metadata::default(),
        false,
    )
    .unwrap();

    place.draw(&["-i", "a.png", "--strength", "0.5", "-o", "b.png"]);
    assert_ne!(place.picture("b.png"), place.picture("a.png"));
    place.draw(&[
        "-i",
        "a.png",
        "--mask",
        "mask.png",
        "--mask-blur",
        "0",
        "--only-masked",
        "-o",
        "c.png",
    ]);
    let (before, after) = (place.picture("a.png"), place.picture("c.png"));
    assert_eq!(before.pixel(60, 40), after.pixel(60, 40));
    assert!((8..32).any(|i| before.pixel(i, i) != after.pixel(i, i)));
    place.ok(&[
        "generate",
        "-i",
        "a.png",
        "--outpaint",
        "16,0,0,8",
        "--steps",
        "2",
        "-o",
        "d.png",
    ]);
    assert_eq!(place.picture("d.png").size().to_string(), "80x56");
    place.draw(&["--hires-scale", "1.5", "--hires-steps", "2", "-o", "e.png"]);
    assert_eq!(place.picture("e.png").size().to_string(), "96x72");
    place.ok(&[
        "generate", "-W", "50", "-H", "41", "--steps", "1", "-o", "f.png",
    ]);
    assert_eq!(place.picture("f.png").size().to_string(), "50x41");
    let nothing = place.fails(&["generate", "-i", "a.png", "--mask", "none.png"], 2);
    assert!(nothing.contains("white"), "{nothing}");
}

#[test]
fn programs_read_json() {
    let place = Place::new();
    let lines = place.draw(&["-o", "a.webp", "--json"]);
    let events: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        (&events[0]["event"], &events[0]["seed"]),
        (&"picture".into(), &3.into())
    );
    assert_eq!(events[1]["event"], "done");
    let info: Value = serde_json::from_str(&place.ok(&["info", "a.webp", "--json"])).unwrap();
    assert_eq!(info["request"], events[0]["request"]);
    assert_eq!(info["parameters"], events[0]["parameters"]);
    let failed = place.run(&["generate", "--steps", "0", "--json"]);
    let event: Value = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!(
        (&event["event"], &event["code"]),
        (&"error".into(), &2.into())
    );
}

#[test]
fn files_are_kept_unless_told() {
    let place = Place::new();
    place.draw(&["-o", "a.png"]);
    let before = place.bytes("a.png");
    let refused = place.fails(&["generate", "-p", "x", "-o", "a.png"], 2);
    assert!(refused.contains("--overwrite"), "{refused}");
    assert_eq!(place.bytes("a.png"), before);
    place.draw(&["-o", "a.png", "--overwrite", "--no-metadata"]);
    assert_eq!(
        Metadata::read("a", &place.bytes("a.png")).unwrap(),
        Metadata::default()
    );
    // Numbers go on.
    place.draw(&["-b", "2", "-o", "n.png"]);
    place.draw(&["-b", "2", "-o", "n.png"]);
    assert!(place.path().join("n-00004.png").exists());
    place.draw(&["-o", "n.png", "--output-begin-idx", "10"]);
    assert!(place.path().join("n-00010.png").exists());
    // Nothing half-written, nothing forgotten.
    let left = std::fs::read_dir(place.path())
        .unwrap()
        .filter_map(Result::ok);
    assert!(
        left.into_iter()
            .all(|entry| !entry.file_name().to_string_lossy().starts_with(".latent"))
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_a_failure_without_a_file() {
    let place = Place::new();
    let failure = place.fails(
        &[
            "generate",
            "--size",
            "64x64",
            "--steps",
            "1",
            "-o",
            "/dev/full/a.png",
        ],
        1,
    );
    assert!(failure.contains("/dev/full"), "{failure}");
    let failure = place.fails(
        &[
            "generate",
            "--size",
            "64x64",
            "--steps",
            "1",
            "-o",
            "/proc/a.png",
        ],
        1,
    );
    assert!(failure.contains("/proc"), "{failure}");
}

/// Until a run writes its first preview, `preview.png`.
#[cfg(unix)]
fn wait_for_a_step(place: &Place) {
    let started = std::time::Instant::now();
    while !place.path().join("preview.png").exists() {
        assert!(started.elapsed().as_secs() < 120, "no step in two minutes");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[cfg(unix)]
fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_what_there_is() {
    let place = Place::new();
    let line = [
        "generate", "-p", "x", "--size", "256x256", "--steps", "1000", "-b", "3", "-o", "a.png",
    ];
    let watched = ["--model", TINY, "--preview", "preview.png"];
    let child = place
        .command(&[&line[..], &watched].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_for_a_step(&place);
    send("-INT", &child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("stopped at step"), "{text}");
    assert!(
        place.path().join("a-00001.png").exists() && !place.path().join("a-00002.png").exists()
    );
    // The picture says that it is no repeat of its settings, and so does whoever repeats it.
    let info = place.ok(&["info", "a-00001.png"]);
    assert!(
        info.contains("Stopped: step") && !info.contains("repeats it"),
        "{info}"
    );
    let again = place.run(&[
        "generate",
        "--from",
        "a-00001.png",
        "--steps",
        "1",
        "-o",
        "b.png",
    ]);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        again.status.success() && said.contains("was stopped at step"),
        "{said}"
    );
    assert!(!place.ok(&["info", "b.png"]).contains("Stopped"));
}

/// `nohup` starts a program that ignores SIGHUP: a terminal that is closed must not stop its run.
#[cfg(target_os = "linux")]
#[test]
fn a_closed_terminal_stops_a_run_unless_it_was_told_not_to() {
    let place = Place::new();
    let run = |ignores: &str| {
        let program = format!(
            "{ignores} exec {} generate -p x --size 256x256 --steps 1000 -o a.png --overwrite --model {TINY} --preview preview.png",
            env!("CARGO_BIN_EXE_latent")
        );
        let _ = std::fs::remove_file(place.path().join("preview.png"));
        let child = Command::new("sh")
            .args(["-c", &program])
            .current_dir(place.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_for_a_step(&place);
        child
    };
    // Where these tests run under `nohup` themselves, everything that they start ignores it.
    let mut asked = Command::new("sh");
    let everything_ignores_it = asked
        .args(["-c", "kill -HUP $$"])
        .status()
        .unwrap()
        .success();
    if !everything_ignores_it {
        let mut plain = run("");
        send("-HUP", &plain);
        assert_eq!(plain.wait().unwrap().code(), Some(130));
    }

    let mut kept = run("trap '' HUP;");
    send("-HUP", &kept);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(kept.try_wait().unwrap().is_none(), "it was told to go on");
    send("-TERM", &kept);
    assert_eq!(kept.wait().unwrap().code(), Some(130));
}

#[test]
fn checkpoints_are_described_and_converted() {
    let place = Place::new();
    place.draw(&["-o", "a.png"]);
    let text = place.ok(&["info", TINY, "--hash"]);
    assert!(
        text.contains("SHA-256") && text.contains("denoiser         U-Net"),
        "{text}"
    );
    let json: Value =
        serde_json::from_str(&place.ok(&["info", TINY, "--json", "--tensors"])).unwrap();
    assert_eq!(json["parts"].as_array().unwrap().len(), 3);
    assert!(json["tensors"].as_array().unwrap().len() > 900);

    place.ok(&["convert", TINY, "folder"]);
    place.ok(&["convert", "folder", "back.ckpt"]);
    place.ok(&["convert", "back.ckpt", "wide.safetensors", "--dtype", "f32"]);
    for (name, file) in [
        ("b.png", "folder"),
        ("c.png", "back.ckpt"),
        ("d.png", "wide.safetensors"),
    ] {
        place.draw_with(file, &["-o", name]);
        assert_eq!(place.picture(name), place.picture("a.png"), "{file}");
    }
    assert!(
        place
            .fails(&["convert", TINY, "folder"], 2)
            .contains("folder")
    );
    assert!(
        place
            .fails(&["convert", TINY, "x.gguf"], 2)
            .contains(".safetensors")
    );
}

#[test]
fn a_sheet_says_how_many_pictures_there_are() {
    let place = Place::new();
    let base = [
        "generate", "a cat", "--size", "64", "--steps", "1", "-s", "5", "-m", TINY,
    ];
    let with = |more: &[&'static str]| [&base, more].concat();
    place.ok(&with(&["--grid", "3x2", "-o", "sheet.png"]));
    let sheet = place.picture("sheet.png");
    assert_eq!(sheet.size().to_string(), "192x128");
    place.ok(&with(&["-o", "one.png"]));
    assert_eq!(sheet.pixel(63, 63), place.picture("one.png").pixel(63, 63));
    let files = std::fs::read_dir(place.path()).unwrap();
    let pictures = files.filter(|f| f.as_ref().unwrap().path().extension() == Some("png".as_ref()));
    assert_eq!(pictures.count(), 2);
    let refused = place.fails(&with(&["--grid", "3x2", "--batch-count", "2"]), 2);
    assert!(refused.contains("--batch-count"), "{refused}");
    let refused = place.fails(&with(&["--grid", "0x2"]), 2);
    assert!(refused.contains("1 to 64"), "{refused}");
    // These pictures have no plain edge: that is said, and the picture is whole.
    let output = place.run(&with(&["--transparent", "-o", "cut.png"]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.contains("nothing is transparent"),
        "{said}"
    );
    assert!(place.picture("cut.png").alpha().is_none());
    let refused = place.fails(&with(&["--transparent", "-o", "cut.jpg"]), 2);
    assert!(
        refused.contains("cut.jpg") && refused.contains(".webp"),
        "{refused}"
    );
}

#[test]
fn hostile_checkpoints_are_bad_input() {
    let place = Place::new();
    let files = latent_testkit::hostile::hostile_files(place.path());
    assert!(files.len() > 30);
    for file in files {
        let path = file.path.to_str().unwrap();
        let info = place.fails(&["info", path], 2);
        assert!(info.contains('×'), "{path}: {info}");
        place.fails(&["generate", "-p", "x", "-m", path, "-o", "never.png"], 2);
    }
    assert!(!place.path().join("never.png").exists());
}

#[test]
fn lists_and_pages() {
    let place = Place::new();
    assert!(place.ok(&["samplers"]).contains("DPM++ 2M SDE"));
    let json: Value = serde_json::from_str(&place.ok(&["samplers", "--json"])).unwrap();
    assert!(json["samplers"].as_array().unwrap().len() > 20);
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(
            place.ok(&["completions", shell]).contains("cfg-scale"),
            "{shell}"
        );
    }
    assert!(place.ok(&["man"]).starts_with(".ie"));
    place.ok(&["man", "--folder", "pages"]);
    assert!(place.path().join("pages/latent-generate.1").exists());
    let help = place.ok(&["generate", "--help"]);
    assert!(help.contains("--guidance-interval") && !help.contains("--lora-model-dir"));
    assert!(
        place
            .fails(&["generate", "--stepz", "1"], 2)
            .contains("--steps")
    );
    assert!(
        place
            .fails(&["generate", "--device", "tpu"], 2)
            .contains("vulkan")
    );
}

/// `latent samplers | head`: no defect is reported when nobody reads on.
#[test]
fn a_reader_may_go_away() {
    let place = Place::new();
    for line in [&["man"][..], &["completions", "bash"], &["samplers"]] {
        let mut child = place
            .command(line)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        // Whether anything was written before the pipe closed is a matter of time.
        let code = output.status.code();
        assert!(
            code == Some(0) || code == Some(141),
            "{line:?}: {code:?} {errors}"
        );
        assert!(!errors.contains("defect"), "{line:?}: {errors}");
    }
}

#[test]
fn the_self_test_passes() {
    let place = Place::new();
    let table = place.ok(&["selftest", "--json"]);
    let rows: Vec<Value> = table
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        rows.len() >= 11 && rows.iter().all(|row| row["ok"] == true),
        "{table}"
    );
}
