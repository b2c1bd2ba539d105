//! A worker without a service: it draws what others take in.

use std::future::Future;
use std::sync::Arc;

use latent_queue::{Outside, Queue};

use crate::app::{App, Phase, Shared};
use crate::config::Config;
use crate::engine::Engine;
use crate::server::StartError;
use crate::worker;

/// A worker of a queue that several processes share.
#[derive(Debug)]
pub struct Worker {
    app: Shared,
    name: String,
}

impl Worker {
    /// Of what a configuration says, its limits count. It writes no settings.
    ///
    /// # Errors
    /// Settings that cannot be read.
    pub fn new(
        config: Config,
        engine: Arc<dyn Engine>,
        queue: Queue,
        outside: Outside,
    ) -> Result<Self, StartError> {
        let config = Config {
            shared: true,
            ..config
        };
        let app = App::new(config, engine, queue, outside).map_err(StartError::Settings)?;
        let name = app.word();
        Ok(Self { app, name })
    }

    /// The name under which it holds its jobs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Draws until `end`; then lets the running picture finish, gives the rest of its job back, and returns.
    pub async fn run(self, end: impl Future<Output = ()>) {
        let Self { app, name } = self;
        let worker = tokio::spawn(worker::run(app.clone(), name));
        end.await;
        app.phase.send_replace(Phase::Draining);
        if let Err(error) = worker.await {
            tracing::error!(%error, "the worker panicked");
        }
        app.queue.close().await;
    }
}
