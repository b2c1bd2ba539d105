//! The `latent` program.
//!
//! It has no logic of its own: arguments become a request (`args`, `job`), the libraries do the work, and what comes
//! back is shown and saved (`watch`, `screen`). Results go to standard output, everything else to standard error. Exit
//! codes: 0 done, 1 a failure while running, 2 bad input, 130 stopped by Ctrl-C.
//!
//! This is also the last line of defence: a panic anywhere below is caught and becomes a message that says it is a
//! defect and where to report it.

mod adapter;
mod args;
mod bench;
mod by_eye;
mod control;
mod dashboard;
mod data;
mod eval;
mod export;
mod failure;
mod files;
mod generate;
mod hypernetwork;
mod inversion;
mod job;
mod machine;
mod merge;
mod model;
mod models;
mod names;
mod preprocess;
mod screen;
mod selftest;
mod serve;
mod told;
mod train;
mod watch;

use std::{
    io::{ErrorKind, IsTerminal, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::LazyLock,
    sync::{Arc, Mutex},
    time::Instant,
};

use args::{Cli, Command};
use failure::{Failure, INPUT, RUN};
use serde_json::json;

/// Networks allocate and free the same large tensors at every step.
#[global_allocator]
static ALLOCATOR: latent_kernels::Recycler = latent_kernels::Recycler::with(machine::exhausted);

/// When the program started, for what `-v` tells.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

fn main() -> ExitCode {
    LazyLock::force(&STARTED);
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            if error.use_stderr() && std::env::args_os().any(|arg| arg == "--json") {
                let message = error.render().to_string();
                let message = message.trim_start_matches("error: ").trim_end();
                tell_json(&Failure::input(message));
            }
            let printed = error.print();
            return match (error.use_stderr(), printed) {
                (true, _) => INPUT.into(),
                (false, Ok(())) => ExitCode::SUCCESS,
                (false, Err(e)) if e.kind() == ErrorKind::BrokenPipe => failure::PIPE.into(),
                (false, Err(_)) => RUN.into(),
            };
        }
    };
    let level = match cli.verbose {
        0 if matches!(&cli.command, Command::Serve(args) if args.log_prompts) => {
            tracing::Level::INFO
        }
        0 => tracing::Level::WARN,
        1 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .without_time()
        .with_target(cli.verbose > 1)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    machine::prepare_for_exhaustion(matches!(cli.command, Command::Train(_)), cli.json);
    match guarded(&cli) {
        Ok(code) => code.into(),
        Err(failure) => {
            if cli.json {
                tell_json(&failure);
            }
            if failure.code != failure::PIPE {
                screen::tell(format_args!("{:?}", failure.report()));
            }
            failure.code.into()
        }
    }
}

/// The line that ends a failed run's output for programs.
fn tell_json(failure: &Failure) {
    let event = json!({"event": "error", "code": failure.code, "error": failure.name,
                       "message": failure.message});
    // The exit code and standard error say it too.
    let _ = writeln!(std::io::stdout(), "{event}");
}

/// Runs the command and turns a panic into a failure.
fn guarded(cli: &Cli) -> Result<u8, Failure> {
    let seen = Arc::new(Mutex::new(String::new()));
    let note = seen.clone();
    std::panic::set_hook(Box::new(move |panic| {
        if let Ok(mut seen) = note.lock() {
            // The first one is the cause; others follow from it.
            if seen.is_empty() {
                *seen = panic.to_string();
            }
        }
    }));
    catch_unwind(AssertUnwindSafe(|| run(cli))).unwrap_or_else(|_| {
        let what = seen.lock().map(|text| text.clone()).unwrap_or_default();
        Err(Failure::of_panic(&what))
    })
}

fn run(cli: &Cli) -> Result<u8, Failure> {
    machine::set_instructions()?;
    match &cli.command {
        Command::Generate(args) => generate::generate(args, cli.json),
        Command::Serve(args) => serve::serve(args, cli.json),
        Command::Worker(args) => serve::worker(args, cli.json),
        Command::Preprocess(args) => preprocess::preprocess(args, cli.json),
        Command::Info(args) => files::info(args, cli.json),
        Command::Models(args) => models::models(args, cli.json),
        Command::Convert(args) => files::convert_file(args, cli.json),
        Command::Merge(args) => merge::merge(args, cli.json),
        Command::Extract(args) => merge::run_extract(args, cli.json),
        Command::Train(args) => train::train(args, cli.json),
        Command::Export(args) => export::export(args, cli.json),
        Command::Eval(args) => eval::eval(args, cli.json),
        Command::ByEye(args) => by_eye::by_eye(args, cli.json),
        Command::Selftest(args) => selftest::selftest(args, cli.json),
        Command::Bench(args) => bench::bench(args, cli.json),
        Command::Data(args) => data::data(args, cli.json),
        Command::Samplers => Ok(names::list(cli.json)),
        Command::Completions { shell } => Ok(names::completions(*shell)),
        Command::Man { folder } => names::man(folder.as_deref()),
    }
}
