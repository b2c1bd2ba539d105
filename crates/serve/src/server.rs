//! Listening, and ending in good order.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use latent_queue::{Outside, Queue};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{interval, sleep, timeout};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use tower_service::Service as _;

use crate::app::{App, Phase, Shared};
use crate::config::{Config, ConfigError};
use crate::engine::Engine;
use crate::fault::Fault;
use crate::guard::rate::Peer;
use crate::guard::{auth, headers, origin};
use crate::{api, comfy, health, openai, pages, sdapi, sdcpp, ui, worker};

/// How long open connections may take after the last job.
const LAST: Duration = Duration::from_secs(5);
/// How often leases are looked through.
const EXPIRE: Duration = Duration::from_secs(10);
/// How often what is kept no longer is removed, in turns of [`EXPIRE`].
const SWEEP: u64 = 360;

/// A service that cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It is not to be run so.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address is taken, or not ours.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// Settings that cannot be read.
    #[error("cannot read the settings: {0}")]
    Settings(std::io::Error),
    /// The queue.
    #[error(transparent)]
    Queue(#[from] latent_queue::Error),
}

/// A service that listens.
#[derive(Debug)]
pub struct Server {
    app: Shared,
    listener: TcpListener,
}

impl Server {
    /// Begins to listen, and takes up the jobs that a process before this left. Nothing is answered before
    /// [`run`](Self::run).
    ///
    /// # Errors
    /// What keeps it from it.
    pub async fn bind(
        config: Config,
        engine: Arc<dyn Engine>,
        queue: Queue,
        outside: Outside,
    ) -> Result<Self, StartError> {
        config.check()?;
        let address = config.listen;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| StartError::Listen { address, source })?;
        // Where others draw too, only jobs whose lease ran out are nobody's.
        match config.shared {
            true => queue.expire().await?,
            false => queue.recover().await?,
        };
        if config.paused {
            queue.pause("started with --paused").await?;
        }
        let app = App::new(config, engine, queue, outside).map_err(StartError::Settings)?;
        Ok(Self { app, listener })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers and draws until `end`; then takes nothing more, lets the running picture finish, and returns.
    pub async fn run(self, end: impl Future<Output = ()>) {
        let Self { app, listener } = self;
        let routes = router(app.clone());
        let worker = app
            .config
            .draws
            .then(|| worker::run(app.clone(), app.word()));
        let worker = tokio::spawn(async { futures::future::OptionFuture::from(worker).await });
        let upkeep = tokio::spawn(upkeep(app.clone()));
        let connections = Connections::new(app.config.limits.connections);
        let accept = connections.accept(&app, &listener, routes);
        let stop = async {
            end.await;
            app.phase.send_replace(Phase::Draining);
            if let Err(error) = worker.await {
                tracing::error!(%error, "the worker panicked");
            }
            app.phase.send_replace(Phase::Closed);
        };
        // While the last picture is drawn, questions are still answered.
        tokio::select! {
            () = accept => {}
            () = stop => {}
        }
        drop(listener);
        if timeout(LAST, connections.close()).await.is_err() {
            tracing::warn!("some connections were cut off");
        }
        upkeep.abort();
        app.queue.close().await;
    }
}

/// The connections, of which so many may be open.
struct Connections {
    most: u32,
    places: Arc<Semaphore>,
    closing: watch::Sender<bool>,
}

impl Connections {
    fn new(most: usize) -> Self {
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        Self {
            most,
            places: Arc::new(Semaphore::new(most as usize)),
            closing: watch::Sender::new(false),
        }
    }

    async fn accept(&self, app: &Shared, listener: &TcpListener, routes: Router) {
        let limits = &app.config.limits;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.head_time)
            .max_buf_size(limits.head.max(8192));
        loop {
            let Ok(place) = self.places.clone().acquire_owned().await else {
                return;
            };
            let (stream, from) = match listener.accept().await {
                Ok(connected) => connected,
                Err(error) => {
                    // Too many open files, mostly: others close in time.
                    tracing::warn!(%error, "a connection cannot be taken");
                    sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // Events are small and are to arrive at once.
            let _ = stream.set_nodelay(true);
            let (peer, routes) = (Peer(from.ip()), routes.clone());
            let service = service_fn(move |mut request: hyper::Request<Incoming>| {
                request.extensions_mut().insert(peer);
                routes.clone().call(request)
            });
            let connection = http.serve_connection(TokioIo::new(stream), service);
            let connection = connection.with_upgrades();
            let mut closing = self.closing.subscribe();
            tokio::spawn(async move {
                let mut connection = pin!(connection);
                let closing = async {
                    // The sender lives as long as connections are waited for.
                    let _ = closing.wait_for(|closing| *closing).await;
                };
                let ended = tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = closing => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                };
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke off");
                }
                drop(place);
            });
        }
    }

    /// Tells all of them to end, and waits for that.
    async fn close(&self) {
        self.closing.send_replace(true);
        // Nobody closes it.
        let _ = self.places.acquire_many(self.most).await;
    }
}

/// Takes jobs from workers that are gone, and removes what is kept no longer.
async fn upkeep(app: Shared) {
    let mut timer = interval(EXPIRE);
    let every = if app.config.private { 1 } else { SWEEP };
    let mut turn = 0;
    loop {
        timer.tick().await;
        if let Err(error) = app.queue.expire().await {
            tracing::error!(%error, "leases cannot be looked through");
        }
        if turn % every == 0
            && let Err(error) = app.queue.sweep().await
        {
            tracing::error!(%error, "old pictures cannot be removed");
        }
        turn += 1;
    }
}

/// All routes, behind everything that guards them.
pub fn router(app: Shared) -> Router {
    let (native, description) = api::router().split_for_parts();
    let compat = app.config.compat;
    let mut routes = Router::new()
        .merge(native)
        .merge(health::router())
        .merge(pages::router(&description))
        .merge(ui::router());
    if compat.a1111 {
        routes = routes.merge(sdapi::router());
    }
    if compat.openai {
        routes = routes.merge(openai::router());
    }
    if compat.sdcpp {
        routes = routes.merge(sdcpp::router());
    }
    if compat.comfyui {
        routes = routes.merge(comfy::router());
    }
    routes
        .fallback(missing)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(app.clone(), auth::guard))
        .layer(cors(&app.config))
        .layer(from_fn_with_state(app.clone(), origin::guard))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(app.clone(), headers::add))
        .with_state(app)
}

async fn missing(method: Method, uri: axum::http::Uri) -> Fault {
    Fault::new("not_found", format!("there is no {method} {}", uri.path()))
}

async fn wrong_method(method: Method, uri: axum::http::Uri) -> Fault {
    let message = format!("{} takes no {method}", uri.path());
    Fault::new("method_not_allowed", message)
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Fault::new("defect", "a defect in latent; the log says where").into_response()
}

fn cors(config: &Config) -> CorsLayer {
    let listed = config.cors_origins.iter();
    let any = config.cors_origins.iter().any(|origin| origin == "*");
    let listed = listed.filter_map(|origin| HeaderValue::from_str(origin).ok());
    let origins = match any {
        true => AllowOrigin::any(),
        false => AllowOrigin::list(listed),
    };
    let methods = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ];
    let names = ["idempotency-key", "last-event-id", "x-request-id"];
    let mut allowed = vec![header::AUTHORIZATION, header::CONTENT_TYPE];
    allowed.extend(names.map(HeaderName::from_static));
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods(methods)
        .allow_headers(allowed)
        .expose_headers([
            header::LOCATION,
            header::RETRY_AFTER,
            headers::REQUEST_ID.clone(),
        ])
        .max_age(Duration::from_secs(600))
}
