//! Errors of configurations and parameters.

use thiserror::Error;

/// A configuration that describes no network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{field}` is {value}; it must be {expected}")]
pub struct ConfigError {
    /// The field, as a path inside the configuration (`levels[2].channels`).
    pub field: String,
    /// The value found.
    pub value: String,
    /// What the field may be.
    pub expected: String,
}

impl ConfigError {
    pub(crate) fn new(
        field: impl Into<String>,
        value: impl std::fmt::Debug,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            value: format!("{value:?}"),
            expected: expected.into(),
        }
    }
}

/// `value` must be at least one.
pub(crate) fn at_least_one(field: &str, value: usize) -> Result<(), ConfigError> {
    if value == 0 {
        return Err(ConfigError::new(field, value, "at least 1"));
    }
    Ok(())
}

/// `channels` must be a non-zero multiple of `groups`.
pub(crate) fn multiple_of(field: &str, channels: usize, groups: usize) -> Result<(), ConfigError> {
    if groups == 0 || channels == 0 || !channels.is_multiple_of(groups) {
        let expected = format!("a non-zero multiple of {groups}");
        return Err(ConfigError::new(field, channels, expected));
    }
    Ok(())
}

/// There must be 1 to 16 levels, the channels of each a non-zero multiple of `groups`.
pub(crate) fn levels_of(
    channels: impl ExactSizeIterator<Item = usize>,
    groups: usize,
) -> Result<(), ConfigError> {
    let count = channels.len();
    at_least_one("number of levels", count)?;
    if count > 16 {
        return Err(ConfigError::new("number of levels", count, "at most 16"));
    }
    let mut levels = channels.enumerate();
    levels.try_for_each(|(i, c)| multiple_of(&format!("levels[{i}].channels"), c, groups))
}

/// A tensor that does not fit the parameter it was given for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParameterError {
    /// The shapes differ.
    #[error("parameter `{path}` has shape {expected:?}, but was given a tensor of shape {found:?}")]
    Shape {
        /// The parameter's published name.
        path: String,
        /// The module's shape.
        expected: Vec<usize>,
        /// The shape given.
        found: Vec<usize>,
    },
    /// The values cannot be stored in the wanted type.
    #[error("parameter `{path}` cannot be converted to {dtype}: {reason}")]
    Convert {
        /// The parameter's published name.
        path: String,
        /// The wanted type.
        dtype: String,
        /// What burn reports.
        reason: String,
    },
}
