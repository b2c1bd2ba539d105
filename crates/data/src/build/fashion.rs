use std::{
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use flate2::read::GzDecoder;

use super::{Building, Fetcher, fetch};
use crate::Error;

/// The classes of Fashion-MNIST in the order of their numbers.
pub const FASHION_CLASSES: [&str; 10] = [
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];

const DEB: &str = "dataset-fashion-mnist_0.0~git20200523.55506a9-1_all.deb";
const DEB_SHA256: &str = "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0";

/// The unpacked files and their SHA-256.
const FILES: [(&str, &str); 4] = [
    (
        "train-images-idx3-ubyte",
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    (
        "train-labels-idx1-ubyte",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    (
        "t10k-images-idx3-ubyte",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    (
        "t10k-labels-idx1-ubyte",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
];

const NOTICE: &str = "\
Fashion-MNIST: 60000 training and 10000 test pictures of 28x28 pixels in ten classes.
Copyright 2017 Zalando SE, https://github.com/zalandoresearch/fashion-mnist
Licence: MIT. Taken from the Debian package dataset-fashion-mnist, unchanged but for being unpacked.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the \"Software\"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED \"AS IS\", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
";

/// Writes Fashion-MNIST as four IDX files and the names of the classes. It is taken from `from`, a folder with the files
/// (packed or not) or the Debian package, or else fetched.
///
/// # Errors
/// A package that cannot be fetched or unpacked, files with other hashes, a folder that exists or cannot be written.
pub fn fashion_mnist(fetcher: &Fetcher, from: Option<&Path>, target: &Path) -> Result<(), Error> {
    let building = Building::new(target)?;
    let fetched: PathBuf;
    let from = match from {
        Some(from) => from,
        None => {
            fetched = fetcher.deb(DEB, DEB_SHA256)?;
            &fetched
        }
    };
    let files = match from.is_dir() {
        true => of_folder(from)?,
        false => of_package(from)?,
    };
    for ((name, sha256), bytes) in FILES.into_iter().zip(files) {
        let found = fetch::hex(&bytes);
        if found != sha256 {
            return Err(Error::Hash {
                name: format!("{name} of {}", from.display()),
                found,
                expected: sha256.to_owned(),
            });
        }
        building.put(name, bytes)?;
    }
    building.put("classes.txt", FASHION_CLASSES.join("\n") + "\n")?;
    building.put("NOTICE.txt", NOTICE)?;
    building.finish()
}

fn of_folder(folder: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let read = |(name, _): (&str, &str)| {
        let plain = folder.join(name);
        match std::fs::read(&plain) {
            Ok(bytes) => Ok(bytes),
            Err(_) => {
                let packed = folder.join(format!("{name}.gz"));
                let file = packed.display().to_string();
                let bytes = std::fs::read(&packed).map_err(|e| Error::read(&file, e))?;
                unpack(&file, &bytes)
            }
        }
    };
    FILES.into_iter().map(read).collect()
}

/// The files of the Debian package, which `dpkg-deb` opens: the `xz` inside has no small pure reader.
fn of_package(package: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let name = package.display().to_string();
    let failed = |e: std::io::Error| Error::damaged(&name, e);
    if !is_package(package).map_err(|e| Error::read(&name, e))? {
        let names = FILES.map(|(file, _)| file).join(", ");
        let reason = format!("it is no Debian package: expected one, or a folder that has {names}");
        return Err(Error::damaged(name, reason));
    }
    let mut command = Command::new("dpkg-deb");
    let tar = fetch::run(command.arg("--fsys-tarfile").arg(package), package)?;
    let mut found = vec![None; FILES.len()];
    let mut archive = tar::Archive::new(&tar[..]);
    for entry in archive.entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let place = FILES
            .iter()
            .position(|(file, _)| path.ends_with(&format!("/{file}.gz")));
        if let Some(place) = place {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(failed)?;
            found[place] = Some(unpack(&path, &bytes)?);
        }
    }
    let all = found.into_iter().zip(FILES);
    all.map(|(bytes, (file, _))| {
        bytes.ok_or_else(|| Error::damaged(&name, format!("it has no {file}.gz")))
    })
    .collect()
}

/// Whether a file begins as packages do, which are archives of `ar`.
fn is_package(file: &Path) -> std::io::Result<bool> {
    let mut first = Vec::new();
    std::fs::File::open(file)?.take(8).read_to_end(&mut first)?;
    Ok(first == b"!<arch>\n")
}

fn unpack(name: &str, packed: &[u8]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    GzDecoder::new(packed)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::damaged(name, e))?;
    Ok(bytes)
}
