//! `latent bench`: how fast this machine is, without any file.
//!
//! Networks have recipe weights, whose values do not change the time. The lines of `--json` have the form that the
//! project's timings of other programs have (`what`, `dtype`, `seconds`, `runs`, `max_rss_gb`), so that both can be laid
//! side by side.

mod adapters;
mod kernels;
mod networks;
mod small;
mod train;

use std::time::Instant;

use latent_pipeline::request::{Choice, Dtype};
use serde_json::json;

use crate::{
    args::{BenchArgs, Benchmark},
    failure::{Failure, OK},
    machine, screen,
};

/// What is timed, how, and how it is told.
pub struct Bench {
    runs: usize,
    json: bool,
}

impl Bench {
    /// Times `run` and prints the line; the median in seconds.
    fn time(&self, what: &'static str, dtype: &str, run: &mut dyn FnMut()) -> f64 {
        let spinner = screen::spinner(what);
        let seconds = self.seconds(run);
        spinner.finish_and_clear();
        let median = median(&seconds);
        let rss = machine::peak_rss().map(|bytes| (bytes as f64 / 1e7).round() / 100.0);
        if self.json {
            println!(
                "{}",
                json!({"peer": "latent", "dtype": dtype, "what": what, "seconds": rounded(median),
                       "runs": seconds.iter().copied().map(rounded).collect::<Vec<_>>(), "max_rss_gb": rss})
            );
        } else {
            let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
            let most = seconds.iter().copied().fold(0.0, f64::max);
            let rss = rss.map_or_else(String::new, |gb| format!(", peak memory {gb:.2} GB"));
            println!("{what:<28} {dtype:<5} {median:>8.4} s  ({least:.4}–{most:.4}{rss})");
        }
        median
    }

    /// The seconds of each run, after one that is not counted.
    fn seconds(&self, run: &mut dyn FnMut()) -> Vec<f64> {
        run();
        let once = |_| {
            let began = Instant::now();
            run();
            began.elapsed().as_secs_f64()
        };
        (0..self.runs).map(once).collect()
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1e5).round() / 1e5
}

fn median(seconds: &[f64]) -> f64 {
    let mut sorted = seconds.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// Runs the command.
///
/// # Errors
/// Threads out of range; a number type that is not computed in.
pub fn bench(args: &BenchArgs, json: bool) -> Result<u8, Failure> {
    machine::set_threads(args.threads)?;
    if args.dtype == Dtype::F16 {
        return Err(Failure::input(
            "--dtype f16: a CPU computes f16 in f32; time f32, bf16 or int8",
        ));
    }
    let bench = Bench {
        runs: usize::from(args.runs),
        json,
    };
    let all = [
        Benchmark::Kernels,
        Benchmark::Text,
        Benchmark::Small,
        Benchmark::Train,
        Benchmark::Vae,
        Benchmark::Unet,
    ];
    let asked: &[Benchmark] = if args.what.is_empty() {
        &all
    } else {
        &args.what
    };
    if !json {
        println!(
            "{} threads, {}",
            rayon::current_num_threads(),
            latent_kernels::Cpu::current().level()
        );
    }
    for what in asked {
        match what {
            Benchmark::Kernels => kernels::run(&bench, args.dtype),
            Benchmark::Unet => networks::unet(&bench, args.dtype)?,
            Benchmark::Vae => networks::vae(&bench, args.dtype)?,
            Benchmark::Text => networks::text(&bench, args.dtype)?,
            Benchmark::Small => small::run(&bench, args.dtype)?,
            Benchmark::Train => train::run(&bench)?,
            Benchmark::Adapters => adapters::run(&bench, args.dtype)?,
            Benchmark::Xl => networks::xl(&bench, args.dtype)?,
        }
    }
    Ok(OK)
}

/// As it is written in a request.
fn name(dtype: Dtype) -> &'static str {
    dtype.name()
}
