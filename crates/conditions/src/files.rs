//! The files that some conditions are read with.

use std::path::{Path, PathBuf};

use latent_checkpoint::{Checkpoint, ModelError, TensorFile};

/// Where a published folder has the vocabulary of a `word_piece` tokenizer, one token a line.
pub const VOCABULARY: &str = "conditioner/vocab.txt";
/// Where it has the vectors of pictures.
pub const NEIGHBOURS: &str = "conditioner/neighbours.safetensors";
/// Where it has the names of classes, one a line in the order of their numbers.
pub const CLASSES: &str = "conditioner/classes.txt";

/// The longest text accepted, in bytes.
const MAX_TEXT: u64 = 64 << 20;

/// A file that cannot be used.
#[derive(Debug)]
pub enum FileProblem {
    /// It cannot be read.
    Unread(ModelError),
    /// It does not hold what is expected.
    Wrong {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl FileProblem {
    pub(crate) fn wrong(path: &Path, problem: impl ToString) -> Self {
        Self::Wrong {
            path: path.to_owned(),
            problem: problem.to_string(),
        }
    }
}

impl From<ModelError> for FileProblem {
    fn from(error: ModelError) -> Self {
        Self::Unread(error)
    }
}

/// What has the files. Only those are asked for that the condition is read with.
pub trait Files {
    /// The vocabulary of a `word_piece` tokenizer, with its name for messages.
    ///
    /// # Errors
    /// A file that is not there or cannot be read.
    fn vocabulary(&self) -> Result<(PathBuf, Vec<u8>), ModelError>;

    /// The file of [`Vectors`](crate::Vectors).
    ///
    /// # Errors
    /// A file that is not there or cannot be read.
    fn neighbours(&self) -> Result<TensorFile, ModelError>;
}

impl Files for Checkpoint {
    fn vocabulary(&self) -> Result<(PathBuf, Vec<u8>), ModelError> {
        let bytes = self.attachment(VOCABULARY, MAX_TEXT)?;
        Ok((self.path().join(VOCABULARY), bytes))
    }

    fn neighbours(&self) -> Result<TensorFile, ModelError> {
        Ok(self.files().tensors(&self.path().join(NEIGHBOURS))?)
    }
}

/// The names of the classes that a model was trained with, in the order of their numbers; none where its data had none.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn class_names(checkpoint: &Checkpoint) -> Result<Vec<String>, FileProblem> {
    let path = checkpoint.path().join(CLASSES);
    let bytes = match checkpoint.attachment(CLASSES, MAX_TEXT) {
        Err(_) if !checkpoint.files().is_file(&path) => return Ok(Vec::new()),
        bytes => bytes?,
    };
    let text = String::from_utf8(bytes).map_err(|e| FileProblem::wrong(&path, e))?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// A file of the disk, for [`Files::vocabulary`].
///
/// # Errors
/// A file that cannot be read or is too long.
pub fn vocabulary_at(path: &Path) -> Result<(PathBuf, Vec<u8>), ModelError> {
    let bytes = latent_checkpoint::Files::Disk.read(path, MAX_TEXT, "the vocabulary")?;
    Ok((path.to_owned(), bytes.into_owned()))
}
