use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

use super::write_error;
use crate::Error;

/// Brings packages into a folder that keeps them, so that each is downloaded once.
#[derive(Debug, Clone)]
pub struct Fetcher {
    cache: PathBuf,
}

impl Fetcher {
    /// Packages are kept in that folder, which is made when something is fetched.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            cache: cache.into(),
        }
    }

    /// A package of the npm registry: the path of its `.tgz`.
    ///
    /// # Errors
    /// `npm` that is missing or fails, a file with another hash.
    pub fn npm(&self, name: &str, version: &str, sha256: &str) -> Result<PathBuf, Error> {
        let file = format!(
            "{}-{version}.tgz",
            name.trim_start_matches('@').replace('/', "-")
        );
        let package = format!("{name}@{version}");
        self.fetch(&file, sha256, |folder| {
            let mut npm = Command::new("npm");
            npm.args(["pack", "--silent", "--pack-destination"])
                .arg(folder)
                .arg(&package);
            npm
        })
    }

    /// A package of Debian: the path of its `.deb`. `file` is its name with version and architecture.
    ///
    /// # Errors
    /// `apt-get` that is missing or fails, a file with another hash.
    pub fn deb(&self, file: &str, sha256: &str) -> Result<PathBuf, Error> {
        let package = debian_package(file);
        self.fetch(file, sha256, |folder| {
            let mut apt = Command::new("apt-get");
            apt.args(["download", "--quiet", &package])
                .current_dir(folder);
            apt
        })
    }

    /// The file of the cache, or what the command puts into the folder it is given.
    fn fetch(
        &self,
        file: &str,
        sha256: &str,
        command: impl FnOnce(&Path) -> Command,
    ) -> Result<PathBuf, Error> {
        let kept = self.cache.join(file);
        if kept.is_file() {
            check_hash(&kept, sha256)?;
            return Ok(kept);
        }
        let failed = |e: std::io::Error| write_error(&self.cache, e);
        fs::create_dir_all(&self.cache).map_err(failed)?;
        // A download that breaks off leaves nothing in the cache.
        let folder = tempfile::tempdir_in(&self.cache).map_err(failed)?;
        run(&mut command(folder.path()), &kept)?;
        let found = fs::read_dir(folder.path()).map_err(failed)?;
        let found = found
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.is_file());
        let found = found.ok_or_else(|| write_error(&kept, "the download brought no file"))?;
        check_hash(&found, sha256)?;
        fs::rename(found, &kept).map_err(failed)?;
        Ok(kept)
    }
}

/// Runs a program that fetches or unpacks; `kept` is where its result could be put by hand.
pub(super) fn run(command: &mut Command, kept: &Path) -> Result<Vec<u8>, Error> {
    let line = |command: &Command| {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let output = command.output().map_err(|e| Error::Program {
        command: line(command),
        reason: format!(
            "{e}; install the program, or put the file at {}",
            kept.display()
        ),
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = said
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        return Err(Error::Program {
            command: line(command),
            reason: format!(
                "{}; the file can also be put at {}",
                last[last.len().saturating_sub(3)..].join(" / "),
                kept.display()
            ),
        });
    }
    Ok(output.stdout)
}

/// How apt names what lies in a file of that name, in which the colon after an epoch is escaped.
fn debian_package(file: &str) -> String {
    let mut parts = file.split('_');
    let name = parts.next().unwrap_or(file);
    let version = parts.next().unwrap_or_default().replace("%3a", ":");
    format!("{name}={version}")
}

fn check_hash(file: &Path, expected: &str) -> Result<(), Error> {
    let name = file.display().to_string();
    let bytes = fs::read(file).map_err(|e| Error::read(&name, e))?;
    let found = hex(&bytes);
    match found == expected {
        true => Ok(()),
        false => Err(Error::Hash {
            name,
            found,
            expected: expected.to_owned(),
        }),
    }
}

/// The SHA-256 of bytes in hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::debian_package;

    #[test]
    fn epochs_are_written_with_a_colon() {
        let file = "openclipart-svg_1%3a0.18+dfsg-19_all.deb";
        assert_eq!(debian_package(file), "openclipart-svg=1:0.18+dfsg-19");
        assert_eq!(debian_package("a_2-1_all.deb"), "a=2-1");
    }
}
