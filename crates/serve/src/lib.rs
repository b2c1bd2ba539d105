//! The HTTP service: latent's own API and those of A1111, OpenAI, stable-diffusion.cpp and ComfyUI, over one durable queue.
//!
//! Each interface makes a request in latent's tables out of what it was sent, puts one row into the queue ([`submit`]) and
//! watches it; none draws by itself. So cancelling, progress, limits and what survives a crash exist once, and an interface that
//! answers with the picture is "enqueue, then wait". [`worker`] is the only one that draws, through the [`Engine`] that the
//! program brings: this crate knows nothing of tensors.
//!
//! The service is closed by default: it listens on this machine alone, refuses what a page of another site makes a browser
//! send ([`guard`]), takes pictures by value and never by path or address ([`given`]), and has no client for outgoing requests.
//!
//! Rejected: a web framework of another kind (axum is tower and hyper, no more), a crate of jobs (see `latent-queue`), WebSockets for events of our own (events by SSE
//! go on where they stopped; ComfyUI's clients listen by WebSocket), Argon2 (secrets are handed over at the start and held as a
//! hash in memory, never in a file).

mod alone;
mod api;
mod app;
mod comfy;
mod config;
mod engine;
mod extra;
mod fault;
mod feed;
pub mod given;
pub mod guard;
mod health;
mod live;
mod openai;
mod pages;
mod sdapi;
mod sdcpp;
mod server;
mod settings;
mod store;
pub mod submit;
mod ui;
mod wait;
pub mod worker;

pub use alone::Worker;
pub use api::description;
pub use config::{Compat, Config, ConfigError, Limits, User};
pub use engine::{
    Adapter, Asked, Catalogue, Convert, Drawn, Embedding, Encoded, Engine, Filter, Fit, Format,
    Inputs, Memory, Model, Output, Read, Sampler, Scheduler, Settled, Stop, Watch, Work,
};
pub use fault::{CODES, Fault, Problem, Result};
pub use server::{Server, StartError};
