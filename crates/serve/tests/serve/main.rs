//! The service over real connections, with an engine that draws at once. One program, so that it is linked once.

mod common;
mod jobs;
mod native;
mod openai;
mod openapi;
mod sdapi;
mod sdapi_watch;
mod sdcpp;
mod security;
