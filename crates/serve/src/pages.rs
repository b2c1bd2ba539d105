//! Pages for people beside the one that draws: the description of the interfaces, the way in. They carry no script.

use std::sync::Arc;

use axum::extract::rejection::FormRejection;
use axum::extract::{DefaultBodyLimit, Form, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use utoipa::openapi::OpenApi;

use crate::app::Shared;
use crate::fault::{CODES, Fault};
use crate::guard::auth::{COOKIE, cookie, is_browser, prove};
use crate::guard::rate::Peer;

const STYLE: &str = include_str!("pages/style.css");

/// Their routes. The description of the API is written out once.
pub fn router(description: &OpenApi) -> Router<Shared> {
    let described: Arc<str> = description.to_pretty_json().unwrap_or_default().into();
    let docs: Arc<str> = docs(description).into();
    Router::new()
        .route(
            "/style.css",
            get(async || ([(header::CONTENT_TYPE, "text/css")], STYLE)),
        )
        .route(
            "/docs",
            get(async move |State(app): State<Shared>| {
                Html(page("Interfaces", &(interfaces(&app) + &docs)))
            }),
        )
        .route(
            "/openapi.json",
            get(async move || {
                (
                    [(header::CONTENT_TYPE, "application/json")],
                    described.to_string(),
                )
            }),
        )
        .route(
            "/login",
            get(login_page)
                .post(login)
                .layer(DefaultBodyLimit::max(16 << 10)),
        )
        .route("/logout", post(logout))
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, \
         initial-scale=1\"><title>{title}</title><link rel=\"stylesheet\" href=\"/style.css\"></head>\n<body><main><h1>{title}</h1>\n{body}\
         </main></body></html>\n"
    )
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

/// Which programs can be spoken to.
fn interfaces(app: &Shared) -> String {
    let version = escaped(&app.engine.version());
    let compat = app.config.compat;
    let offered = [
        (
            true,
            "<code>/api/v1</code>: latent's own API, below and in <a href=\"/openapi.json\">openapi.json</a>",
        ),
        (
            compat.a1111,
            "<code>/sdapi/v1</code>: as AUTOMATIC1111's stable-diffusion-webui",
        ),
        (
            compat.openai,
            "<code>/v1</code>: as OpenAI's images; any of its clients, with this address as <code>base_url</code>",
        ),
        (
            compat.sdcpp,
            "<code>/sdcpp/v1</code>: as stable-diffusion.cpp's server",
        ),
        (
            compat.comfyui,
            "<code>/prompt</code>, <code>/ws</code>: as ComfyUI, for graphs that draw with what is here",
        ),
    ];
    let list: String = offered
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, text)| format!("<li>{text}</li>\n"))
        .collect();
    format!(
        "<p>{version} <a href=\"/\">draws here</a>. Programs speak to it by these interfaces:</p>\n<ul>\n{list}</ul>\n<p><a \
         href=\"/healthz\">Health</a>, <a href=\"/metrics\">metrics</a>.</p>\n"
    )
}

/// The description as a page of its own: a viewer would load scripts from elsewhere.
fn docs(description: &OpenApi) -> String {
    let tree = serde_json::to_value(description).unwrap_or_default();
    let mut rows = String::new();
    let paths = tree["paths"].as_object().into_iter().flatten();
    for (path, item) in paths {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let says = operation["summary"].as_str().unwrap_or_default();
            let (path, method) = (escaped(path), escaped(&method.to_uppercase()));
            rows += &format!(
                "<tr><td>{method}</td><td><code>{path}</code></td><td>{}</td></tr>\n",
                escaped(says)
            );
        }
    }
    let codes: String = CODES
        .iter()
        .map(|(code, status)| {
            format!("<tr id=\"{code}\"><td><code>{code}</code></td><td>{status}</td></tr>\n")
        })
        .collect();
    format!(
        "<h2>latent's own</h2>\n<p>Fields and answers are described in <a href=\"/openapi.json\">openapi.json</a>.</p>\n<table>\n{rows}</table>\n<h2>Errors</h2>\n\
         <p>Errors of what was asked have status 422 and the codes of the command line; these are the service's own.</p>\n<table>\n{codes}\
         </table>\n"
    )
}

/// The page to log in with, and what went wrong before.
fn login_form(wrong: &str) -> Html<String> {
    let wrong = match wrong.is_empty() {
        true => String::new(),
        false => format!(
            "<p role=\"alert\"><strong>{}</strong></p>\n",
            escaped(wrong)
        ),
    };
    let form = "<form method=\"post\" action=\"/login\"><p><label>User <input name=\"username\" autocomplete=\"username\" required>\
         </label></p><p><label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\" required></label></p>\
         <p><button>Log in</button></p></form>\n\
         <p>Users are those that the server was started with: <code>latent serve --auth USER:PASSWORD</code>.</p>\n";
    Html(page("Log in", &(wrong + form)))
}

async fn login_page() -> Html<String> {
    login_form("")
}

#[derive(Deserialize)]
struct Login {
    username: String,
    password: String,
}

/// A form of a user and a password, from the page above or as gradio has it.
async fn login(
    State(app): State<Shared>,
    peer: Peer,
    headers: HeaderMap,
    form: Result<Form<Login>, FormRejection>,
) -> crate::Result<Response> {
    let Form(form) = form
        .map_err(|error| Fault::new("multipart_invalid", error.body_text()).with(error.status()))?;
    let user = prove(&app, peer, Some(&form.username), &form.password)?;
    let Some(user) = user else {
        let message = "No such user and password: try again.";
        return match is_browser(&headers) {
            true => Ok((StatusCode::FORBIDDEN, login_form(message)).into_response()),
            false => Err(Fault::new("unauthorized", "no such user and password")),
        };
    };
    let word = app.word();
    app.sessions.open(&word, user, app.now());
    let mut response = match is_browser(&headers) {
        true => Redirect::to("/").into_response(),
        false => Json(json!({ "success": true })).into_response(),
    };
    let set = format!("{COOKIE}={word}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000");
    if let Ok(set) = HeaderValue::from_str(&set) {
        response.headers_mut().insert(header::SET_COOKIE, set);
    }
    Ok(response)
}

async fn logout(State(app): State<Shared>, headers: HeaderMap) -> impl IntoResponse {
    if let Some(word) = cookie(&headers) {
        app.sessions.close(word);
    }
    let gone = format!("{COOKIE}=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0");
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, gone)])
}
