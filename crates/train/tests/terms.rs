//! Terms of the second stage's loss beside the denoiser's own: what they do to training, and that they do nothing where they
//! are off.

mod models;

use std::path::Path;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use latent_checkpoint::Checkpoint;
use latent_train::{
    Alone, Event, FirstStage, LearnerSettings, Observer, Precision, Report, Stage2, Stage2Config,
    StateReader, StateWriter, Step, Task, TaskContext, TrainConfig, Trainer, Update,
};
use models::*;

/// Four channels of latents, a class; `more` are tables of `[model]`.
fn settings(more: &str) -> String {
    format!(
        r#"
        {more}
        [unet]
        in_channels = 4
        out_channels = 4
        model_channels = 16
        context = 16
        norm_groups = 8
        middle = {{ heads = {{ count = 2 }}, depth = 1 }}
        levels = [{{ channels = 16, resblocks = 1 }}, {{ channels = 24, resblocks = 1 }}]
        [conditioner]
        kind = "class"
        rows = 4
        width = 16
        [objective]
        prediction = "flow"
        dropout = 0.2
        "#
    )
}

fn config(more: &str) -> Stage2Config {
    let text = settings(more);
    let config: Stage2Config = latent_data::settings::from_toml(&text).unwrap();
    config.validate().unwrap();
    config
}

fn first() -> FirstStage {
    FirstStage::new(autoencoder(4, 4, None), 0.3, &Device::flex()).unwrap()
}

fn context(settings: LearnerSettings) -> TaskContext {
    TaskContext {
        device: Device::flex().autodiff(),
        more_devices: vec![Device::flex().autodiff()],
        learner: settings,
        seed: 3,
        side: None,
    }
}

fn task(config: &Stage2Config) -> Stage2 {
    task_by(config, LearnerSettings::default())
}

fn task_by(config: &Stage2Config, settings: LearnerSettings) -> Stage2 {
    Stage2::on(config, first(), &context(settings)).unwrap()
}

fn batch() -> Vec<latent_train::Example> {
    (0..4).map(|i| example(i, 16, 3)).collect()
}

/// Steps of those numbers.
fn run(task: &mut Stage2, steps: std::ops::Range<u64>) -> Vec<Report> {
    let batch = batch();
    steps
        .map(|number| step(task, &batch, number, 2e-3))
        .collect()
}

/// The bits of the networks that a model is written of.
fn bits(task: &Stage2) -> Vec<u32> {
    struct Reader(Vec<u32>);
    impl ModuleVisitor for Reader {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let data = param.val().into_data();
            self.0.extend(data.iter::<f32>().map(f32::to_bits));
        }
    }
    let mut reader = Reader(Vec::new());
    task.learner().module().visit(&mut reader);
    reader.0
}

/// Writes a state and gives its bytes, and its numbers.
fn state(task: &Stage2, path: &Path) -> (Vec<u8>, serde_json::Map<String, serde_json::Value>) {
    let mut out = StateWriter::new();
    task.save(&mut out);
    out.write(path).unwrap();
    (std::fs::read(path).unwrap(), out.numbers().clone())
}

/// A run that is stopped after half of its steps and continued ends with the same bits, and so does one whose parts are
/// computed at the same time.
fn resumes_to_the_bit(config: &Stage2Config) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut whole = task(config);
    run(&mut whole, 0..4);
    let mut before = task(config);
    run(&mut before, 0..2);
    let (_, numbers) = state(&before, &path("half"));
    let mut after = task(config);
    let mut reader = StateReader::open(&path("half"), numbers).unwrap();
    after.restore(&mut reader).unwrap();
    reader.finish().unwrap();
    run(&mut after, 2..4);
    assert!(state(&whole, &path("whole")).0 == state(&after, &path("after")).0);

    let at_once = |count: usize| {
        let mut task = task(config);
        for number in 0..2 {
            let at = |first| Step {
                number,
                seed: 7,
                first,
            };
            let part = |first: usize| (batch()[first..first + 2].to_vec(), at(first));
            let parts = [part(0), part(2)];
            for parts in parts.chunks(count) {
                task.accumulate_all(parts).unwrap();
            }
            let update = Update {
                step: at(0),
                rate: 1e-3,
                peers: &Alone,
            };
            task.apply(&update).unwrap();
        }
        state(&task, &path(&format!("at once {count}"))).0
    };
    assert!(at_once(1) == at_once(2));
}

/// With activation checkpointing the same is learnt but for the order of sums, in both types.
fn recomputes_the_same(config: &Stage2Config) {
    for (precision, most) in [(Precision::F32, 1e-5), (Precision::Bf16, 5e-3)] {
        let reports = [false, true].map(|activation_checkpointing| {
            let settings = LearnerSettings {
                precision,
                activation_checkpointing,
                ..LearnerSettings::default()
            };
            run(&mut task_by(config, settings), 0..3)
        });
        let [kept, recomputed] = reports.map(|reports| -> Vec<f64> {
            let all = reports.into_iter().flat_map(|report| report.0);
            all.map(|(_, value)| value).collect()
        });
        for (a, b) in kept.iter().zip(&recomputed) {
            assert!(
                (a - b).abs() <= most * (a.abs() + 0.1),
                "{precision:?}: {a} {b}"
            );
        }
    }
}

fn align(folder: &Path, more: &str) -> Stage2Config {
    let file = folder.join("vgg.safetensors");
    if !file.exists() {
        write_vgg(&file);
    }
    config(&format!("[align]\nfeatures = {file:?}\n{more}"))
}

#[test]
fn states_are_aligned_with_features_until_the_step_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let plain = |steps: std::ops::Range<u64>| {
        let mut task = task(&config(""));
        run(&mut task, steps);
        bits(&task)
    };
    let aligned = |steps: std::ops::Range<u64>, more: &str| {
        let mut task = task(&align(folder.path(), more));
        let reports = run(&mut task, steps);
        (reports, bits(&task))
    };
    // From the step on nothing is left of it, to the bit; before, there is.
    let (reports, off) = aligned(5..7, "until = 5");
    assert!(off == plain(5..7));
    assert!(reports.iter().all(|report| report.get("align").is_none()));
    let (reports, once) = aligned(5..7, "until = 6");
    assert!(once != off);
    assert!(reports[0].get("align").is_some() && reports[1].get("align").is_none());
    // The loss that is shown is the denoiser's own.
    let mut without = task(&config(""));
    let loss = run(&mut without, 5..6)[0].get("loss");
    assert_eq!(reports[0].get("loss"), loss);
    // The projection finds the features of four pictures in a few steps, after each of the blocks of the denoiser.
    for block in [1, 3, 8] {
        let (reports, _) = aligned(0..40, &format!("block = {block}\nlayer = 2\nweight = 1.0"));
        let found = [0, 39].map(|i: usize| reports[i].get("align").unwrap());
        assert!(found[1] < found[0] - 0.2, "block {block}: {found:?}");
    }
}

#[test]
fn an_aligned_run_stops_and_goes_on_and_its_model_holds_no_projection() {
    let folder = tempfile::tempdir().unwrap();
    let config = align(folder.path(), "layer = 2");
    resumes_to_the_bit(&config);
    recomputes_the_same(&config);
    let mut cached = config.clone();
    cached.cache = Some(folder.path().join("cache"));
    let trained = |config: &Stage2Config| {
        let mut task = task(config);
        run(&mut task, 0..2);
        task
    };
    let task = trained(&config);
    assert!(bits(&task) == bits(&trained(&cached)));
    assert!(bits(&task) == bits(&trained(&cached)));
    // A map of 128×8×8 numbers in eight bits, and what one of them stands for, for each picture.
    let within = |path: &Path| -> Vec<_> {
        let entries = std::fs::read_dir(path).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let files: Vec<_> = within(&folder.path().join("cache/features"))
        .iter()
        .flat_map(|folder| within(folder))
        .collect();
    assert_eq!(files.len(), 4);
    assert!(
        files
            .iter()
            .all(|file| file.metadata().unwrap().len() == 4 + 128 * 8 * 8)
    );
    assert_eq!(
        task.parameters().last().unwrap(),
        &("align".to_owned(), 128 * (24 * 9 + 1))
    );

    // Another run takes the projection too; one without it takes the rest; one of other channels says so.
    let path = folder.path().join("state");
    state(&task, &path);
    let read = || StateReader::open(&path, serde_json::Map::new()).unwrap();
    let again = folder.path().join("again");
    let mut other = self::task(&config);
    other.begin_from(&mut read()).unwrap();
    state(&other, &again);
    let of = |path: &Path| {
        let mut reader = StateReader::open(path, serde_json::Map::new()).unwrap();
        reader
            .values("align/weights/conv.weight", &[128, 24, 3, 3])
            .unwrap()
    };
    assert_eq!(of(&path), of(&again));
    let mut without = self::task(&self::config(""));
    without.begin_from(&mut read()).unwrap();
    assert!(bits(&without) == bits(&task));
    let mut finer = self::task(&align(folder.path(), "layer = 2\nblock = 1"));
    let error = finer.begin_from(&mut read()).unwrap_err().to_string();
    assert!(error.contains("align/weights/conv.weight"), "{error}");

    let model = folder.path().join("model");
    task.export(&model).unwrap();
    let written = folder.path().join("plain");
    let mut plain = self::task(&self::config(""));
    plain
        .begin_with(&Checkpoint::open(&model).unwrap())
        .unwrap();
    assert!(bits(&plain) == bits(&task));
    plain.export(&written).unwrap();
    let names = |path: &Path| {
        let mut names: Vec<_> = within(path)
            .iter()
            .map(|p| p.file_name().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&model), names(&written));
}

#[test]
fn answers_are_kept_from_those_of_other_rows() {
    let contrasted = config("[contrast]\nweight = 0.2");
    let reports = [config(""), contrasted.clone()].map(|config| run(&mut task(&config), 0..3));
    let [plain, contrast] = reports.map(|reports| reports[0].clone());
    // Before the first step the answer is 0: its distance from any target is that target's square.
    assert_eq!(plain.get("loss"), contrast.get("loss"));
    assert!(contrast.get("contrast").unwrap() > 0.5 && plain.get("contrast").is_none());
    let [plain, contrast] = [config(""), contrasted.clone()].map(|config| {
        let mut task = task(&config);
        run(&mut task, 0..2);
        bits(&task)
    });
    assert!(plain != contrast);
    resumes_to_the_bit(&contrasted);
    recomputes_the_same(&contrasted);
}

#[test]
fn the_columns_of_a_contrast_are_read_and_missing_ones_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let mut rows = "file_name,class,ground\n".to_owned();
    for i in 0..4 {
        example(i, 16, 2)
            .picture
            .save(folder.path().join(format!("{i}.png")))
            .unwrap();
        rows += &format!("{i}.png,{},{}\n", i % 2, ["white", "red"][i as usize / 2]);
    }
    write("table.csv", &rows);
    let text = |data: &str, same: &str| {
        let model = settings(&format!("[contrast]\nsame = [{same}]"));
        let model = model.replace("in_channels = 4", "in_channels = 3");
        let model = model
            .replace("out_channels = 4", "out_channels = 3")
            .replace("[", "[model.");
        let model = model
            .replace("levels = [model.", "levels = [")
            .replace("same = [model.", "same = [");
        format!(
            "steps = 2\nbatch = 4\nrate.peak = 1e-3\n[data]\npath = {data:?}\nsize = 16\n[model]\nkind = \"stage2\"\n{model}"
        )
    };
    let trained = |data: &str, same: &str| {
        write("settings.toml", &text(data, same));
        let config = TrainConfig::read(&folder.path().join("settings.toml")).unwrap();
        let task = config.model.build(&context(config.learner())).unwrap();
        let out = folder.path().join("run");
        Trainer::new(&config, task, &Alone, out)
            .and_then(|mut trainer| trainer.run(&mut Quiet))
            .map_err(|e| e.to_string())
    };
    trained("table.csv", "\"ground\"").unwrap();
    let log = std::fs::read_to_string(folder.path().join("run/log.jsonl")).unwrap();
    assert!(log.contains("\"contrast\""), "{log}");
    let error = trained("table.csv", "\"ground\", \"style\"").unwrap_err();
    assert!(
        error.starts_with("model.contrast.same = \"style\": expected columns of "),
        "{error}"
    );
    assert!(
        error.contains("file_name") && error.contains("ground"),
        "{error}"
    );
    std::fs::create_dir(folder.path().join("alone")).unwrap();
    std::fs::copy(
        folder.path().join("0.png"),
        folder.path().join("alone/0.png"),
    )
    .unwrap();
    let error = trained("alone", "\"ground\"").unwrap_err();
    assert!(
        error.starts_with("model.contrast.same = \"ground\""),
        "{error}"
    );
    let alone = text("table.csv", "").replace("batch = 4", "batch = 1");
    write("settings.toml", &alone);
    let error = TrainConfig::read(&folder.path().join("settings.toml"))
        .unwrap_err()
        .to_string();
    assert!(error.contains("batch = 1: expected 2 or more"), "{error}");
}

#[test]
fn clean_latents_are_compared_by_the_first_stages_decoder_from_the_step_that_is_said() {
    let compared = |steps: std::ops::Range<u64>, more: &str| {
        let mut task = task(&config(&format!("[perceptual]\n{more}")));
        let reports = run(&mut task, steps);
        (reports, bits(&task))
    };
    let mut plain = task(&config(""));
    let without = run(&mut plain, 3..6);
    let (reports, off) = compared(3..6, "from = 6");
    assert!(off == bits(&plain) && reports == without);
    // Nearly all times are above the limit: nothing is compared, and the bits are the same.
    let (_, rare) = compared(3..6, "below = 1e-9");
    assert!(rare == off);
    let (reports, on) = compared(3..6, "below = 1.0\nlevels = 3");
    assert!(on != off);
    assert_eq!(reports[0].get("loss"), without[0].get("loss"));
    assert!(
        reports
            .iter()
            .all(|report| report.get("perceptual").unwrap() > 0.0)
    );
    let config = config("[perceptual]\nbelow = 0.9\nweight = 2.0");
    resumes_to_the_bit(&config);
    recomputes_the_same(&config);
}

#[test]
fn terms_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("vgg.safetensors");
    write_vgg(&file);
    let refused = |text: &str, first: FirstStage| {
        let config: Stage2Config = latent_data::settings::from_toml(text).unwrap();
        let context = context(LearnerSettings::default());
        Stage2::on(&config, first, &context)
            .unwrap_err()
            .to_string()
    };
    let align = |more: &str| settings(&format!("[align]\nfeatures = {file:?}\n{more}"));
    let contrast = |more: &str| settings(&format!("[contrast]\n{more}"));
    let perceptual = |more: &str| settings(&format!("[perceptual]\n{more}"));
    let flow = |becomes: &str| contrast("").replace("\"flow\"", becomes);
    for (text, said) in [
        (
            align("weight = 0.0"),
            "model.align.weight = 0: expected a number above 0",
        ),
        (
            align("until = 0"),
            "model.align.until = 0: expected 1 or more",
        ),
        (
            align("block = 9"),
            "model.align.block = 9: expected 1 to 8, the blocks",
        ),
        (align("block = 0"), "model.align.block = 0: expected 1 to 8"),
        (align("layer = 5"), "model.align.layer = 5: expected 1 to 4"),
        (align("").replace("vgg", "none"), "model.align.features: "),
        (
            contrast("weight = 1.0"),
            "model.contrast.weight = 1: expected above 0 and below 1",
        ),
        (
            flow("\"epsilon\""),
            "model.contrast = set: expected absent, unless objective.prediction",
        ),
        (
            flow("\"flow\"\nloss = \"l1\""),
            "model.contrast = set: expected absent, unless objective.loss",
        ),
        (
            perceptual("weight = -1.0"),
            "model.perceptual.weight = -1: expected a number above 0",
        ),
        (
            perceptual("below = 0.0"),
            "model.perceptual.below = 0: expected above 0 and at most 1",
        ),
        (
            perceptual("levels = 4"),
            "model.perceptual.levels = 4: expected 1 to 3",
        ),
    ] {
        let error = refused(&text, first());
        assert!(error.starts_with(said), "{error}");
    }
    let text = contrast("")
        .replace("dropout = 0.2", "")
        .replace("context = 16", "");
    let mut config: Stage2Config = latent_data::settings::from_toml(&text).unwrap();
    config.conditioner = None;
    let error = config.validate().unwrap_err().to_string();
    assert!(
        error.contains("model.contrast") && error.contains("model.conditioner"),
        "{error}"
    );
    let pixels = FirstStage::pixels(&Device::flex());
    let error = refused(
        &perceptual("").replace("_channels = 4", "_channels = 3"),
        pixels,
    );
    assert!(
        error.starts_with("model.perceptual = set: ") && error.contains("model.first_stage"),
        "{error}"
    );
}

/// Listens to nothing.
struct Quiet;

impl Observer for Quiet {
    fn event(&mut self, _: &Event<'_>) {}

    fn stop(&mut self) -> bool {
        false
    }

    fn seconds(&mut self) -> f64 {
        0.0
    }
}
