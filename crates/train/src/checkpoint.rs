//! Folders that a stopped run continues from.
//!
//! A checkpoint is a folder `step-00000500` with the task's tensors (`state.safetensors`) and everything
//! else (`checkpoint.json`), the hash of the tensors' file included. It is written under a name that
//! begins with a dot, flushed to the disk and renamed, and it is removed by renaming first: a folder with a
//! good name is whole, unless the disk is at fault, and then its hash tells.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use latent_checkpoint::file::hash::sha256;
use latent_checkpoint::file::write::{self, Existing};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Error, StateReader, StateWriter};

const PREFIX: &str = "step-";
const TENSORS: &str = "state.safetensors";
const ABOUT: &str = "checkpoint.json";
/// The layout of `checkpoint.json`; a reader refuses others.
const FORMAT: u32 = 1;

/// The checkpoints of a run.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
    spared: Option<u64>,
}

/// What a checkpoint says about itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct About {
    format: u32,
    /// Steps that are done.
    pub step: u64,
    /// The batch that comes next.
    pub position: u64,
    /// What decided the numbers: see `TrainConfig::defining`.
    pub settings: Value,
    /// Counters of the task.
    pub numbers: Map<String, Value>,
    /// SHA-256 of the tensors' file.
    pub sha256: String,
}

/// A checkpoint that was found to be whole.
#[derive(Debug)]
pub struct Saved {
    /// Its folder.
    pub path: PathBuf,
    /// What it says about itself.
    pub about: About,
}

impl Saved {
    /// The task's state.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn state(&self) -> Result<StateReader, Error> {
        StateReader::open(&self.path.join(TENSORS), self.about.numbers.clone())
    }
}

impl Checkpoints {
    /// Those in `folder`, which need not be there yet; `keep` (1 or more) of them are kept.
    pub fn new(folder: PathBuf, keep: usize) -> Self {
        Self {
            folder,
            keep: keep.max(1),
            spared: None,
        }
    }

    /// With the one of that step kept beside the others.
    #[must_use]
    pub fn sparing(self, step: Option<u64>) -> Self {
        Self {
            spared: step,
            ..self
        }
    }

    /// The steps of all, whole or not, the latest first.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn steps(&self) -> Result<Vec<u64>, Error> {
        let mut steps: Vec<u64> = self
            .names()?
            .iter()
            .filter_map(|name| step_of(name))
            .collect();
        steps.sort_unstable_by(|a, b| b.cmp(a));
        Ok(steps)
    }

    /// The names of all entries.
    fn names(&self) -> Result<Vec<String>, Error> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(Error::io(&self.folder, "list")(e)),
        };
        let name = |entry: std::io::Result<fs::DirEntry>| {
            Some(entry.ok()?.file_name().to_string_lossy().into_owned())
        };
        Ok(entries.filter_map(name).collect())
    }

    fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("{PREFIX}{step:08}"))
    }

    /// The latest checkpoint that is whole. `bad` hears of those that are passed over, and why.
    ///
    /// # Errors
    /// A folder that cannot be read; checkpoints none of which is whole.
    pub fn latest(&self, bad: &mut dyn FnMut(&Path, String)) -> Result<Option<Saved>, Error> {
        let steps = self.steps()?;
        for &step in &steps {
            let path = self.path(step);
            match read(&path) {
                Ok(about) => return Ok(Some(Saved { path, about })),
                Err(reason) => bad(&path, reason),
            }
        }
        match steps.is_empty() {
            true => Ok(None),
            false => Err(Error::State {
                path: self.folder.clone(),
                problem: format!(
                    "none of its {} checkpoints is whole: remove them to begin anew",
                    steps.len()
                ),
            }),
        }
    }

    /// Writes a checkpoint and removes those that are one too many.
    ///
    /// # Errors
    /// A disk that is full or refuses; the checkpoints that were there still are.
    pub fn save(
        &self,
        step: u64,
        position: u64,
        settings: Value,
        state: &StateWriter,
    ) -> Result<PathBuf, Error> {
        fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder, "create"))?;
        self.clean()?;
        let target = self.path(step);
        let part = self.folder.join(format!(".{PREFIX}{step:08}.part"));
        let written = self.write(&part, step, position, settings, state);
        if let Err(error) = written {
            // A half one would keep a full disk full.
            let _ = fs::remove_dir_all(&part);
            return Err(error);
        }
        // One of this step is there only if it was passed over.
        self.remove(step)?;
        fs::rename(&part, &target)
            .map_err(Error::io(&target, "rename the finished checkpoint to it"))?;
        flush(&self.folder);
        for step in self
            .steps()?
            .into_iter()
            .filter(|&s| s != step && Some(s) != self.spared)
            .skip(self.keep - 1)
        {
            self.remove(step)?;
        }
        Ok(target)
    }

    /// Writes all of a checkpoint into a folder.
    fn write(
        &self,
        part: &Path,
        step: u64,
        position: u64,
        settings: Value,
        state: &StateWriter,
    ) -> Result<(), Error> {
        fs::create_dir(part).map_err(Error::io(part, "create"))?;
        let tensors = part.join(TENSORS);
        state.write(&tensors)?;
        let about = About {
            format: FORMAT,
            step,
            position,
            settings,
            numbers: state.numbers().clone(),
            sha256: sha256(&tensors, &mut |_, _| {})?,
        };
        let about = serde_json::to_value(about).map_err(|e| Error::State {
            path: part.to_owned(),
            problem: e.to_string(),
        })?;
        write::json(&part.join(ABOUT), &about, Existing::Refuse)?;
        flush(part);
        Ok(())
    }

    /// Removes what a killed run left half written or half removed.
    fn clean(&self) -> Result<(), Error> {
        let names = self.names()?;
        for name in names
            .iter()
            .filter(|name| name.starts_with(&format!(".{PREFIX}")))
        {
            let path = self.folder.join(name);
            fs::remove_dir_all(&path).map_err(Error::io(&path, "remove"))?;
        }
        Ok(())
    }

    fn remove(&self, step: u64) -> Result<(), Error> {
        let path = self.path(step);
        let doomed = self.folder.join(format!(".{PREFIX}{step:08}.old"));
        match fs::rename(&path, &doomed) {
            Ok(()) => fs::remove_dir_all(&doomed).map_err(Error::io(&doomed, "remove")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::io(path, "remove")(e)),
        }
    }
}

fn step_of(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?.parse().ok()
}

/// Makes the names in a folder last. Not every system lets a folder be opened for this.
fn flush(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// Reads what a checkpoint says, and whether its tensors are those it was written with.
fn read(path: &Path) -> Result<About, String> {
    let text =
        fs::read_to_string(path.join(ABOUT)).map_err(|e| format!("{ABOUT} cannot be read: {e}"))?;
    let about: About =
        serde_json::from_str(&text).map_err(|e| format!("{ABOUT} is damaged: {e}"))?;
    if about.format != FORMAT {
        return Err(format!(
            "its format is {}, and this program reads {FORMAT}",
            about.format
        ));
    }
    let tensors = path.join(TENSORS);
    let hash = sha256(&tensors, &mut |_, _| {}).map_err(|e| e.to_string())?;
    match hash == about.sha256 {
        true => Ok(about),
        false => {
            let bytes = fs::metadata(&tensors).map_or(0, |m| m.len());
            Err(format!(
                "{TENSORS} ({bytes} bytes) is damaged or cut off: its SHA-256 is not the one written down"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};
    use serde_json::json;

    use super::*;

    fn state(value: f32) -> StateWriter {
        let mut state = StateWriter::new();
        state.tensor("x", Tensor::<1>::from_floats([value, 0.1], &Device::flex()));
        state.number("count", &0.1f64);
        state
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn latest(checkpoints: &Checkpoints) -> (Option<u64>, Vec<String>) {
        let mut passed = Vec::new();
        let found = checkpoints
            .latest(&mut |path, reason| passed.push(format!("{}: {reason}", path.display())));
        (found.unwrap().map(|saved| saved.about.step), passed)
    }

    #[test]
    fn the_last_ones_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(dir.path().join("c"), 2);
        assert_eq!(latest(&checkpoints).0, None);
        for step in [5, 10, 15] {
            // what kills leave
            fs::create_dir_all(dir.path().join("c/.step-00000007.part")).unwrap();
            fs::create_dir_all(dir.path().join("c/.step-00000003.old")).unwrap();
            checkpoints
                .save(step, step, json!({}), &state(step as f32))
                .unwrap();
        }
        assert_eq!(
            names(&dir.path().join("c")),
            ["step-00000010", "step-00000015"]
        );
        let saved = checkpoints.latest(&mut |_, _| panic!()).unwrap().unwrap();
        let mut state = saved.state().unwrap();
        assert_eq!(state.values("x", &[2]).unwrap(), [15.0, 0.1]);
        assert_eq!(state.number::<f64>("count").unwrap(), 0.1);
        state.finish().unwrap();
    }

    #[test]
    fn damaged_ones_are_passed_over_and_never_cost_the_good_one() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(dir.path().to_owned(), 1);
        let wide = Checkpoints::new(dir.path().to_owned(), 9);
        for step in [5, 10, 15, 20] {
            wide.save(step, step, json!({}), &state(step as f32))
                .unwrap();
        }
        let file = |step: u64, name: &str| dir.path().join(format!("step-{step:08}/{name}"));
        let bytes = fs::read(file(20, TENSORS)).unwrap();
        fs::write(file(20, TENSORS), &bytes[..bytes.len() - 3]).unwrap();
        let mut bytes = fs::read(file(15, TENSORS)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(file(15, TENSORS), bytes).unwrap();
        let text = fs::read_to_string(file(10, ABOUT)).unwrap();
        fs::write(file(10, ABOUT), &text[..text.len() / 2]).unwrap();
        let (step, passed) = latest(&checkpoints);
        assert_eq!(step, Some(5));
        assert!(
            passed[0].contains("step-00000020") && passed[0].contains("cut off"),
            "{passed:?}"
        );
        assert!(
            passed[1].contains("SHA-256") && passed[2].contains("checkpoint.json"),
            "{passed:?}"
        );

        // Going on from 5, the run writes 10 again: the good one stays until then.
        checkpoints.save(10, 10, json!({}), &state(10.0)).unwrap();
        assert_eq!(latest(&checkpoints).0, Some(10));
        assert_eq!(names(dir.path()), ["step-00000010"]);

        let sparing = checkpoints.sparing(Some(10));
        sparing.save(25, 25, json!({}), &state(25.0)).unwrap();
        sparing.save(30, 30, json!({}), &state(30.0)).unwrap();
        assert_eq!(names(dir.path()), ["step-00000010", "step-00000030"]);
    }

    #[test]
    fn nothing_whole_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("step-00000001")).unwrap();
        let error = Checkpoints::new(dir.path().to_owned(), 1)
            .latest(&mut |_, _| {})
            .unwrap_err();
        assert!(
            error.to_string().contains("none of its 1 checkpoints"),
            "{error}"
        );
    }

    #[test]
    fn one_that_fails_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(dir.path().to_owned(), 2);
        checkpoints.save(1, 1, json!({}), &state(1.0)).unwrap();
        let mut twice = state(2.0);
        twice.tensor("x", Tensor::<1>::from_floats([2.0], &Device::flex()));
        checkpoints.save(2, 2, json!({}), &twice).unwrap_err();
        assert_eq!(names(dir.path()), ["step-00000001"]);
    }
}
