//! What a loader did with every tensor, and the errors of loading.
//!
//! There are five possible fates. Applied and ignored-for-a-known-reason are success and are reported; missing, unused
//! and misshapen are one error, which lists names. Nothing is passed over in silence.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Error;
use crate::networks::{DetectError, Role};

/// How many names of each kind a message lists.
const LISTED: usize = 10;

/// What loading one network did.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Parameter and the tensor that filled it, both by full name.
    pub applied: Vec<(String, String)>,
    /// Tensors left unread, each with the reason.
    pub ignored: Vec<(String, String)>,
    /// Whether the moving average of the weights was loaded rather than the weights.
    pub moving_average: bool,
}

/// A tensor whose shape is not its parameter's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misshapen {
    /// The tensor's full name.
    pub tensor: String,
    /// The shape it should have.
    pub expected: Vec<usize>,
    /// The shape it has.
    pub found: Vec<usize>,
}

/// Everything in which a file differs from the network it should fill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// The file.
    pub path: PathBuf,
    /// The network, or `None` where a whole file was looked at.
    pub part: Option<Role>,
    /// Tensors that the network needs and the file has not.
    pub missing: Vec<String>,
    /// Tensors that the file has and nothing uses.
    pub unused: Vec<String>,
    /// Tensors of another shape.
    pub misshapen: Vec<Misshapen>,
}

impl Mismatch {
    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unused.is_empty() && self.misshapen.is_empty()
    }

    /// An error where tensors of the file `path` have other shapes than the network `part` needs.
    pub(crate) fn of_shapes(
        path: &Path,
        part: Role,
        misshapen: Vec<Misshapen>,
    ) -> Result<(), ModelError> {
        let mismatch = Self {
            path: path.to_owned(),
            part: Some(part),
            misshapen,
            ..Self::default()
        };
        mismatch.checked()
    }

    /// An error where there is a difference.
    pub(crate) fn checked(self) -> Result<(), ModelError> {
        match self.is_empty() {
            true => Ok(()),
            false => Err(Box::new(self).into()),
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: the file does not fit", self.path.display())?;
        if let Some(part) = self.part {
            write!(f, " the {part}")?;
        }
        let missing = self.missing.iter().map(|name| shown(name));
        list(f, "missing", self.missing.len(), missing)?;
        let shapes = self.misshapen.iter().map(|m| {
            let name = shown(&m.tensor);
            format!("{name} (expected {:?}, found {:?})", m.expected, m.found)
        });
        list(f, "of another shape", self.misshapen.len(), shapes)?;
        let unused = self.unused.iter().map(|name| shown(name));
        list(f, "not used by anything", self.unused.len(), unused)
    }
}

impl std::error::Error for Mismatch {}

fn shown(name: &str) -> String {
    format!("`{}`", crate::error::shown(name))
}

fn list(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    count: usize,
    items: impl Iterator<Item = String>,
) -> fmt::Result {
    if count == 0 {
        return Ok(());
    }
    let items: Vec<_> = items.take(LISTED).collect();
    let tensors = if count == 1 { "tensor" } else { "tensors" };
    write!(f, "; {count} {tensors} {what}: {}", items.join(", "))?;
    if count > LISTED {
        write!(f, " and {} more", count - LISTED)?;
    }
    Ok(())
}

/// Why a model could not be recognised, loaded or converted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The file itself is wrong, or could not be read or written.
    #[error(transparent)]
    File(#[from] Error),
    /// The configuration could not be told.
    #[error("{}: {source}", path.display())]
    Detect {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        source: DetectError,
    },
    /// The file holds no network that is known here.
    #[error("{}: no U-Net, autoencoder or text encoder of a known layout; it has {}", path.display(), names.join(", "))]
    NothingKnown {
        /// The file or folder.
        path: PathBuf,
        /// A few of the names it does have.
        names: Vec<String>,
    },
    /// The file holds networks, but not the one asked for.
    #[error("{}: there is no {wanted} in it; it has {}", path.display(), found.join(", "))]
    NoPart {
        /// The file or folder.
        path: PathBuf,
        /// What was asked for.
        wanted: Role,
        /// What it has.
        found: Vec<String>,
    },
    /// Names or shapes differ from the network's.
    #[error(transparent)]
    Mismatch(#[from] Box<Mismatch>),
    /// A weight is not a number.
    #[error("{}: tensor `{tensor}`: element {element} is {value}; the file is damaged or its training diverged", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor's full name.
        tensor: String,
        /// Its flat index.
        element: usize,
        /// `NaN`, `inf` or `-inf`.
        value: f32,
    },
    /// A weight does not fit the type asked for.
    #[error("{}: tensor `{tensor}`: element {element} is {value}, which {dtype} cannot hold; choose f32 or bf16", path.display())]
    Overflow {
        /// The file.
        path: PathBuf,
        /// The tensor's full name.
        tensor: String,
        /// Its flat index.
        element: usize,
        /// Its value.
        value: f32,
        /// The type asked for.
        dtype: &'static str,
    },
    /// A weight is stored in a type that is not read as a weight.
    #[error("{}: tensor `{tensor}` is stored as {dtype}; weights may be F16, BF16, F32, F64, F8_E4M3, F8_E5M2, or I8 where \
         `NAME.weight` has `NAME.weight_scale` beside it", path.display())]
    StoredType {
        /// The file.
        path: PathBuf,
        /// The tensor's full name.
        tensor: String,
        /// Its type, and what it lacks.
        dtype: &'static str,
    },
    /// A network does not take a parameter it was given.
    #[error(transparent)]
    Parameter(#[from] latent_models::ParameterError),
    /// A request that cannot be carried out.
    #[error("{}: {problem}", path.display())]
    Request {
        /// The file or folder.
        path: PathBuf,
        /// Why not, and what to do instead.
        problem: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mismatch_lists_ten_names_of_each_kind() {
        let mismatch = Mismatch {
            path: "a.safetensors".into(),
            part: Some(Role::DENOISER),
            missing: (0..12).map(|i| format!("m{i}")).collect(),
            unused: vec!["extra".into()],
            misshapen: vec![Misshapen {
                tensor: "bent".into(),
                expected: vec![1, 2],
                found: vec![3],
            }],
        };
        let text = mismatch.to_string();
        assert!(text.contains("12 tensors missing") && text.contains("`m9` and 2 more"));
        assert!(text.contains("`bent` (expected [1, 2], found [3])"));
        assert!(text.contains("1 tensor not used by anything: `extra`"));
        assert!(!text.contains("m10"));
    }
}
