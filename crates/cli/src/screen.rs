//! What a person sees while the program works: bars on standard error, never on standard output.

use std::{
    fmt::{self, Display},
    io::{IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use latent_pipeline::picture::{Picture, preview};

use crate::failure::{Failure, INTERRUPTED};

/// A line for the person, on standard error. Where that takes no more, the work goes on.
pub fn tell(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// A bar with rate and time left; invisible where standard error is no terminal.
pub fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template = "{prefix} {wide_bar} {pos}/{len} {rate} {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.with_key("rate", rate));
    }
    bar
}

/// A note that something of unknown length goes on.
pub fn spinner(text: &'static str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(text);
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}

/// Steps a second, or seconds a step where that is the larger number.
fn rate(state: &ProgressState, to: &mut dyn fmt::Write) {
    let rate = state.per_sec();
    let _ = match rate {
        r if !r.is_finite() || r <= 0.0 => write!(to, "–"),
        r if r < 1.0 => write!(to, "{:.2} s/it", 1.0 / r),
        r => write!(to, "{r:.2} it/s"),
    };
}

/// The preview in the terminal: redrawn in place, above the bar.
#[derive(Debug, Default)]
pub struct TerminalPreview {
    /// Lines of the last one, to go back over.
    lines: usize,
}

impl TerminalPreview {
    /// Whether there is a terminal to draw on.
    pub fn possible() -> bool {
        std::io::stderr().is_terminal()
    }

    /// Draws `picture` over the last one.
    pub fn show(&mut self, bar: &ProgressBar, picture: &Picture) {
        let text = preview::terminal(picture, 64);
        let up = match self.lines {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\r"),
        };
        bar.suspend(|| tell(format_args!("{up}{}", text.trim_end_matches('\n'))));
        self.lines = text.lines().count();
    }

    /// Something else was printed: the next preview starts below it.
    pub fn forget(&mut self) {
        self.lines = 0;
    }
}

/// What is said where a run stops after its step.
pub const AFTER_STEP: &str = "stopping after this step; what there is will be saved";

/// Counts presses of Ctrl-C: the first asks the run to stop, and `said` is printed; the second ends the program. What the system sends to
/// end a program counts as one.
///
/// # Errors
/// A system that does not say.
pub fn on_ctrl_c(said: &'static str) -> Result<Arc<AtomicUsize>, Failure> {
    let presses = Arc::new(AtomicUsize::new(0));
    let counter = presses.clone();
    let asked = move || {
        if counter.fetch_add(1, Ordering::SeqCst) > 0 {
            std::process::exit(i32::from(INTERRUPTED));
        }
        tell(format_args!("\n{said} (Ctrl-C again to end at once)"));
    };
    let cannot = |e: &dyn Display| Failure::run(format!("cannot listen for Ctrl-C: {e}"));
    ctrlc::set_handler(asked.clone()).map_err(|e| cannot(&e))?;
    #[cfg(unix)]
    on_termination(asked).map_err(|e| cannot(&e))?;
    Ok(presses)
}

/// Calls `asked` at SIGTERM, and at SIGHUP, which a terminal sends that is closed, unless the program was started to ignore it,
/// as `nohup` does.
#[cfg(unix)]
fn on_termination(asked: impl Fn() + Send + 'static) -> std::io::Result<()> {
    use signal_hook::{
        consts::{SIGHUP, SIGTERM},
        iterator::Signals,
    };
    let listened: &[_] = match is_ignored(SIGHUP) {
        true => &[SIGTERM],
        false => &[SIGTERM, SIGHUP],
    };
    let mut signals = Signals::new(listened)?;
    std::thread::Builder::new().spawn(move || signals.forever().for_each(|_| asked()))?;
    Ok(())
}

/// As Linux says of this process; elsewhere nothing says it.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
