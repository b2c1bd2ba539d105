//! What a person sees of a training run: a few lines at the bottom of a terminal that are always up to date, and what
//! happens above them; lines alone where there is no terminal; objects with `--json`.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use latent_data::{counted, printable};
use latent_train::{Event, Observer, Report};
use serde_json::{Map, Value, json};

use crate::machine;

/// Steps after which a speed is worth telling.
const MEASURED: u64 = 3;

/// Columns of the curve.
const WIDTH: usize = 60;

/// Follows a run.
pub struct Dashboard {
    json: bool,
    /// Of several processes one speaks.
    leads: bool,
    presses: Arc<AtomicUsize>,
    /// Whether what is said can still be written. Where it cannot, nobody follows the run, which ends as by Ctrl-C.
    heard: bool,
    bar: ProgressBar,
    begun: Option<u64>,
    losses: Curve,
    validation: Option<String>,
    checkpoint: Option<u64>,
    skipped: u64,
}

impl Dashboard {
    /// Of the process that `leads`, or of another, which shows nothing. `presses` counts those of Ctrl-C.
    pub fn new(json: bool, leads: bool, presses: Arc<AtomicUsize>) -> Self {
        let bar = if leads && !json {
            ProgressBar::new(0)
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len}\n{msg}") {
            bar.set_style(style);
        }
        Self {
            json,
            leads,
            presses,
            heard: true,
            bar,
            begun: None,
            losses: Curve::default(),
            validation: None,
            checkpoint: None,
            skipped: 0,
        }
    }

    /// A line above the bar.
    pub fn say(&mut self, text: &str) {
        if self.leads && !self.json {
            let write = || writeln!(std::io::stderr().lock(), "{text}");
            self.heard &= self.bar.suspend(write).is_ok();
        }
    }

    /// Something of the run's settings that one should know; an event with `--json`.
    pub fn note(&mut self, text: &str) {
        if self.json && self.leads {
            let event = json!({"event": "note", "message": text});
            self.heard &= writeln!(std::io::stdout().lock(), "{event}").is_ok();
        }
        self.say(&format!("note: {text}"));
    }

    /// Whether everything that was said could be written.
    pub fn is_heard(&self) -> bool {
        self.heard
    }

    /// Nothing more will come.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn step(
        &mut self,
        step: u64,
        steps: u64,
        report: &Report,
        seconds: Option<f64>,
        pictures: u64,
    ) {
        let begun = *self.begun.get_or_insert(step - 1);
        let seconds = seconds.unwrap_or_default().max(1e-9);
        let left = HumanDuration(Duration::from_secs_f64(seconds * (steps - step) as f64));
        let speed = pictures as f64 / seconds;
        let memory = machine::peak_rss().map_or(String::new(), |bytes| {
            format!(", {:.0} MB at most so far", bytes as f64 / 1e6)
        });
        let values = values(report);
        self.losses.push(report.get("loss").unwrap_or(f64::NAN));
        self.bar.set_length(steps);
        self.bar.set_position(step);
        if !self.bar.is_hidden() {
            let mut lines = vec![
                format!("{speed:.1} pictures/s, {left} left{memory}"),
                values.clone(),
                format!("loss {}", self.losses),
            ];
            lines.extend(self.validation.clone());
            let saved = self.checkpoint.map_or_else(
                || "no checkpoint yet".to_owned(),
                |step| format!("last checkpoint after step {step}"),
            );
            let skipped = match self.skipped {
                0 => String::new(),
                count => format!(", {} skipped", counted(count as usize, "picture")),
            };
            lines.push(format!("{saved}{skipped}; Ctrl-C writes one and ends"));
            self.bar.set_message(lines.join("\n"));
        }
        if step - begun == MEASURED && step < steps {
            self.say(&format!(
                "speed: {speed:.1} pictures/s, {left} to the end{memory}"
            ));
        }
        let every = (steps / 20).max(1);
        if self.bar.is_hidden() && (step.is_multiple_of(every) || step == steps) {
            self.say(&format!(
                "step {step} of {steps}: {values}  {speed:.1} pictures/s"
            ));
        }
    }
}

/// A curve of at most [`WIDTH`] means, each of as many numbers as the others.
#[derive(Debug)]
struct Curve {
    /// Sum and count of each.
    means: Vec<(f64, u64)>,
    /// How many numbers a mean is of.
    each: u64,
}

impl Default for Curve {
    fn default() -> Self {
        Self {
            means: Vec::new(),
            each: 1,
        }
    }
}

impl Curve {
    fn push(&mut self, value: f64) {
        match self.means.last_mut() {
            Some((sum, count)) if *count < self.each => {
                *sum += value;
                *count += 1;
            }
            _ => self.means.push((value, 1)),
        }
        if self.means.len() > WIDTH {
            let join = |pair: &[(f64, u64)]| {
                let add = |a: (f64, u64), b: &(f64, u64)| (a.0 + b.0, a.1 + b.1);
                pair.iter().fold((0.0, 0), add)
            };
            self.means = self.means.chunks(2).map(join).collect();
            self.each *= 2;
        }
    }
}

/// As blocks of eight heights between the lowest and the highest, and these two numbers.
impl std::fmt::Display for Curve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let means = self
            .means
            .iter()
            .map(|(sum, count)| sum / *count as f64)
            .filter(|mean| mean.is_finite());
        let means: Vec<f64> = means.collect();
        let low = means.iter().copied().fold(f64::INFINITY, f64::min);
        let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for mean in &means {
            let height = ((mean - low) / (high - low).max(f64::MIN_POSITIVE) * 7.0).round();
            let block = char::from_u32('▁' as u32 + height as u32);
            write!(f, "{}", block.unwrap_or('█'))?;
        }
        match means.is_empty() {
            true => Ok(()),
            false => write!(f, " {} to {}", short(low), short(high)),
        }
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        v if v != 0.0 && !(1e-3..1e4).contains(&v) => format!("{value:.2e}"),
        _ => format!("{value:.4}"),
    }
}

/// The numbers of a report on one line.
fn values(report: &Report) -> String {
    let text = |(name, value): &(String, f64)| format!("{name} {}", short(*value));
    report.0.iter().map(text).collect::<Vec<_>>().join("  ")
}

fn object(event: &str, step: u64, report: &Report) -> Value {
    let mut object = Map::new();
    object.insert("event".to_owned(), json!(event));
    object.insert("step".to_owned(), json!(step));
    object.extend(
        report
            .0
            .iter()
            .map(|(name, value)| (name.clone(), json!(value))),
    );
    Value::Object(object)
}

impl Observer for Dashboard {
    fn event(&mut self, event: &Event<'_>) {
        let (text, value) = match event {
            Event::Plan(plan) => (plan.to_string(), json!({"event": "plan", "plan": plan})),
            Event::PassedOver { path, reason } => (
                format!("passed over {}: {reason}", path.display()),
                json!({"event": "passed_over", "path": path, "reason": reason}),
            ),
            Event::NothingToResume { folder } => (
                format!(
                    "{}: no checkpoint to go on from; the run begins",
                    folder.display()
                ),
                json!({"event": "nothing_to_resume", "path": folder}),
            ),
            Event::Resumed { path, step } => (
                format!("going on after step {step}, from {}", path.display()),
                json!({"event": "resumed", "path": path, "step": step}),
            ),
            Event::Step {
                step,
                steps,
                report,
                seconds,
                pictures,
            } => {
                self.step(*step, *steps, report, *seconds, *pictures);
                (String::new(), object("step", *step, report))
            }
            Event::Validated { step, report } => {
                let text = format!("validation after step {step}: {}", values(report));
                self.validation = Some(text.clone());
                (text, object("validation", *step, report))
            }
            Event::Sheet { path, shows } => (
                match shows.is_empty() {
                    true => format!("sheet: {}", path.display()),
                    false => format!("sheet: {} ({shows})", path.display()),
                },
                json!({"event": "sheet", "path": path, "shows": shows}),
            ),
            Event::Checkpoint { path, step } => {
                self.checkpoint = Some(*step);
                (
                    format!("checkpoint: {}", path.display()),
                    json!({"event": "checkpoint", "path": path, "step": step}),
                )
            }
            Event::Skipped { id, reason } => {
                self.skipped += 1;
                (
                    printable(&format!("skipped {id}: {reason}")),
                    json!({"event": "skipped", "id": id, "reason": reason}),
                )
            }
            Event::Exported { path } => (
                format!("model: {}", path.display()),
                json!({"event": "model", "path": path}),
            ),
            _ => return,
        };
        if self.json && self.leads {
            self.heard &= writeln!(std::io::stdout().lock(), "{value}").is_ok();
        } else if !text.is_empty() {
            self.say(&text);
        }
    }

    fn stop(&mut self) -> bool {
        self.presses.load(Ordering::SeqCst) > 0 || !self.heard
    }

    fn seconds(&mut self) -> f64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0.0, |time| time.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_falls_as_its_numbers_do_and_never_grows_too_wide() {
        let mut curve = Curve::default();
        assert_eq!(curve.to_string(), "");
        for step in 0..1000 {
            curve.push(2.0 - f64::from(step) / 1000.0);
        }
        let text = curve.to_string();
        let blocks: Vec<char> = text.chars().take_while(|c| *c != ' ').collect();
        assert!((WIDTH / 2..=WIDTH).contains(&blocks.len()), "{text}");
        assert!(blocks.is_sorted_by(|a, b| a >= b), "{text}");
        assert_eq!((blocks[0], blocks[blocks.len() - 1]), ('█', '▁'));
        let of = curve.means.iter().map(|(_, count)| count).sum::<u64>();
        assert_eq!(of, 1000);
        let mut flat = Curve::default();
        flat.push(f64::NAN);
        flat.push(1.0);
        assert_eq!(flat.to_string(), "▁ 1.0000 to 1.0000");
    }
}
