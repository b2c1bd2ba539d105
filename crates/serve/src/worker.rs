//! The one who draws: takes a job, hands it to the engine on a thread of its own, keeps each picture, and ends the job.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use latent_queue::{Able, Asked, Cancel, Claimed, Error, Lease, NewPicture};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::app::{Phase, Shared};
use crate::engine::{Drawn, Inputs, Stop, Watch, Work};
use crate::fault::Fault;
use crate::live::Running;
use crate::submit::{DRAW, Order};

/// How often a lease of 30 s is renewed.
const RENEW: Duration = Duration::from_secs(5);
/// How often at most another process is listened to.
const ASK: Duration = Duration::from_millis(500);
/// How often a full disk is tried again.
const FULL: Duration = Duration::from_secs(5);
/// How long to wait for news of the queue.
const IDLE: Duration = Duration::from_secs(1);

/// Draws until the process ends, under that name.
pub async fn run(app: Shared, name: String) {
    let mut changed = app.queue.changed();
    while *app.phase.borrow() == Phase::Open {
        let loaded = app.engine.loaded();
        // What others cannot draw with waits for one who can.
        let models = match app.config.shared {
            true => app.engine.catalogue().models,
            false => Vec::new(),
        };
        let models: Vec<_> = models.iter().map(|model| model.name.as_str()).collect();
        let able = Able {
            kinds: &[DRAW],
            models: &models,
            loaded: loaded.as_deref(),
        };
        match app.queue.claim_able(&name, able).await {
            Ok(Some(claimed)) => job(&app, claimed).await,
            Ok(None) => tokio::select! {
                _ = changed.changed() => {}
                () = sleep(IDLE) => {}
                () = app.reached(Phase::Draining) => {}
            },
            Err(error) => {
                tracing::error!(%error, "no job can be taken from the queue");
                sleep(IDLE).await;
            }
        }
    }
}

/// How the work on a job ended.
enum End {
    /// The engine came back.
    Back(Result<(), Fault>),
    /// The engine panicked.
    Panic,
    /// Another worker has the job now.
    Lost,
}

async fn job(app: &Shared, claimed: Claimed) {
    let (id, lease) = (claimed.job.id, claimed.lease.clone());
    let end = match prepare(app, &claimed).await {
        Err(fault) => End::Back(Err(fault)),
        Ok((order, inputs)) => {
            if app.config.log_prompts {
                tracing::info!(job = %id, request = %order.request, "drawing");
            }
            let running = Running::new(&claimed.job, order.steps, app.now());
            app.live.set(Some(running));
            if let Some(how) = claimed.job.cancel {
                app.live.stop(id, stop_of(how));
            }
            draw(app, claimed, order, inputs).await
        }
    };
    let notes = app.live.job(id).map(|running| running.notes);
    app.live.set(None);
    let result = serde_json::json!({ "notes": notes.unwrap_or_default() });
    let ended = settle(app, &lease, end, &result.to_string()).await;
    match ended {
        Ok(()) | Err(Error::LeaseLost) => {}
        Err(error) => tracing::error!(job = %id, %error, "the end of a job cannot be written"),
    }
}

async fn prepare(app: &Shared, claimed: &Claimed) -> Result<(Order, Inputs), Fault> {
    let order = Order::of(&claimed.job)?;
    let mut inputs = Inputs::new();
    for name in &order.inputs {
        inputs.insert(name.clone(), app.queue.input(name).await?);
    }
    Ok((order, inputs))
}

fn stop_of(cancel: Cancel) -> Stop {
    match cancel {
        Cancel::Drop => Stop::Drop,
        Cancel::Keep => Stop::Keep,
    }
}

/// Draws on a thread of its own, and renews the lease until that ends.
async fn draw(app: &Shared, claimed: Claimed, order: Order, inputs: Inputs) -> End {
    let (id, lease) = (claimed.job.id, claimed.lease.clone());
    let (send, mut back) = oneshot::channel();
    let watch = Watcher {
        app: app.clone(),
        lease: lease.clone(),
        runtime: Handle::current(),
    };
    let engine = Arc::clone(&app.engine);
    let thread = std::thread::Builder::new().name("draw".to_owned());
    let started = thread.spawn(move || {
        let work = Work {
            request: &order.request,
            inputs: &inputs,
            missing: &claimed.missing,
            output: order.output,
        };
        let done = catch_unwind(AssertUnwindSafe(|| engine.draw(&work, &watch)));
        // Nobody listens when the process ends.
        let _ = send.send(done.ok());
    });
    if let Err(error) = started {
        return End::Back(Err(Fault::failed("defect", format!("no thread: {error}"))));
    }
    let mut timer = interval(RENEW);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let grace = async {
        app.reached(Phase::Draining).await;
        sleep(app.config.limits.grace).await;
    };
    tokio::pin!(grace);
    let mut changed = app.queue.changed();
    changed.mark_unchanged();
    let (mut lost, mut over, mut asked) = (false, false, Instant::now());
    let done = loop {
        tokio::select! {
            done = &mut back => break done.ok().flatten(),
            () = &mut grace, if !over => {
                over = true;
                app.live.stop(id, Stop::Drop);
            }
            // Who cancels may do so by another process.
            Ok(()) = changed.changed(), if app.config.shared => timer.reset_at(asked + ASK),
            _ = timer.tick() => match renewed(app, &lease, &mut asked).await {
                Ok(asked) => if let Some(how) = asked.cancel {
                    app.live.stop(id, stop_of(how));
                },
                Err(Error::LeaseLost) => {
                    lost = true;
                    app.live.stop(id, Stop::Drop);
                }
                Err(error) => tracing::error!(job = %id, %error, "a lease cannot be renewed"),
            },
        }
    };
    match done {
        _ if lost => End::Lost,
        Some(done) => End::Back(done),
        None => End::Panic,
    }
}

/// Renews a lease, and remembers when.
async fn renewed(app: &Shared, lease: &Lease, asked: &mut Instant) -> Result<Asked, Error> {
    *asked = Instant::now();
    app.queue.renew(lease).await
}

/// Writes down how a job ended.
async fn settle(app: &Shared, lease: &Lease, end: End, result: &str) -> Result<(), Error> {
    let queue = &app.queue;
    match end {
        End::Lost => Ok(()),
        End::Panic => {
            // What it left of the model cannot be trusted.
            let unloaded = app.engine(|engine| {
                engine.unload();
                Ok(())
            });
            if let Err(fault) = unloaded.await {
                tracing::error!(%fault, "the model cannot be given up");
            }
            let message = "the drawing panicked; the log says where. The model is loaded anew";
            queue.fail(lease, "defect", message).await.map(drop)
        }
        End::Back(Err(fault)) => {
            let message = fault.to_string();
            queue.fail(lease, &fault.code, &message).await.map(drop)
        }
        End::Back(Ok(())) => match queue.finish(lease, Some(result)).await {
            Err(Error::Incomplete { .. }) if *app.phase.borrow() > Phase::Open => {
                queue.release(lease).await.map(drop)
            }
            Err(Error::Incomplete { done, total }) => match queue.stopped(lease).await {
                Err(Error::WrongState { .. }) => {
                    let message = format!("only {done} of {total} pictures were drawn");
                    queue.fail(lease, "defect", &message).await.map(drop)
                }
                other => other.map(drop),
            },
            other => other.map(drop),
        },
    }
}

/// What the engine tells, on its thread.
struct Watcher {
    app: Shared,
    lease: Lease,
    runtime: Handle,
}

impl Watch for Watcher {
    fn stop(&self) -> Option<Stop> {
        let at = self.app.live.job(self.lease.job);
        // Whoever is not shown any more has lost its job.
        at.map_or(Some(Stop::Drop), |at| self.app.live.asked(at.picture))
    }

    fn stage(&self, name: &str, picture: u32) {
        self.app.live.change(|running| {
            if running.picture != picture {
                running.step = 0;
            }
            running.picture = picture;
            running.stage = name.to_owned();
        });
    }

    fn step(&self, picture: u32, step: u32, steps: u32) {
        self.app.live.change(|running| {
            running.picture = picture;
            running.step = step;
            running.steps = steps;
        });
    }

    fn wants_preview(&self) -> bool {
        self.app.live.wants_preview(self.app.now())
    }

    fn preview(&self, file: Vec<u8>) {
        self.app.live.preview(file, self.app.now());
    }

    fn picture(&self, drawn: Drawn) -> Result<(), Fault> {
        self.runtime.block_on(self.commit(&new_picture(drawn)))
    }

    fn note(&self, text: String) {
        self.app.live.change(|running| running.notes.push(text));
    }
}

impl Watcher {
    /// Keeps a picture, as soon as there is room for it.
    async fn commit(&self, picture: &NewPicture) -> Result<(), Fault> {
        loop {
            match self.app.queue.commit(&self.lease, picture).await {
                Ok(_) => break,
                Err(error @ Error::DiskFull { .. }) => {
                    self.app
                        .live
                        .change(|r| "the disk is full".clone_into(&mut r.stage));
                    if self.stop() == Some(Stop::Drop) {
                        return Err(error.into());
                    }
                    sleep(FULL).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.app.live.change(|running| {
            running.done += 1;
            running.step = 0;
            running.picture = picture.n + 1;
        });
        if *self.app.phase.borrow() > Phase::Open {
            self.app.live.stop(self.lease.job, Stop::Drop);
        }
        Ok(())
    }
}

fn new_picture(drawn: Drawn) -> NewPicture {
    let format = match image::guess_format(&drawn.file) {
        Ok(image::ImageFormat::Jpeg) => latent_queue::Format::Jpeg,
        Ok(image::ImageFormat::WebP) => latent_queue::Format::WebP,
        _ => latent_queue::Format::Png,
    };
    NewPicture {
        n: drawn.n,
        bytes: drawn.file,
        format,
        width: drawn.width,
        height: drawn.height,
        seed: Some(drawn.seed),
        sampler: Some(drawn.sampler),
        steps: Some(drawn.steps),
        model: Some(drawn.model),
        prompt: drawn.prompt,
        negative: drawn.negative,
        infotext: drawn.infotext,
        request: drawn.request.to_string(),
    }
}
