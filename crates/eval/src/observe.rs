//! What is told while the work goes on.

use crate::Error;

/// Hears of progress and may end the work.
pub trait Observer {
    /// A stretch of work of so many steps begins.
    fn stage(&mut self, what: &str, steps: u64) {
        let _ = (what, steps);
    }

    /// So many more steps of it are done.
    fn advance(&mut self, steps: u64) {
        let _ = steps;
    }

    /// Something that the person should know and that is no error.
    fn note(&mut self, text: String) {
        let _ = text;
    }

    /// Whether to stop. Asked after every step of sampling and of training.
    fn stop(&mut self) -> bool {
        false
    }
}

/// Says nothing and goes on.
#[derive(Debug, Default)]
pub struct Unwatched;

impl Observer for Unwatched {}

/// Goes on with the next step.
pub(crate) fn advance(observer: &mut dyn Observer, steps: u64) -> Result<(), Error> {
    observer.advance(steps);
    match observer.stop() {
        true => Err(Error::Stopped),
        false => Ok(()),
    }
}
