//! Files that are damaged, or made to do harm, each in one way.
//!
//! Readers are tested on them, and so are whole programs: every one must give an error that names the file and says what
//! is wrong, at once and with little memory. They are built by hand from bytes, since no library writes them.

use std::fs;
use std::path::{Path, PathBuf};

mod bytes;
mod folders;
mod plain;
mod torch;

pub use bytes::{Archive, pickled_tensor};

/// One hostile file or folder.
#[derive(Debug)]
pub struct Hostile {
    /// What is wrong with it, in a few words.
    pub name: &'static str,
    /// Where it is.
    pub path: PathBuf,
    /// Words that an honest error message has in it, besides the path.
    pub says: &'static str,
}

/// Writes every hostile file and folder into `dir`, which must exist and be empty.
///
/// # Panics
/// When `dir` cannot be written to: a test is wrong then.
pub fn hostile_files(dir: &Path) -> Vec<Hostile> {
    let mut all = Vec::new();
    let files = plain::files().into_iter().chain(torch::files());
    for (n, (name, says, ending, content)) in files.enumerate() {
        let path = dir.join(format!("hostile_{n:02}.{ending}"));
        fs::write(&path, content).expect("a test folder can be written to");
        all.push(Hostile { name, path, says });
    }
    all.extend(folders::folders(dir));
    all
}

/// Name, words of the message, ending of the file's name, content.
type File = (&'static str, &'static str, &'static str, Vec<u8>);
