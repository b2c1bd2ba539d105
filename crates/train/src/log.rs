//! The numbers of a run: one JSON object a line, TensorBoard's event files, a chart.

mod chart;
mod tensorboard;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use image::RgbImage;
use serde_json::{Map, Value, json};

use crate::{Error, Report};
use tensorboard::EventFile;

/// The lines, from which the chart is drawn.
const LINES: &str = "log.jsonl";
/// The chart.
const CHART: &str = "loss.svg";

/// Writes the logs of a run into its folder.
#[derive(Debug)]
pub struct Log {
    folder: PathBuf,
    lines: File,
    events: Option<EventFile>,
    points: Vec<chart::Point>,
}

impl Log {
    /// Begins, or goes on after `step` steps: lines of later ones, which a killed run may have written,
    /// are dropped. `seconds` is the time since 1970.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn open(folder: &Path, step: u64, tensorboard: bool, seconds: f64) -> Result<Self, Error> {
        let path = folder.join(LINES);
        let kept: Vec<Value> = match fs::read_to_string(&path) {
            Err(_) => Vec::new(),
            Ok(text) => text
                .lines()
                // A line that was cut off by a kill is not JSON.
                .filter_map(|line| serde_json::from_str(line).ok())
                .filter(|line: &Value| line["step"].as_u64().is_some_and(|s| s <= step && s > 0))
                .collect(),
        };
        let text: String = kept.iter().map(|line| format!("{line}\n")).collect();
        let writes = |e| Error::io(&path, "write")(e);
        fs::write(&path, text).map_err(writes)?;
        Ok(Self {
            folder: folder.to_owned(),
            lines: OpenOptions::new()
                .append(true)
                .open(&path)
                .map_err(writes)?,
            events: tensorboard
                .then(|| EventFile::create(folder, step, seconds))
                .transpose()?,
            points: kept.iter().filter_map(chart::Point::of).collect(),
        })
    }

    /// Adds a line. `kind` is `train` or `validation`.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn write(
        &mut self,
        kind: &str,
        step: u64,
        report: &Report,
        seconds: f64,
    ) -> Result<(), Error> {
        let mut line = Map::new();
        line.insert("step".to_owned(), json!(step));
        line.insert("kind".to_owned(), json!(kind));
        line.extend(
            report
                .0
                .iter()
                .map(|(name, value)| (name.clone(), json!(value))),
        );
        let line = Value::Object(line);
        writeln!(self.lines, "{line}").map_err(Error::io(self.folder.join(LINES), "write"))?;
        self.points.extend(chart::Point::of(&line));
        match &mut self.events {
            Some(events) => events.scalars(kind, step, report, seconds),
            None => Ok(()),
        }
    }

    /// Adds a sheet to TensorBoard's file.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn sheet(
        &mut self,
        step: u64,
        png: &[u8],
        sheet: &RgbImage,
        seconds: f64,
    ) -> Result<(), Error> {
        match &mut self.events {
            Some(events) => events.picture("sheet", step, png, sheet.dimensions(), seconds),
            None => Ok(()),
        }
    }

    /// Draws the chart anew.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn draw(&self) -> Result<(), Error> {
        chart::draw(&self.folder.join(CHART), &self.points)
    }
}
