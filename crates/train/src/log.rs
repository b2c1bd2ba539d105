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
    path: PathBuf,
    lines: File,
    events: Option<EventFile>,
    points: Vec<chart::Point>,
    validated: Option<u64>,
}

impl Log {
    /// Begins, or goes on after `step` steps: lines of later ones, which a killed run may have written, are dropped, and
    /// so are those that are damaged. `seconds` is the time since 1970. With it comes how many were damaged, a last one
    /// that a kill cut off aside.
    ///
    /// # Errors
    /// Files that cannot be read or written.
    pub fn open(
        folder: &Path,
        step: u64,
        tensorboard: bool,
        seconds: f64,
    ) -> Result<(Self, usize), Error> {
        let path = folder.join(LINES);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(Error::io(&path, "read"))?,
        };
        let (mut text, mut lines, mut damaged) = (Vec::new(), Vec::new(), 0);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let value: Option<Value> = serde_json::from_slice(line).ok();
            let at = value.as_ref().and_then(|value| value["step"].as_u64());
            match (value, at) {
                (Some(value), Some(at)) if line.ends_with(b"\n") => {
                    if (1..=step).contains(&at) {
                        text.extend_from_slice(line);
                        lines.push(value);
                    }
                }
                _ => damaged += usize::from(line.ends_with(b"\n")),
            }
        }
        // Nothing of it may be lost where the disk is full.
        if text != bytes || !path.exists() {
            let part = folder.join(format!(".{LINES}.part"));
            fs::write(&part, text).map_err(Error::io(&part, "write"))?;
            fs::rename(&part, &path).map_err(Error::io(&path, "rename the new log to it"))?;
        }
        let validated = lines.iter().filter(|line| line["kind"] == "validation");
        let log = Self {
            folder: folder.to_owned(),
            lines: OpenOptions::new()
                .append(true)
                .open(&path)
                .map_err(Error::io(&path, "write"))?,
            events: tensorboard
                .then(|| EventFile::create(folder, step, seconds))
                .transpose()?,
            validated: validated.filter_map(|line| line["step"].as_u64()).max(),
            points: lines.iter().filter_map(chart::Point::of).collect(),
            path,
        };
        Ok((log, damaged))
    }

    /// The file of lines.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The step of the last validation before this run went on.
    pub fn validated(&self) -> Option<u64> {
        self.validated
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
        writeln!(self.lines, "{line}").map_err(Error::io(&self.path, "write"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_byte_costs_its_line_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let open = |step| Log::open(dir.path(), step, false, 0.0).unwrap();
        let (mut log, damaged) = open(0);
        assert_eq!(damaged, 0);
        for step in 1..=6 {
            let report = Report::new().with("loss", step as f64);
            log.write("train", step, &report, 0.0).unwrap();
        }
        drop(log);
        let path = dir.path().join(LINES);
        let whole = fs::read(&path).unwrap();
        let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
        let mut bytes = whole.clone();
        bytes[lines[0].len() + 3] = 0xFF;
        bytes.truncate(whole.len() - 4);
        fs::write(&path, &bytes).unwrap();
        let (log, damaged) = open(5);
        // The last is what a kill leaves.
        assert_eq!((damaged, log.points.len()), (1, 4));
        let left: Vec<u8> = [lines[0], lines[2], lines[3], lines[4]].concat();
        assert_eq!(fs::read(&path).unwrap(), left);
    }
}
