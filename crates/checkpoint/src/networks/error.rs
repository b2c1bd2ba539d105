//! Why a network cannot be told or built.

/// Why a model's configuration could not be told.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DetectError {
    /// A tensor that every network of its kind has is not there.
    #[error("there is no tensor `{tensor}`, without which the network's size is unknown")]
    Missing {
        /// The full name in the file.
        tensor: String,
    },
    /// A tensor has a shape that no network of its kind has.
    #[error("tensor `{tensor}` has shape {found:?}; expected {expected}")]
    Shape {
        /// The full name in the file.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// What it may be.
        expected: String,
    },
    /// The tensors describe a network that cannot be built.
    #[error("the network cannot be built: {0}")]
    Config(#[from] latent_models::ConfigError),
    /// A network larger than anything that could be meant.
    #[error("`{field}` is {value}, above the limit of {limit}")]
    TooLarge {
        /// What is too large.
        field: &'static str,
        /// Its value.
        value: usize,
        /// The largest accepted.
        limit: usize,
    },
    /// A setting of a JSON file that is not supported.
    #[error("{what}: `{key}` is {value}; expected {expected}")]
    Key {
        /// Which file.
        what: &'static str,
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What it may be.
        expected: String,
    },
    /// Settings of the wrong type.
    #[error("{what}: {problem}")]
    Settings {
        /// Which file.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
}
