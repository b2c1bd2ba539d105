//! What training adds to the networks. Today that is the optimiser.
//!
//! A network is trained as burn has it: built on `Device::autodiff`, run, and its loss's `backward`
//! gives the gradients that [`AdamW::step`] takes. Rejected: burn's own optimisers, which make a dozen
//! passes over memory for every parameter where one is enough, and allocate at each.

mod adamw;

pub use adamw::AdamW;
