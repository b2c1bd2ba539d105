//! Where jobs and pictures are kept.

use std::path::Path;

use latent_queue::{Database, Limits, Outside, Queue, Store};

use crate::{
    args::{ServeArgs, SharedArgs},
    failure::Failure,
};

/// Bytes of pictures that a private service has in memory, at most.
const MEMORY: u64 = 1 << 30;

/// Opens the queue of a service: in the data folder; a private one beside it, with its pictures in memory; or where others
/// share it.
///
/// # Errors
/// Tables or folders that cannot be used.
pub async fn queue(args: &ServeArgs, data: &Path, outside: &Outside) -> Result<Queue, Failure> {
    if args.shared.store.is_some() {
        return shared(&args.shared, outside).await;
    }
    let (file, store, limits) = match args.private {
        true => (
            "private.sqlite",
            Ok(Store::in_memory(MEMORY)),
            Limits::private(),
        ),
        false => (
            "latent.sqlite",
            Store::open(data.join("pictures")),
            Limits::default(),
        ),
    };
    let store = store.map_err(unusable)?;
    open(Database::Sqlite(data.join(file)), store, limits, outside).await
}

/// Opens the queue that several machines share.
///
/// # Errors
/// None is named, or it cannot be used.
pub async fn shared(args: &SharedArgs, outside: &Outside) -> Result<Queue, Failure> {
    let told = || std::env::var("LATENT_DATABASE").ok();
    let url = args.database.clone().or_else(told);
    let (Some(url), Some(folder)) = (url, &args.store) else {
        return Err(Failure::input(
            "who shares a queue names it with --database postgres://… (or LATENT_DATABASE), and the folder of its pictures with --store DIR",
        ));
    };
    let database = postgres(&url)?;
    let store = Store::open(folder).map_err(unusable)?;
    open(database, store, Limits::default(), outside).await
}

#[cfg(feature = "cluster")]
fn postgres(url: &str) -> Result<Database, Failure> {
    match url.starts_with("postgres://") || url.starts_with("postgresql://") {
        true => Ok(Database::Postgres(url.to_owned())),
        false => Err(Failure::input(
            "--database: expected postgres://USER:PASSWORD@HOST/NAME",
        )),
    }
}

#[cfg(not(feature = "cluster"))]
fn postgres(_: &str) -> Result<Database, Failure> {
    Err(Failure::input(
        "this build speaks to no PostgreSQL: build it with --features cluster",
    ))
}

async fn open(
    database: Database,
    store: Store,
    limits: Limits,
    outside: &Outside,
) -> Result<Queue, Failure> {
    let queue = Queue::open(database, store, limits, outside.clone()).await;
    queue.map_err(unusable)
}

fn unusable(error: latent_queue::Error) -> Failure {
    Failure::run(format!("the queue cannot be used: {error}"))
}
