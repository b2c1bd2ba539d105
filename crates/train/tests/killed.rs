//! A run that is killed again and again, at any moment, ends as one that was left alone.

#![cfg(unix)]

mod common;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::*;
use latent_train::{Outcome, Random, TrainConfig};

/// Says to the child where to train.
const FOLDER: &str = "LATENT_TEST_KILLED";

fn text(steps: u64) -> String {
    settings(
        &format!(
            "steps = {steps}\nbatch = 2\n\
             rate = {{ peak = 1e-3, decay = \"stable\", cool_down = 40 }}\n\
             ema = {{ kind = \"power\", gamma = 6.94 }}\n\
             checkpoint = {{ every = 4, keep = 2 }}\n\
             log = {{ every = 1 }}"
        ),
        "",
    )
}

/// Not a test by itself: the process that is killed.
#[test]
#[ignore = "run by the others"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let folder = Path::new(&folder);
    let config = TrainConfig::read(&folder.join("train.toml")).unwrap();
    let outcome = train(&config, &folder.join("killed"), &mut Watch::default()).unwrap();
    assert_eq!(outcome, Outcome::Done);
}

/// Whether a checkpoint is being written or removed.
fn is_writing(run: &Path) -> bool {
    let entries = std::fs::read_dir(run.join("checkpoints"));
    entries.is_ok_and(|mut entries| {
        entries.any(|e| e.is_ok_and(|e| e.file_name().to_string_lossy().starts_with(".step-")))
    })
}

/// How many steps the run's log has.
fn logged(run: &Path) -> u64 {
    let log = std::fs::read_to_string(run.join("log.jsonl")).unwrap_or_default();
    log.lines().count() as u64
}

/// Kills a run so many times, some steps after it goes on and every other time while it writes a
/// checkpoint, then lets it end.
fn killed(kills: u64, steps: u64) {
    let dir = tempfile::tempdir().unwrap();
    let config = prepared(dir.path(), &text(steps));
    let whole = dir.path().join("whole");
    train(&config, &whole, &mut Watch::default()).unwrap();
    let run = dir.path().join("killed");
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--ignored"])
            .env(FOLDER, dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let (mut torn, mut before) = (0, 0);
    for kill in 0..kills {
        let mut child = start();
        let mut random = Random::new(1, "kill", kill, 0);
        let target = before + random.below(9) as u64;
        let mut until = |ready: &dyn Fn() -> bool| {
            while !ready() {
                assert!(
                    child.try_wait().unwrap().is_none(),
                    "it ended before it was killed"
                );
                std::thread::sleep(Duration::from_micros(200));
            }
        };
        until(&|| logged(&run) >= target);
        match kill % 2 {
            0 => std::thread::sleep(Duration::from_secs_f64(0.04 * random.uniform())),
            _ => until(&|| is_writing(&run)),
        }
        child.kill().unwrap(); // SIGKILL
        let ended = child.wait_with_output().unwrap();
        assert!(!ended.status.success(), "it ended before it was killed");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!said.contains("panicked"), "{said}");
        torn += u64::from(is_writing(&run));
        // No checkpoint that was there is lost.
        let now = latest(&run).map_or(0, |path| step_of(&path));
        assert!(now >= before, "{now} after {before}");
        before = now;
    }
    println!("{kills} kills, {torn} of them within a checkpoint, the last after step {before}");
    assert!(torn > 0, "no kill met a checkpoint");
    let ended = start().wait_with_output().unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let (got, want) = (state(&run), state(&whole));
    assert_eq!((&got.0, &got.2), (&want.0, &want.2));
    assert!(got.1 == want.1, "other bits");
}

#[test]
fn a_run_survives_kills() {
    killed(6, 120);
}

#[test]
#[ignore = "minutes: .ci/slow kills"]
fn a_run_survives_fifty_kills() {
    killed(50, 500);
}
