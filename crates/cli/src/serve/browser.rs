//! `--open`: the page in the browser of whoever started the service.

use std::process::{Command, Stdio};

use crate::screen;

/// The program that opens addresses.
const OPENER: &[&str] = if cfg!(target_os = "macos") {
    &["open"]
} else if cfg!(windows) {
    &["cmd", "/c", "start", ""]
} else {
    &["xdg-open"]
};

/// Opens an address. Where that cannot be done, says so: the service goes on.
pub fn open(address: &str) {
    let [program, first @ ..] = OPENER else {
        return;
    };
    let mut command = Command::new(program);
    let command = command.args(first).arg(address);
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
    match quiet.stderr(Stdio::null()).spawn() {
        // It ends at once, and is waited for so that nothing is left of it.
        Ok(mut child) => drop(std::thread::spawn(move || child.wait())),
        Err(error) => screen::tell(format_args!(
            "note: no browser can be opened by {program}: {error}"
        )),
    }
}
