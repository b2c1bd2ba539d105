//! Loading the tiny checkpoint in every form and in every historical variant: its weights (`weights`), and what files say beside
//! them (`settings`).

#[path = "../support/mod.rs"]
mod support;

mod settings;
mod weights;

fn quiet(_: usize, _: usize) {}
