//! Whole runs: what they write, that a continued one ends as one that was never stopped, and how they fail.

mod common;

use std::sync::{Barrier, Mutex};

use common::*;
use latent_data::{Example, Loader, LoaderOptions};
use latent_train::{
    Alone, ModelConfig, Outcome, Peers, StateWriter, Step, Task, TrainConfig, Trainer, Update,
};

const RUNS: [(&str, &str); 3] = [
    (
        "steps = 11\nbatch = 3\naccumulation = 2\nclip = 0.5",
        "rate = { peak = 2e-3, warm_up = 3, decay = \"cosine\", end = 0.1 }\n\
         ema = { kind = \"half_life\", pictures = 40 }\n\
         checkpoint = { every = 4, keep = 2 }\n\
         log = { every = 2 }\n\
         validation = { every = 5, share = 0.2 }\n\
         sheet = { every = 6 }",
    ),
    (
        "pictures = 44\nbatch = 4\nprecision = \"bf16\"",
        "rate = { peak = 1e-4 }\n\
         ema = { kind = \"decay\", decay = 0.99 }\n\
         optimiser = { kind = \"lion\", weight_decay = 0.1 }\n\
         checkpoint = { every = 100 }",
    ),
    (
        "steps = 11\nbatch = 4",
        "rate = { peak = 1e-3 }\noptimiser = { kind = \"adamw\", state_bits = 8 }",
    ),
];

fn text((more, tables): (&str, &str)) -> String {
    // Inline tables are keys of the root, which come before the tables.
    settings(&format!("{more}\n{tables}"), "")
}

#[test]
fn a_continued_run_ends_as_one_never_stopped() {
    for run in RUNS {
        let dir = tempfile::tempdir().unwrap();
        let config = prepared(dir.path(), &text(run));
        let whole = dir.path().join("whole");
        let mut watch = Watch::default();
        assert_eq!(train(&config, &whole, &mut watch).unwrap(), Outcome::Done);
        let want = state(&whole);
        assert_eq!(want.0, "step-00000011");
        for cuts in [&[1][..], &[4], &[5, 7, 10], &[10]] {
            let folder = dir.path().join(format!("cut{cuts:?}"));
            for &cut in cuts {
                let mut stopped = Watch {
                    stop_at: Some(cut),
                    step: latest(&folder).map_or(0, |path| step_of(&path)),
                    ..Watch::default()
                };
                let outcome = train(&config, &folder, &mut stopped).unwrap();
                assert_eq!(outcome, Outcome::Stopped(cut));
            }
            let mut rest = Watch::default();
            assert_eq!(train(&config, &folder, &mut rest).unwrap(), Outcome::Done);
            assert_eq!(rest.resumed, cuts.last().copied());
            assert_eq!(rest.losses, watch.losses[cuts[cuts.len() - 1] as usize..]);
            let got = state(&folder);
            assert_eq!((&got.0, &got.2), (&want.0, &want.2), "{cuts:?}");
            assert!(got.1 == want.1, "{cuts:?}: other bits");
        }
        // On one thread too.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .build()
            .unwrap();
        let folder = dir.path().join("one thread");
        pool.install(|| train(&config, &folder, &mut Watch::default()))
            .unwrap();
        assert!(state(&folder).1 == want.1, "other bits on one thread");
    }
}

#[test]
fn a_run_writes_what_it_promises() {
    let dir = tempfile::tempdir().unwrap();
    let config = prepared(dir.path(), &text(RUNS[0]));
    std::fs::write(dir.path().join("pictures/broken.png"), b"no picture").unwrap();
    let folder = dir.path().join("run");
    let mut watch = Watch::default();
    train(&config, &folder, &mut watch).unwrap();
    assert!(
        watch.plan.contains("steps: 11 of 6 pictures") && watch.plan.contains("held back"),
        "{}",
        watch.plan
    );
    assert_eq!(watch.checkpoints, [4, 8, 11]);
    assert!(
        watch.skipped.len() == 1 && watch.skipped[0].contains("broken.png"),
        "{:?}",
        watch.skipped
    );
    let steps: Vec<_> = std::fs::read_dir(folder.join("checkpoints"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(steps.len(), 2, "{steps:?}");
    for file in [
        "loss.svg",
        "model/unet/diffusion_pytorch_model.safetensors",
        "model/model_index.json",
        "sheets/step-00000006.png",
        "sheets/step-00000011.png",
    ] {
        assert!(folder.join(file).is_file(), "{file}");
    }
    let sheet = image::open(folder.join("sheets/step-00000011.png")).unwrap();
    // Three pictures above the line, three below it.
    assert_eq!((sheet.width(), sheet.height()), (16, 16 + 4 + 16));
    let log = std::fs::read_to_string(folder.join("log.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let of = |kind: &str| {
        lines
            .iter()
            .filter(|l| l["kind"] == kind)
            .map(|l| l["step"].as_u64().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("train"), [2, 4, 6, 8, 10, 11]);
    assert_eq!(of("validation"), [5, 10, 11]);
    let validated = lines.iter().find(|l| l["kind"] == "validation").unwrap();
    assert!(
        validated["loss/noise_1_of_5"].as_f64().unwrap() > 0.0,
        "{validated}"
    );
    assert!(
        lines[0]["gradient_norm"].as_f64().unwrap() > 0.0
            && lines[0]["rate"].as_f64().unwrap() > 0.0
    );

    // The log of a continued run has every step once.
    std::fs::remove_dir_all(folder.join("checkpoints/step-00000011")).unwrap();
    let mut again = Watch::default();
    train(&config, &folder, &mut again).unwrap();
    assert_eq!(again.resumed, Some(8));
    assert_eq!(
        std::fs::read_to_string(folder.join("log.jsonl")).unwrap(),
        log
    );
}

#[test]
fn a_loss_falls() {
    let dir = tempfile::tempdir().unwrap();
    let config = prepared(
        dir.path(),
        &text((
            "steps = 60\nbatch = 8",
            "rate = { peak = 4e-3 }\nvalidation = { every = 30, share = 0.2 }",
        )),
    );
    let mut watch = Watch::default();
    train(&config, &dir.path().join("run"), &mut watch).unwrap();
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    assert!(
        mean(&watch.losses[50..]) < 0.6 * mean(&watch.losses[..5]),
        "{:?}",
        watch.losses
    );
    assert!(
        watch.validated[1] < watch.validated[0],
        "{:?}",
        watch.validated
    );
}

#[test]
fn a_truncated_checkpoint_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let config = prepared(dir.path(), &text(RUNS[0]));
    let folder = dir.path().join("run");
    train(&config, &folder, &mut Watch::default()).unwrap();
    let want = state(&folder);
    let file = latest(&folder).unwrap().join("state.safetensors");
    std::fs::write(&file, &want.1[..want.1.len() / 2]).unwrap();
    let mut watch = Watch::default();
    train(&config, &folder, &mut watch).unwrap();
    assert_eq!(watch.resumed, Some(8));
    assert!(
        watch.passed_over[0].contains("step-00000011") && watch.passed_over[0].contains("cut off"),
        "{:?}",
        watch.passed_over
    );
    assert!(state(&folder).1 == want.1);
}

#[test]
fn other_settings_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let config = prepared(dir.path(), &text(RUNS[0]));
    let folder = dir.path().join("run");
    let mut stopped = Watch {
        stop_at: Some(2),
        ..Watch::default()
    };
    train(&config, &folder, &mut stopped).unwrap();
    let mut trainer = Trainer::new(&config, task(&config), &Alone, folder.clone()).unwrap();
    let error = trainer.run(&mut Watch::default()).unwrap_err().to_string();
    assert!(error.contains("--resume"), "{error}");
    // It holds the run's folder.
    drop(trainer);

    let other = TrainConfig {
        clip: Some(0.25),
        ..config.clone()
    };
    let error = train(&other, &folder, &mut Watch::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("clip was 0.5 and is 0.25"), "{error}");
    let mut slower = config.clone();
    slower.rate.peak = 1e-3;
    let error = train(&slower, &folder, &mut Watch::default())
        .unwrap_err()
        .to_string();
    let only = "other settings: rate.peak was 0.002 and is 0.001";
    assert!(error.ends_with(only), "{error}");
    // What decides no number may change.
    let mut same = config.clone();
    let ModelConfig::Stage2(model) = &mut same.model else {
        panic!("it is of the second stage");
    };
    model.samples.steps = 2;
    same.checkpoint.every = 100;
    same.sheet = None;
    train(&same, &folder, &mut Watch::default()).unwrap();
}

#[test]
fn a_run_that_breaks_down_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let config = prepared(
        dir.path(),
        &text((
            "steps = 30\nbatch = 4",
            "rate = { peak = 1e30, warm_up = 0 }\ncheckpoint = { every = 1 }",
        )),
    );
    let folder = dir.path().join("run");
    let mut watch = Watch::default();
    let error = train(&config, &folder, &mut watch).unwrap_err().to_string();
    let last = latest(&folder).unwrap();
    assert!(error.contains(&format!("step {}", watch.step)), "{error}");
    assert!(
        error.contains("the gradient of `unet.conv_in.weight`"),
        "{error}"
    );
    assert!(
        error.contains(last.to_str().unwrap()) && error.contains("lower the rate"),
        "{error}"
    );

    let limited = TrainConfig {
        loss_limit: Some(0.01),
        ..prepared(
            dir.path(),
            &text(("steps = 30\nbatch = 4", "rate = { peak = 1e-5 }")),
        )
    };
    let error = train(&limited, &dir.path().join("limited"), &mut Watch::default())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("step 19") && error.contains("loss_limit = 0.01"),
        "{error}"
    );
}

#[test]
fn settings_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train.toml");
    for (more, tables, words) in [
        (
            "steps = 1\nbatch = 4\nbach = 3",
            "rate = { peak = 1e-3 }",
            &["train.toml", "bach", "line"][..],
        ),
        (
            "batch = 4",
            "rate = { peak = 1e-3 }",
            &["steps", "pictures"],
        ),
        (
            "steps = 1\nbatch = 0",
            "rate = { peak = 1e-3 }",
            &["batch = 0"],
        ),
        (
            "steps = 1\nbatch = 1",
            "rate = { peak = -1 }",
            &["rate.peak"],
        ),
        (
            "steps = 1\nbatch = 1",
            "rate = { peak = 1, end = 0.1 }",
            &["rate.decay"],
        ),
        (
            "steps = 1\nbatch = 1",
            "rate = { peak = 1 }\nema = { kind = \"decay\", decay = 1 }",
            &["ema.decay"],
        ),
        (
            "steps = 1\nbatch = 1",
            "rate = { peak = 1 }\noptimiser = { kind = \"lion\", eps = 1 }",
            &["eps"],
        ),
        (
            "steps = 1\nbatch = 1\nparallel = 2",
            "rate = { peak = 1 }",
            &["parallel", "accumulation"],
        ),
        (
            "steps = 1\nbatch = 1",
            "rate = { peak = 1 }\nvalidation = { every = 1 }",
            &["validation.share"],
        ),
    ] {
        std::fs::write(&path, text((more, tables))).unwrap();
        let error = TrainConfig::read(&path).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
}

/// The weights after some steps of `batches`, each cut into what every process takes at once.
fn weights(
    config: &TrainConfig,
    examples: &[Example],
    parts: usize,
    peers: &dyn Peers,
) -> Vec<f32> {
    let mut task: Box<dyn Task> = task(config);
    let share = examples.len() / parts / peers.size();
    for number in 0..10 {
        for part in 0..parts {
            let first = (part * peers.size() + peers.rank()) * share;
            let step = Step {
                number,
                seed: 3,
                first,
            };
            task.accumulate(&examples[first..first + share], step)
                .unwrap();
        }
        let step = Step {
            number,
            seed: 3,
            first: 0,
        };
        let rate = 1e-3;
        task.apply(&Update { step, rate, peers }).unwrap();
    }
    numbers(&*task)
}

/// A task's weights.
fn numbers(task: &dyn Task) -> Vec<f32> {
    let mut out = StateWriter::new();
    task.save(&mut out);
    let dir = tempfile::tempdir().unwrap();
    out.write(&dir.path().join("x.safetensors")).unwrap();
    let bytes = std::fs::read(dir.path().join("x.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names: Vec<_> = tensors
        .names()
        .into_iter()
        .filter(|n| n.contains("/weights/"))
        .collect();
    names.sort();
    let numbers = names
        .into_iter()
        .flat_map(|n| tensors.tensor(n).unwrap().data().to_vec());
    let numbers: Vec<u8> = numbers.collect();
    numbers
        .chunks(4)
        .map(|w| f32::from_le_bytes(w.try_into().unwrap()))
        .collect()
}

/// Threads in the place of processes.
struct Threads<'a> {
    rank: usize,
    size: usize,
    total: &'a Mutex<Vec<f64>>,
    meet: &'a Barrier,
}

impl Peers for Threads<'_> {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum(&self, numbers: &mut [f32]) {
        let mut wide: Vec<f64> = numbers.iter().map(|&v| f64::from(v)).collect();
        self.sum_wide(&mut wide);
        numbers
            .iter_mut()
            .zip(wide)
            .for_each(|(to, from)| *to = from as f32);
    }

    fn sum_wide(&self, numbers: &mut [f64]) {
        {
            let mut total = self.total.lock().unwrap();
            total.resize(numbers.len(), 0.0);
            total
                .iter_mut()
                .zip(&*numbers)
                .for_each(|(to, from)| *to += from);
        }
        self.meet.wait();
        numbers.copy_from_slice(&self.total.lock().unwrap());
        if self.meet.wait().is_leader() {
            self.total.lock().unwrap().clear();
        }
        self.meet.wait();
    }
}

#[test]
fn parts_and_processes_add_up_to_one_batch() {
    let dir = tempfile::tempdir().unwrap();
    let config = prepared(
        dir.path(),
        &text(("steps = 1\nbatch = 8\nclip = 1.0", "rate = { peak = 1e-3 }")),
    );
    let source = latent_data::open(&config.data, &[]).unwrap();
    let loader = Loader::new(source, config.data.fit().unwrap(), LoaderOptions::new(0, 8)).unwrap();
    let examples = loader.batch(0).unwrap().examples;
    let whole = weights(&config, &examples, 1, &Alone);
    let before = numbers(&*task(&config));
    let distance = |a: &[f32], b: &[f32]| {
        let norm =
            |x: &mut dyn Iterator<Item = f32>| x.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut a.iter().copied())
    };
    let moved = distance(&whole, &before);
    let close = |other: &[f32]| {
        let off = distance(&whole, other);
        println!("{off:.2e} off, {moved:.2e} moved");
        assert!(
            off < 1e-5 && moved > 1e-2,
            "{off:.2e} off, {moved:.2e} moved"
        );
    };
    close(&weights(&config, &examples, 4, &Alone));
    let (total, meet) = (Mutex::new(Vec::new()), Barrier::new(2));
    let both = std::thread::scope(|scope| {
        let run = |rank| {
            let peers = Threads {
                rank,
                size: 2,
                total: &total,
                meet: &meet,
            };
            weights(&config, &examples, 2, &peers)
        };
        let other = scope.spawn(move || run(1));
        [run(0), other.join().unwrap()]
    });
    assert_eq!(both[0], both[1]);
    close(&both[0]);
}
