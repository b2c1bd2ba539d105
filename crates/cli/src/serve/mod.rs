//! `latent serve`, and `latent worker`, which draws alone.

mod browser;
mod catalogue;
mod engine;
mod hooks;
mod kept;

use std::{
    future::Future,
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use latent_queue::{Outside, Store};
use latent_serve::{Config, Server, StartError, User, Worker};
use serde_json::json;

use crate::{
    args::{EngineArgs, ServeArgs, WorkerArgs},
    failure::{Failure, OK},
    job, machine, model, screen,
};
use engine::Drawer;

/// Threads that answer; drawing has its own.
const ANSWERING: usize = 2;

/// Runs the command, until it is told to end.
///
/// # Errors
/// Flags that do not go together, an address or a folder that cannot be used.
pub fn serve(args: &ServeArgs, json: bool) -> Result<u8, Failure> {
    let data = data_folder(args)?;
    let config = config(args, data.clone())?;
    config.check().map_err(Failure::input)?;
    let drawer = drawer(&args.draw)?;
    runtime()?.block_on(async {
        let outside = outside();
        let queue = kept::queue(args, &data, &outside).await?;
        let server = Server::bind(config, Arc::new(drawer), queue, outside).await;
        let server = server.map_err(refused)?;
        let address = server.address();
        let address = address.map_err(|e| Failure::run(format!("no address: {e}")))?;
        tell(&address.to_string(), &data, args, json);
        if args.open {
            browser::open(&seen(address));
        }
        server.run(told_to_end()?).await;
        Ok(OK)
    })
}

/// Draws what is asked for elsewhere, until it is told to end.
///
/// # Errors
/// No queue to draw from, or one that cannot be used.
pub fn worker(args: &WorkerArgs, json: bool) -> Result<u8, Failure> {
    let drawer = drawer(&args.draw)?;
    let folder = args.shared.store.clone().unwrap_or_default();
    runtime()?.block_on(async {
        let outside = outside();
        let queue = kept::shared(&args.shared, &outside).await?;
        let worker = Worker::new(Config::new(folder), Arc::new(drawer), queue, outside);
        let worker = worker.map_err(refused)?;
        match json {
            true => println!("{}", json!({"event": "drawing", "worker": worker.name()})),
            false => println!("drawing as {}  (Ctrl-C ends it)", worker.name()),
        }
        worker.run(told_to_end()?).await;
        Ok(OK)
    })
}

fn drawer(args: &EngineArgs) -> Result<Drawer, Failure> {
    machine::set_threads_beside(args.threads)?;
    Drawer::new(machine::device(&args.device)?, folders(args))
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(ANSWERING)
        .enable_all()
        .build()
        .map_err(|e| Failure::run(format!("cannot start the threads of the service: {e}")))
}

fn refused(error: StartError) -> Failure {
    match error {
        StartError::Config(error) => Failure::input(error),
        StartError::Listen { address, source } => Failure::run(format!(
            "cannot listen on {address}: {source}; --listen takes another address or port"
        )),
        error => Failure::run(error),
    }
}

/// Where a browser on this machine finds it.
fn seen(mut address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    format!("http://{address}/")
}

/// Says where it is, once it answers.
fn tell(address: &str, data: &Path, args: &ServeArgs, json: bool) {
    if args.log_prompts {
        screen::tell("--log-prompts: what is drawn is written to this log, prompts and all");
    }
    let pictures = args.shared.store.clone();
    let pictures = pictures.unwrap_or_else(|| data.join("pictures"));
    let place = match args.private {
        true => "in memory, for ten minutes".to_owned(),
        false => format!("in {}", pictures.display()),
    };
    match json {
        true => println!(
            "{}",
            json!({"event": "listening", "address": address, "data": data.display().to_string(),
                   "private": args.private, "log_prompts": args.log_prompts})
        ),
        false => println!("http://{address}  (pictures {place}; Ctrl-C ends it)"),
    }
}

fn config(args: &ServeArgs, data: PathBuf) -> Result<Config, Failure> {
    let kept = args
        .auth_from
        .as_deref()
        .map(|file| job::lines(file, "user"))
        .transpose()?;
    let users = args.auth.iter().chain(kept.iter().flatten());
    let users = users
        .map(|text| User::parse(text))
        .collect::<Result<_, _>>();
    let mut config = Config::new(data);
    config.limits.rate = args.rate_limit;
    Ok(Config {
        listen: args.listen,
        users: users.map_err(|e| Failure::input(format!("--auth: {e}")))?,
        no_auth: args.no_auth,
        allowed_hosts: args.allowed_host.clone(),
        cors_origins: args.cors_allow_origins.clone(),
        paused: args.paused,
        log_prompts: args.log_prompts,
        private: args.private,
        shared: args.shared.store.is_some(),
        draws: !args.no_draw,
        ..config
    })
}

/// Where jobs and pictures are kept.
fn data_folder(args: &ServeArgs) -> Result<PathBuf, Failure> {
    let folder = match &args.data {
        Some(folder) => folder.clone(),
        None => model::data_folder().ok_or_else(|| {
            Failure::input(
                "there is no home folder to keep pictures in: give a folder with --data DIR",
            )
        })?,
    };
    std::fs::create_dir_all(&folder).map_err(|e| {
        Failure::input(format!(
            "cannot make the folder {}: {e}; give another with --data DIR",
            folder.display()
        ))
    })?;
    Ok(folder)
}

fn folders(args: &EngineArgs) -> engine::Folders {
    let (library, loras) = (args.library.models.clone(), args.loras.loras.clone());
    let (embeddings, hypernetworks) = (args.embeddings.clone(), args.hypernetworks.clone());
    Box::new(move || {
        let mut models = model::resources(&library, &loras, &embeddings)?.models;
        models.hypernetworks = model::hypernetworks(&hypernetworks)?;
        Ok(models)
    })
}

/// The clock, and numbers that nobody can guess.
fn outside() -> Outside {
    let (state, drawn) = (RandomState::new(), AtomicU64::new(0));
    Outside {
        now: Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            since.map_or(0, |since| since.as_millis() as i64)
        }),
        random: Arc::new(move || {
            // SipHash under a key of the system's.
            let next = || u128::from(state.hash_one(drawn.fetch_add(1, Ordering::Relaxed)));
            (next() << 64) | next()
        }),
        free: Arc::new(Store::free),
    }
}

/// Ends with the first Ctrl-C or SIGTERM; the second ends the program at once.
fn told_to_end() -> Result<impl Future<Output = ()>, Failure> {
    let presses =
        screen::on_ctrl_c("no new jobs; the picture that is being drawn may be finished")?;
    Ok(async move {
        while presses.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
}
