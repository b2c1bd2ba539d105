//! `/ws`: what becomes of a client's graphs, as it happens.

use std::collections::HashSet;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use latent_queue::{Change, Job, State as JobState, Ulid};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use super::Result;
use super::history::failure;
use super::prompt::remaining;
use super::record::{Record, output};
use super::socket::{Gone, Handshake, Receiver, Said, Sender};
use crate::app::{Phase, Shared};
use crate::fault::{Fault, Result as Outcome};
use crate::guard::{Asked, Caller};

/// Progress is told at most so often.
const PACE: Duration = Duration::from_millis(100);
/// Events read at once.
const READ: u32 = 200;

/// Who listens.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Who {
    #[serde(rename = "clientId")]
    client: String,
}

/// `GET /ws`.
pub async fn listen(
    State(app): State<Shared>,
    caller: Caller,
    who: Outcome<Asked<Who>>,
    handshake: Outcome<Handshake>,
) -> Result<Response> {
    app.check_open()?;
    let (Asked(who), handshake) = (who?, handshake?);
    let full = |_| Fault::new("waiting_requests", "too many listen; try again").after(5);
    let place = app
        .comfy
        .sockets
        .clone()
        .try_acquire_owned()
        .map_err(full)?;
    let client: String = match who.client.is_empty() {
        true => app.word(),
        false => who.client.chars().take(200).collect(),
    };
    Ok(handshake.accept(move |sender, receiver| async move {
        let mut changed = app.queue.changed();
        let after = *changed.borrow_and_update();
        let mut live = app.live.changes();
        live.mark_changed();
        let mut listener = Listener {
            changed,
            live,
            after,
            sender,
            client,
            caller,
            node: None,
            seen: 0,
            begun: HashSet::new(),
            app,
            _place: place,
        };
        listener.run(receiver).await;
    }))
}

struct Listener {
    app: Shared,
    caller: Caller,
    client: String,
    sender: Sender,
    changed: watch::Receiver<i64>,
    live: watch::Receiver<u64>,
    /// The last event that was read.
    after: i64,
    /// The job and the node that were told to be at work.
    node: Option<(Ulid, String)>,
    /// The last preview that was sent.
    seen: u64,
    /// Jobs that were told to have begun.
    begun: HashSet<Ulid>,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    async fn run(&mut self, mut receiver: Receiver) {
        let app = self.app.clone();
        let first = json!({ "sid": self.client });
        let mut next = Instant::now();
        let mut done = self.status(first).await;
        while done.is_ok() {
            let mut live = self.live.clone();
            let progress = async move {
                sleep_until(next).await;
                live.changed().await
            };
            done = tokio::select! {
                () = app.reached(Phase::Closed) => return self.sender.close(1001).await,
                said = receiver.next() => match said {
                    Said::Ping(body) => self.sender.pong(&body).await,
                    Said::End(code) => return self.sender.close(code).await,
                },
                changed = self.changed.changed() => match changed {
                    Ok(()) => self.read().await,
                    Err(_) => return,
                },
                changed = progress => match changed {
                    Ok(()) => {
                        self.live.mark_unchanged();
                        next = Instant::now() + PACE;
                        self.progress().await
                    }
                    Err(_) => return,
                },
                // A preview is wanted as long as somebody listens.
                () = tokio::time::sleep(Duration::from_secs(1)) => self.progress().await,
            };
        }
        // The client is gone, or the queue cannot be read, which is closed before the last socket.
        let ending = *app.phase.borrow() == Phase::Closed;
        self.sender.close(if ending { 1001 } else { 1011 }).await;
    }

    async fn tell(&mut self, kind: &str, data: Value) -> std::result::Result<(), Gone> {
        let message = json!({ "type": kind, "data": data });
        self.sender.text(&message.to_string()).await
    }

    /// How many jobs wait or are drawn, and more.
    async fn status(&mut self, more: Value) -> std::result::Result<(), Gone> {
        let remaining = remaining(&self.app, &self.caller).await.map_err(|_| Gone)?;
        let mut data = json!({ "status": { "exec_info": { "queue_remaining": remaining } } });
        if let (Some(data), Some(more)) = (data.as_object_mut(), more.as_object()) {
            data.extend(more.clone());
        }
        self.tell("status", data).await
    }

    /// Tells of the jobs that changed.
    async fn read(&mut self) -> std::result::Result<(), Gone> {
        loop {
            let read = self
                .app
                .queue
                .events(self.after, self.caller.user(), READ)
                .await;
            let read = read.map_err(|error| {
                tracing::error!(%error, "events cannot be read");
                Gone
            })?;
            let last = read.events.len() < READ as usize;
            self.after = match last {
                true => read.newest,
                false => read.events.last().map_or(read.newest, |event| event.number),
            };
            let jobs = read.events.iter().filter_map(|event| match &event.change {
                Change::Job { id, state } => Some((*id, *state)),
                _ => None,
            });
            let jobs: Vec<_> = jobs.collect();
            for (id, state) in &jobs {
                self.job(*id, *state).await?;
            }
            if !jobs.is_empty() || read.gap {
                self.status(json!({})).await?;
            }
            if last {
                return Ok(());
            }
        }
    }

    /// The job, and what is kept of its graph, if it is this client's.
    async fn own(&mut self, id: Ulid) -> Option<(Job, Record)> {
        let job = self.app.queue.job(id, self.caller.user()).await.ok()??;
        let record = Record::of(&job).filter(|record| record.client == self.client)?;
        Some((job, record))
    }

    async fn job(&mut self, id: Ulid, state: JobState) -> std::result::Result<(), Gone> {
        let Some((job, record)) = self.own(id).await else {
            return Ok(());
        };
        match state {
            JobState::Queued => Ok(()),
            JobState::Running => self.begin(&job, &record).await,
            _ => self.end(&job, &record).await,
        }
    }

    async fn begin(&mut self, job: &Job, record: &Record) -> std::result::Result<(), Gone> {
        if !self.begun.insert(job.id) {
            return Ok(());
        }
        let id = record.id(job);
        let started = job.started_ms;
        self.tell(
            "execution_start",
            json!({ "prompt_id": id, "timestamp": started }),
        )
        .await?;
        self.tell(
            "execution_cached",
            json!({ "nodes": [], "prompt_id": id, "timestamp": started }),
        )
        .await?;
        let (node, _, _) = record.at("sampling", 0);
        self.at(job.id, node, &id).await
    }

    /// A node is at work.
    async fn at(&mut self, job: Ulid, node: &str, id: &str) -> std::result::Result<(), Gone> {
        let now = Some((job, node.to_owned()));
        if self.node == now {
            return Ok(());
        }
        self.node = now;
        self.tell(
            "executing",
            json!({ "node": node, "display_node": node, "prompt_id": id }),
        )
        .await
    }

    async fn end(&mut self, job: &Job, record: &Record) -> std::result::Result<(), Gone> {
        let id = record.id(job);
        if job.started_ms.is_some() {
            self.begin(job, record).await?;
        }
        match job.state {
            JobState::Done => {
                self.outputs(job, record, &id).await?;
                self.tell(
                    "execution_success",
                    json!({ "prompt_id": id, "timestamp": job.finished_ms }),
                )
                .await?;
            }
            JobState::Failed => self.tell("execution_error", failure(job, record)).await?,
            _ => {
                let (node, _, _) = record.at("sampling", 0);
                let class = record.graph[node]["class_type"].clone();
                let data = json!({ "prompt_id": id, "node_id": node, "node_type": class, "executed": [], "timestamp": job.finished_ms });
                self.tell("execution_interrupted", data).await?;
            }
        }
        self.begun.remove(&job.id);
        self.node = None;
        self.tell("executing", json!({ "node": null, "prompt_id": id }))
            .await
    }

    async fn outputs(
        &mut self,
        job: &Job,
        record: &Record,
        id: &str,
    ) -> std::result::Result<(), Gone> {
        let pictures = self.app.queue.pictures(job.id).await.map_err(|_| Gone)?;
        for (node, class) in &record.outputs {
            self.at(job.id, node, id).await?;
            if class != "SaveImageWebsocket" {
                let data = json!({ "node": node, "display_node": node, "output": output(class, &pictures), "prompt_id": id });
                self.tell("executed", data).await?;
                continue;
            }
            for picture in &pictures {
                let store = self.app.queue.store();
                let file = store
                    .picture(picture.id, picture.format)
                    .await
                    .map_err(|_| Gone)?;
                self.picture(&file).await?;
            }
        }
        Ok(())
    }

    /// A picture as a binary message: what it is, its format, its bytes.
    async fn picture(&mut self, file: &[u8]) -> std::result::Result<(), Gone> {
        let format: u32 = if file.starts_with(b"\x89PNG") { 2 } else { 1 };
        let message = [&1u32.to_be_bytes(), &format.to_be_bytes(), file].concat();
        self.sender.bytes(&message).await
    }

    /// Steps of the running job, if it is this client's.
    async fn progress(&mut self) -> std::result::Result<(), Gone> {
        let Some(running) = self.app.live.of(self.caller.user()) else {
            return Ok(());
        };
        let Some((job, record)) = self
            .own(running.job)
            .await
            .filter(|(job, _)| job.state == JobState::Running)
        else {
            return Ok(());
        };
        self.begin(&job, &record).await?;
        let id = record.id(&job);
        let (node, step, steps) = record.at(&running.stage, running.step);
        self.at(job.id, node, &id).await?;
        if step > 0 {
            self.tell(
                "progress",
                json!({ "value": step, "max": steps, "prompt_id": id, "node": node }),
            )
            .await?;
        }
        if record.preview {
            self.app.live.want(self.app.now());
            if let Some((number, file)) = running.preview.filter(|(number, _)| *number != self.seen)
            {
                self.seen = number;
                self.picture(&file).await?;
            }
        }
        Ok(())
    }
}
