//! `/prompt`: a graph is taken in, as one job.

use axum::Json as Answer;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use latent_queue::Move;
use serde_json::{Value, json};

use super::chain::follow;
use super::graph::Graph;
use super::record::{FRONT, Record};
use super::refusal::{Reason, Refusal};
use super::translate::{self, Translated};
use super::uploads::Uploaded;
use super::{Error, Result};
use crate::app::Shared;
use crate::engine::{Format, Output};
use crate::fault::{Fault, Result as Outcome};
use crate::guard::{Caller, Json};
use crate::submit::{Ask, submit};

/// Bytes of a graph that are kept.
const GRAPH: usize = 1 << 20;

/// A body of JSON, also an empty one (which is null), and one without a type from what is no browser: its clients send these.
#[derive(Debug)]
pub struct Told(pub Value);

impl FromRequest<Shared> for Told {
    type Rejection = Fault;

    async fn from_request(mut request: Request, app: &Shared) -> Outcome<Self> {
        let headers = request.headers();
        let empty = match headers.get(header::CONTENT_LENGTH) {
            Some(length) => length == "0",
            None => !headers.contains_key(header::TRANSFER_ENCODING),
        };
        if empty {
            return Ok(Self(Value::Null));
        }
        if !headers.contains_key(header::CONTENT_TYPE) && !is_browser(headers) {
            let json = header::HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::CONTENT_TYPE, json);
        }
        let body = Json::<Value>::from_request(request, app).await?;
        Ok(Self(body.value))
    }
}

/// Browsers say where a request comes from.
fn is_browser(headers: &HeaderMap) -> bool {
    ["origin", "sec-fetch-site", "sec-fetch-mode", "referer"]
        .iter()
        .any(|name| headers.contains_key(*name))
}

/// How many wait or are drawn.
///
/// # Errors
/// A queue that cannot be read.
pub async fn remaining(app: &Shared, caller: &Caller) -> Outcome<u64> {
    let counts = app.queue.counts(caller.user()).await?;
    Ok(counts.queued + counts.running)
}

/// `GET /prompt`.
pub async fn show(State(app): State<Shared>, caller: Caller) -> Result<Answer<Value>> {
    let remaining = remaining(&app, &caller).await?;
    Ok(Answer(
        json!({ "exec_info": { "queue_remaining": remaining } }),
    ))
}

/// `POST /prompt`.
pub async fn take(
    State(app): State<Shared>,
    caller: Caller,
    body: Outcome<Told>,
) -> Result<Answer<Value>> {
    let Told(mut body) = body?;
    let prompt = body.get_mut("prompt").map(Value::take).unwrap_or_default();
    if prompt.to_string().len() > GRAPH {
        let told = format!("the graph is larger than {GRAPH} bytes");
        return Err(Error::Graph(
            Refusal::whole(Reason::Invalid, told),
            Vec::new(),
        ));
    }
    let graph = Graph::read(&prompt).map_err(|refusal| Error::Graph(refusal, Vec::new()))?;
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let own = Some(text("prompt_id")).filter(|id| (1..=100).contains(&id.len()));
    let preview = body["extra_data"]["preview_method"].as_str();
    let ask = Wish {
        client: text("client_id").chars().take(200).collect(),
        id: own,
        preview: preview.is_some_and(|method| !["none", "default"].contains(&method)),
    };
    let job = enqueue(&app, &caller, graph, prompt, ask).await?;
    let front = body["front"] == true || body["number"].as_f64().is_some_and(|number| number < 0.0);
    if front {
        // It may have begun.
        let _ = app.queue.move_job(job.id, caller.user(), Move::Next).await;
    }
    let record = Record::of(&job).unwrap_or_default();
    if let Some(own) = &record.id {
        app.tasks.put(caller.owner(), own, job.id);
    }
    Ok(Answer(
        json!({ "prompt_id": record.id(&job), "number": job.created_ms, "node_errors": {} }),
    ))
}

/// What is said beside the graph.
struct Wish {
    client: String,
    id: Option<String>,
    preview: bool,
}

async fn enqueue(
    app: &Shared,
    caller: &Caller,
    graph: Graph,
    prompt: Value,
    wish: Wish,
) -> Result<latent_queue::Job> {
    let sent = Uploaded::of(app, caller, &graph).await?;
    let catalogue = app.engine(|engine| Ok(engine.catalogue())).await?;
    let usual = app.settings.get().output();
    // Decoding and scaling take time; so may the engine.
    let (graph, made) = app
        .engine(move |_| {
            let made = translated(&graph, &catalogue, &sent, prompt);
            Ok((graph, made))
        })
        .await?;
    let (done, record) = made?;
    let record = Record {
        client: wish.client,
        id: wish.id,
        preview: wish.preview,
        ..record
    };
    let ask = Ask {
        request: done.request,
        given: done.given,
        output: Some(Output {
            format: Format::Png,
            ..usual
        }),
        front: FRONT,
        echo: serde_json::to_value(record).unwrap_or_default(),
        ..Ask::default()
    };
    let taken = submit(app, caller, ask).await;
    taken
        .map(|taken| taken.job)
        .map_err(|fault| placed(&graph, fault))
}

fn translated(
    graph: &Graph,
    catalogue: &crate::engine::Catalogue,
    sent: &Uploaded,
    prompt: Value,
) -> Result<(Translated, Record)> {
    let refused = |refusal| Error::Graph(refusal, ids(graph));
    let outputs = graph.outputs().map_err(refused)?;
    let drawing = follow(graph, &outputs).map_err(refused)?;
    let done = translate::request(&drawing, catalogue, sent).map_err(refused)?;
    Ok((done, Record::new(prompt, &drawing, &outputs)))
}

fn ids(graph: &Graph) -> Vec<String> {
    let outputs = graph.outputs().unwrap_or_default();
    outputs.iter().map(|node| node.id.clone()).collect()
}

/// A fault of what was asked, at the node that asked for it.
fn placed(graph: &Graph, fault: Fault) -> Error {
    let asked = fault.status == StatusCode::UNPROCESSABLE_ENTITY;
    let outputs = graph.outputs().unwrap_or_default();
    match follow(graph, &outputs) {
        Ok(drawing) if asked => {
            let (node, input) = translate::place(&drawing, &fault);
            Error::Graph(
                node.refused(input, Reason::Unusable, fault.to_string()),
                ids(graph),
            )
        }
        _ => Error::Fault(fault),
    }
}
