//! The service over real connections, with an engine that draws at once. One program, so that it is linked once.

mod attacks;
mod comfy;
mod comfy_graphs;
mod comfy_socket;
mod common;
mod jobs;
mod native;
mod openai;
mod openapi;
mod private;
mod rates;
mod sdapi;
mod sdapi_watch;
mod sdcpp;
mod security;
