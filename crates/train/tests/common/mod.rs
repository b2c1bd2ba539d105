//! A small run: a tiny U-Net on pictures of coloured rectangles.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use burn::tensor::Device;
use image::{Rgb, RgbImage};
use latent_train::{
    Alone, Error, Event, Observer, Outcome, Task, TaskContext, TrainConfig, Trainer,
};

/// Pictures of 10×10 pixels in `folder`.
pub fn pictures(folder: &Path, count: u32) {
    std::fs::create_dir_all(folder).unwrap();
    for i in 0..count {
        let colour = |k: u32| {
            Rgb([
                (i * 37 + k * 91) as u8,
                (i * 59 + k * 13) as u8,
                (i * 83 + k * 7) as u8,
            ])
        };
        let picture = RgbImage::from_fn(10, 10, |x, y| {
            colour(u32::from(x > i % 7 && y > i % 5) + 2 * u32::from(x + y > 11 + i % 3))
        });
        picture.save(folder.join(format!("{i:03}.png"))).unwrap();
    }
}

/// Settings on the pictures in `pictures`; `more` comes before the tables.
pub fn settings(more: &str, tables: &str) -> String {
    format!(
        r#"
seed = 7
{more}

[data]
path = "pictures"
size = 8
crop = "random"
flip = 0.5

[model]
kind = "stage2"
samples = {{ count = 3, steps = 3 }}

[model.unet]
in_channels = 3
out_channels = 3
model_channels = 8
norm_groups = 4
levels = [{{ channels = 8, resblocks = 1 }}, {{ channels = 16, resblocks = 1 }}]

{tables}
"#
    )
}

/// Writes the settings and the pictures into `folder` and reads the settings.
pub fn prepared(folder: &Path, text: &str) -> TrainConfig {
    pictures(&folder.join("pictures"), 22);
    let path = folder.join("train.toml");
    std::fs::write(&path, text).unwrap();
    TrainConfig::read(&path).unwrap()
}

/// The task of the settings.
pub fn task(config: &TrainConfig) -> Box<dyn Task> {
    let context = TaskContext {
        device: Device::flex().autodiff(),
        more_devices: Vec::new(),
        learner: config.learner(),
        seed: config.seed,
        side: config.side(),
    };
    config.model.build(&context).unwrap()
}

/// Notes what happens; stops after a step if told to.
#[derive(Default)]
pub struct Watch {
    pub stop_at: Option<u64>,
    pub step: u64,
    pub losses: Vec<f64>,
    pub passed_over: Vec<String>,
    pub resumed: Option<u64>,
    pub checkpoints: Vec<u64>,
    pub validated: Vec<f64>,
    pub skipped: Vec<String>,
    pub plan: String,
}

impl Observer for Watch {
    fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Plan(plan) => self.plan = plan.to_string(),
            Event::Step { step, report, .. } => {
                self.step = *step;
                self.losses.push(report.get("loss").unwrap());
            }
            Event::PassedOver { path, reason } => {
                self.passed_over
                    .push(format!("{}: {reason}", path.display()));
            }
            Event::Resumed { step, .. } => self.resumed = Some(*step),
            Event::Checkpoint { step, .. } => self.checkpoints.push(*step),
            Event::Validated { report, .. } => self.validated.push(report.get("loss").unwrap()),
            Event::Skipped { id, .. } => self.skipped.push((*id).to_owned()),
            _ => {}
        }
    }

    fn stop(&mut self) -> bool {
        // Asked before the step is counted.
        self.stop_at.is_some_and(|stop| self.step + 1 >= stop)
    }

    fn seconds(&mut self) -> f64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs_f64()
    }
}

/// Trains in `folder`, from the latest checkpoint if there is one.
pub fn train(config: &TrainConfig, folder: &Path, watch: &mut Watch) -> Result<Outcome, Error> {
    let mut trainer = Trainer::new(config, task(config), &Alone, folder.to_owned())?;
    trainer.resume(watch)?;
    trainer.run(watch)
}

/// The latest checkpoint's folder.
pub fn latest(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder.join("checkpoints")).ok()?;
    let paths = entries.map(|e| e.unwrap().path());
    paths
        .filter(|p| {
            p.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("step-")
        })
        .max()
}

/// The step of a checkpoint's folder.
pub fn step_of(path: &Path) -> u64 {
    let name = path.file_name().unwrap().to_string_lossy();
    name["step-".len()..].parse().unwrap()
}

/// The latest checkpoint: its name, its tensors' file, and what else it says.
pub fn state(folder: &Path) -> (String, Vec<u8>, serde_json::Value) {
    let path = latest(folder).expect("a checkpoint");
    let text = std::fs::read_to_string(path.join("checkpoint.json")).unwrap();
    (
        path.file_name().unwrap().to_string_lossy().into_owned(),
        std::fs::read(path.join("state.safetensors")).unwrap(),
        serde_json::from_str(&text).unwrap(),
    )
}
