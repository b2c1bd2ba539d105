//! How good a trained text-to-picture model is, by pictures that it has not learnt from.
//!
//! [`evaluate`] draws a picture for each caption of a test set and measures: what the autoencoder loses; how the drawn
//! pictures lie among real ones, by features of EfficientNet-Lite0 ([`Features`](latent_metrics::Features)); whether they
//! show their captions, by a dual encoder that has learnt from the training split alone ([`encoder`]); whether they are
//! copies of training pictures; of composed scenes, colour, count and place by the pixels themselves ([`scenes`]); and
//! whether drawings of things can be named, by a judge that has learnt from the training split alone too ([`things`]).
//!
//! A number by itself says little, so each stands beside what it could be at best and by chance: real test pictures,
//! the picture of the nearest training caption ([`retrieval`]), another's caption. What cannot be measured with what was
//! given is left out and said to be.
//!
//! The formulas are `latent-metrics`'s, the networks `latent-models`'s, the drawing `latent-pipeline`'s: this crate
//! brings them together, so that the program and a test call one function. Three things are kept in the report's folder
//! because they take long and depend on no drawn picture: the weights of the encoder and of the judge, and the features of
//! the training pictures. Rejected: a published image-text network, which knows photographs and would have to be downloaded; Inception
//! features, whose weights no registry has; and judging by a network that saw the test captions.

pub mod by_eye;
mod chart;
mod copies;
mod digits;
pub mod encoder;
mod error;
mod features;
mod judge;
mod kept;
mod observe;
mod options;
mod pictures;
mod report;
pub mod retrieval;
mod run;
pub mod scenes;
mod sheet;
mod subject;
mod teaching;
mod tested;
pub mod things;
mod training;

pub use chart::trade_off;
pub use error::Error;
pub use observe::{Observer, Unwatched};
pub use options::Options;
pub use report::{
    About, Alignment, Apart, Closest, Copies, Guided, Likeness, Reconstruction, Report, Shown,
    Spread,
};
pub use run::evaluate;
