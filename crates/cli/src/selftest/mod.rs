//! `latent selftest`: the goldens, run on the user's machine.
//!
//! The same embedded results of PyTorch, diffusers and k-diffusion that the project's tests use, on the device and with
//! the threads that were asked for: it tells a defect of a build, a processor or a driver from a wrong setting.

mod mathematics;
mod networks;
mod pipelines;

use std::time::Instant;

use serde_json::json;

use crate::{
    args::SelftestArgs,
    failure::{Failure, OK, RUN},
    machine, screen,
};

/// The largest difference of several comparisons.
#[derive(Debug, Clone, Copy, Default)]
struct Worst {
    cases: usize,
    difference: f64,
}

impl Worst {
    fn add(&mut self, difference: f64) {
        self.cases += 1;
        // NaN must not pass.
        self.difference = if difference.is_nan() {
            f64::INFINITY
        } else {
            self.difference.max(difference)
        };
    }

    fn of(difference: f64) -> Self {
        let mut worst = Self::default();
        worst.add(difference);
        worst
    }
}

/// One row of the table.
struct Check<'a> {
    what: &'static str,
    against: &'static str,
    limit: f64,
    run: Box<dyn FnOnce() -> Result<Worst, Failure> + 'a>,
}

impl<'a> Check<'a> {
    fn new(
        what: &'static str,
        against: &'static str,
        limit: f64,
        run: impl FnOnce() -> Result<Worst, Failure> + 'a,
    ) -> Self {
        Self {
            what,
            against,
            limit,
            run: Box::new(run),
        }
    }
}

/// Runs the command: code 0 where everything agrees, 1 otherwise.
///
/// # Errors
/// A device this build has not, a folder that is there already.
pub fn selftest(args: &SelftestArgs, json: bool) -> Result<u8, Failure> {
    machine::set_threads(args.threads)?;
    let device = machine::device(&args.device)?;
    let temporary;
    let folder = match &args.keep {
        Some(path) => {
            let made = std::fs::create_dir_all(path.parent().unwrap_or(path));
            made.and_then(|()| std::fs::create_dir(path)).map_err(|e| {
                let path = path.display();
                Failure::input(format!(
                    "--keep {path}: {e}; name a folder that is not there yet"
                ))
            })?;
            path
        }
        None => {
            temporary = tempfile::tempdir().map_err(|e| {
                Failure::run(format!(
                    "cannot make a temporary folder for the test model: {e}"
                ))
            })?;
            temporary.path()
        }
    };
    let tiny = crate::model::write_test_model(folder)?;
    let mut checks = mathematics::checks();
    checks.extend(networks::tiny(&device));
    checks.extend(pipelines::checks(&device, &tiny));
    if args.full {
        checks.extend(networks::full(&device));
    }
    if !json {
        println!(
            "{:<42} {:<24} {:>5}  {:>9}  {:>7}  {:>7}",
            "what", "against", "cases", "worst", "limit", "seconds"
        );
    }
    let mut failed = 0;
    for check in checks {
        let begun = Instant::now();
        let spinner = screen::spinner(check.what);
        let result = (check.run)();
        spinner.finish_and_clear();
        let seconds = begun.elapsed().as_secs_f64();
        let (worst, problem) = match result {
            Ok(worst) => (worst, None),
            Err(failure) => (
                Worst {
                    cases: 0,
                    difference: f64::INFINITY,
                },
                Some(failure.message),
            ),
        };
        let good = worst.cases > 0 && worst.difference <= check.limit;
        failed += usize::from(!good);
        if json {
            println!(
                "{}",
                json!({"event": "check", "what": check.what, "against": check.against, "cases": worst.cases,
                       "worst": worst.difference, "limit": check.limit, "ok": good, "seconds": seconds,
                       "problem": problem})
            );
            continue;
        }
        let number = |v: f64| {
            if v == 0.0 {
                "exact".to_owned()
            } else {
                format!("{v:.1e}")
            }
        };
        println!(
            "{:<42} {:<24} {:>5}  {:>9}  {:>7}  {seconds:>7.1}  {}",
            check.what,
            check.against,
            worst.cases,
            number(worst.difference),
            number(check.limit),
            if good { "ok" } else { "FAILED" }
        );
        if let Some(problem) = problem {
            println!("    {problem}");
        }
    }
    if failed > 0 {
        eprintln!("{failed} checks failed on --device {}", args.device);
    }
    Ok(if failed == 0 { OK } else { RUN })
}
