//! Hypernetworks: small networks that bend what attention makes its keys and its values of, one pair for each width that it may
//! have.
//!
//! Named after Ha et al., "HyperNetworks", 2016; this form is that of NovelAI and A1111. They are chosen by the width of what
//! an attention reads, whether that is a context or the pixels themselves.

mod config;
mod curve;
mod network;

pub use config::{Bent, HypernetworkConfig};
pub use curve::Curve;
pub use network::{Bend, HyperLayer, Hypernetwork, Pair, Stack, bent};
