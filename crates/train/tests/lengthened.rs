//! A run whose rate is stable until its last steps: what comes before them does not depend on how long it is.

mod common;

use std::path::Path;

use common::*;
use latent_train::{Outcome, TrainConfig};

fn text(steps: u64, cool_down: u64) -> String {
    let run = format!(
        "steps = {steps}\nbatch = 3\n\
         rate = {{ peak = 2e-3, warm_up = 2, decay = \"stable\", cool_down = {cool_down}, end = 0.1 }}\n\
         ema = {{ kind = \"half_life\", pictures = 9 }}\n\
         checkpoint = {{ every = 100, keep = 1 }}"
    );
    settings(&run, "")
}

fn read(folder: &Path, steps: u64, cool_down: u64) -> TrainConfig {
    prepared(folder, &text(steps, cool_down))
}

fn stopped(config: &TrainConfig, folder: &Path, at: u64) {
    let mut watch = Watch {
        stop_at: Some(at),
        ..Watch::default()
    };
    let outcome = train(config, folder, &mut watch).unwrap();
    assert_eq!(outcome, Outcome::Stopped(at));
}

#[test]
fn a_run_can_be_lengthened_until_its_rate_falls() {
    let dir = tempfile::tempdir().unwrap();
    let [short, long] = [12, 16].map(|steps| read(dir.path(), steps, 4));
    let whole = |config: &TrainConfig, name: &str| {
        let mut watch = Watch::default();
        let folder = dir.path().join(name);
        assert_eq!(train(config, &folder, &mut watch).unwrap(), Outcome::Done);
        (watch, state(&folder))
    };
    let (short_watch, _) = whole(&short, "short");
    let (long_watch, want) = whole(&long, "long");
    // Losses follow from weights: those of the first step of the fall have its full rate still.
    assert_eq!(short_watch.losses[..10], long_watch.losses[..10]);
    assert_ne!(short_watch.losses[10..], long_watch.losses[10..12]);
    // The checkpoint at which the fall begins is there without being asked for, and stays.
    assert_eq!(short_watch.checkpoints, [8, 12]);

    // From before the fall the short run becomes the long one, to the bit, and the long one the short.
    let folder = dir.path().join("lengthened");
    stopped(&short, &folder, 8);
    assert_eq!(
        train(&long, &folder, &mut Watch::default()).unwrap(),
        Outcome::Done
    );
    assert!(state(&folder) == want, "another end");
    let folder = dir.path().join("ended");
    stopped(&long, &folder, 7);
    let ended = read(dir.path(), 10, 3);
    train(&ended, &folder, &mut Watch::default()).unwrap();
    assert_eq!(state(&folder).0, "step-00000010");

    // From within it nothing goes on with another length.
    let folder = dir.path().join("falling");
    stopped(&short, &folder, 9);
    let error = train(&long, &folder, &mut Watch::default())
        .unwrap_err()
        .to_string();
    for words in [
        "rate.over was 12 and is 16",
        "steps = 16",
        "up to step 8",
        "9 steps are done",
    ] {
        assert!(error.contains(words), "{error}");
    }
    // Nor towards a fall that would have begun.
    let folder = dir.path().join("late");
    stopped(&long, &folder, 11);
    let error = train(&short, &folder, &mut Watch::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("up to step 8, and 11 steps are done"),
        "{error}"
    );
    // As the message says, with the later checkpoints gone it does.
    std::fs::remove_dir_all(dir.path().join("short/checkpoints/step-00000012")).unwrap();
    let folder = dir.path().join("short");
    train(&long, &folder, &mut Watch::default()).unwrap();
    assert!(state(&folder) == want, "another end");
}

#[test]
fn settings_of_a_stable_rate_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train.toml");
    for (rate, words) in [
        (
            "decay = \"stable\"",
            ["rate.cool_down = nothing", "1 or more"],
        ),
        (
            "decay = \"stable\", cool_down = 0",
            ["rate.cool_down = 0", "1 or more"],
        ),
        (
            "decay = \"linear\", cool_down = 3",
            ["rate.cool_down = 3", "stable"],
        ),
        (
            "decay = \"stable\", cool_down = 3, over = 9",
            ["rate.over = 9", "nothing"],
        ),
        (
            "decay = \"stable\", cool_down = 8, warm_up = 3",
            ["rate.cool_down = 8", "7 or less"],
        ),
    ] {
        let run = format!("steps = 10\nbatch = 1\nrate = {{ peak = 1.0, {rate} }}");
        std::fs::write(&path, settings(&run, "")).unwrap();
        let error = TrainConfig::read(&path).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}
