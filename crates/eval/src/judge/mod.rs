//! A judge that names what a drawing shows.
//!
//! A small convolutional network looks at pictures of 64×64 pixels and says which of the data set's things each shows. It learns
//! from the pixels of the training split alone and knows nothing else, so that no network that had a part in the model's training
//! has one in its judgement. What it should not go by is taken from it while it learns ([`augment`]): the ground, the hue, sharp
//! edges, size and place; and a share of the pictures has gone through the model's autoencoder.
//!
//! How often it names real held-out drawings says how far it can be trusted. It is a measuring device and no more.

mod augment;
mod learn;
mod network;

pub(crate) use augment::Sample;
pub(crate) use learn::{Judge, Looked, Teaching};
pub(crate) use network::SIDE;
