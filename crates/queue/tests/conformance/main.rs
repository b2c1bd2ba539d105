//! What the queue promises, on every database.

#[path = "../common/mod.rs"]
mod common;

mod catalogue;
mod control;
mod crashes;
mod events;
mod order;
mod submit;
mod uploads;
mod work;
