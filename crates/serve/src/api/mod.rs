//! latent's own API, `/api/v1`, and its description.

mod events;
mod images;
mod job_view;
mod jobs;
mod models;
mod names;
mod options;
mod queue;
mod uploads;
mod wildcards;

pub use models::load_model;
pub use options::keep;
pub use wildcards::Wildcard;

use utoipa::OpenApi;
use utoipa::openapi::OpenApi as Description;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::Shared;

/// What stands at the head of the description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "latent",
        description = "Latent diffusion over HTTP. A picture is asked for by a job; jobs and pictures survive a restart. Errors are \
         problem+json (RFC 9457) with a stable `code`.",
        license(name = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "jobs", description = "Asking for pictures, watching, stopping"),
        (name = "images", description = "The gallery"),
        (name = "models", description = "What can be named in a request"),
        (name = "settings", description = "What holds where a request says nothing"),
    )
)]
struct Head;

/// Its routes, with their description.
pub fn router() -> OpenApiRouter<Shared> {
    OpenApiRouter::with_openapi(Head::openapi())
        .routes(routes!(jobs::list, jobs::submit))
        .routes(routes!(jobs::get, jobs::remove))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::skip))
        .routes(routes!(jobs::retry))
        .routes(routes!(jobs::place))
        .routes(routes!(jobs::preview))
        .routes(routes!(queue::show))
        .routes(routes!(queue::pause))
        .routes(routes!(queue::resume))
        .routes(routes!(queue::clear))
        .routes(routes!(events::listen))
        .routes(routes!(images::list))
        .routes(routes!(images::get, images::change, images::remove))
        .routes(routes!(images::file))
        .routes(routes!(images::thumb))
        .routes(routes!(images::restore))
        .routes(routes!(images::tags))
        .routes(routes!(uploads::upload))
        .routes(routes!(uploads::upload_thumb))
        .routes(routes!(uploads::import))
        .routes(routes!(uploads::read))
        .routes(routes!(models::list))
        .routes(routes!(models::scan))
        .routes(routes!(models::load))
        .routes(routes!(models::unload))
        .routes(routes!(options::styles, options::set_styles))
        .routes(routes!(wildcards::wildcards, wildcards::set_wildcards))
        .routes(routes!(options::settings, options::set_settings))
        .routes(routes!(options::capabilities))
}

/// The description as it is served, in JSON.
pub fn description() -> String {
    let (_, description) = router().split_for_parts();
    let description: Description = description;
    let mut text = description.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}
