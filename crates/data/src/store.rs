//! Where files lie: a folder of this machine, or an object store.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    Error,
    decode::MAX_BYTES,
    source::{Cells, Chunks},
};

/// Files of a data set by their names relative to its root, with `/` between folders.
#[derive(Debug)]
pub(crate) enum Store {
    Local(Folder),
    #[cfg(feature = "object-store")]
    Objects(objects::Objects),
}

/// A folder of this machine.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    /// The paths of files whose names are not UTF-8, by what they are called here; known once they were listed.
    odd: HashMap<String, PathBuf>,
}

impl Folder {
    fn at(root: PathBuf) -> Self {
        Self {
            root,
            odd: HashMap::new(),
        }
    }

    fn path(&self, file: &str) -> PathBuf {
        match self.odd.get(file) {
            Some(path) => path.clone(),
            None => self.root.join(file),
        }
    }
}

/// The files of a store.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Their names, sorted.
    pub files: Vec<String>,
    /// What was not followed or is no file: a sentence for each kind.
    pub notes: Vec<String>,
}

/// A file or a stretch of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its name in the store.
    pub file: Arc<str>,
    /// Which part of it.
    pub part: Stretch,
}

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stretch {
    Whole,
    /// First byte and length.
    Bytes(u64, u64),
    /// A cell of a Parquet file: its column and its row, from 0.
    Cell(Arc<Cells>, usize),
}

impl Place {
    pub fn file(name: impl Into<Arc<str>>) -> Self {
        Self {
            file: name.into(),
            part: Stretch::Whole,
        }
    }
}

impl Store {
    /// The store of a path or URL, and the name of a file in it where the path is that of a file.
    pub fn open(path: &str, options: &[(String, String)]) -> Result<(Self, Option<String>), Error> {
        if path.contains("://") {
            #[cfg(feature = "object-store")]
            return objects::Objects::open(path, options)
                .map(|(objects, file)| (Self::Objects(objects), file));
            #[cfg(not(feature = "object-store"))]
            {
                let _ = options;
                return Err(Error::NoObjectStore {
                    url: path.to_owned(),
                });
            }
        }
        let local = Path::new(path);
        let data = fs::metadata(local).map_err(|e| Error::read(path, e))?;
        if data.is_dir() {
            return Ok((Self::Local(Folder::at(local.to_owned())), None));
        }
        if !data.is_file() {
            return Err(Error::read(path, "it is neither a file nor a folder"));
        }
        let name = local.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::read(path, "it names no file"))?;
        let folder = local.parent().unwrap_or(Path::new("")).to_owned();
        Ok((Self::Local(Folder::at(folder)), Some(name.to_owned())))
    }

    /// What messages call a file.
    pub fn name(&self, file: &str) -> String {
        match self {
            Self::Local(folder) => folder.root.join(file).display().to_string(),
            #[cfg(feature = "object-store")]
            Self::Objects(objects) => objects.name(file),
        }
    }

    /// Every file below the root in the order of names; hidden ones and those in hidden folders are left out.
    pub fn list(&mut self) -> Result<Listing, Error> {
        let mut listing = match self {
            Self::Local(folder) => walk::list(folder)?,
            #[cfg(feature = "object-store")]
            Self::Objects(objects) => Listing {
                files: objects.list()?,
                notes: Vec::new(),
            },
        };
        listing.files.sort_unstable();
        Ok(listing)
    }

    /// The bytes of a place, at most 512 MiB.
    pub fn read(&self, place: &Place) -> Result<Vec<u8>, Error> {
        self.read_up_to(place, u64::MAX)
    }

    /// The first bytes of a place, at most `most`.
    pub fn read_up_to(&self, place: &Place, most: u64) -> Result<Vec<u8>, Error> {
        let name = self.name(&place.file);
        match &place.part {
            Stretch::Whole => {}
            Stretch::Bytes(_, length) => too_large(&name, (*length).min(most))?,
            Stretch::Cell(cells, row) => {
                let mut bytes = cells.read(&name, *row)?;
                bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX));
                too_large(&name, bytes.len() as u64)?;
                return Ok(bytes);
            }
        }
        match self {
            Self::Local(folder) => {
                let failed = |e: std::io::Error| Error::read(&name, e);
                let path = folder.path(&place.file);
                // A pipe would wait for its writer.
                let data = fs::metadata(&path).map_err(failed)?;
                if !data.is_file() {
                    return Err(Error::read(name, "it is no file"));
                }
                let mut file = fs::File::open(path).map_err(failed)?;
                let (start, length) = match place.part {
                    Stretch::Bytes(start, length) => (start, length),
                    _ => (0, data.len()),
                };
                let length = length.min(most);
                too_large(&name, length)?;
                file.seek(SeekFrom::Start(start)).map_err(failed)?;
                let mut bytes = Vec::with_capacity(length as usize);
                file.take(length).read_to_end(&mut bytes).map_err(failed)?;
                match bytes.len() as u64 == length {
                    true => Ok(bytes),
                    false => Err(Error::damaged(name, "the file breaks off")),
                }
            }
            #[cfg(feature = "object-store")]
            Self::Objects(objects) => objects.read(place, most),
        }
    }

    /// Whether a file of this machine is there.
    pub fn has(&self, file: &str) -> bool {
        match self {
            Self::Local(folder) => folder.path(file).exists(),
            #[cfg(feature = "object-store")]
            Self::Objects(_) => false,
        }
    }

    /// A file of which parts are read in any order, by many threads.
    pub fn chunks(&self, file: &str) -> Result<Chunks, Error> {
        match self {
            Self::Local(folder) => {
                let path = folder.path(file);
                let data = fs::metadata(&path).map_err(|e| Error::read(self.name(file), e))?;
                Ok(Chunks::File(path, data.len()))
            }
            #[cfg(feature = "object-store")]
            Self::Objects(objects) => Ok(Chunks::Memory(objects.whole(file)?.into())),
        }
    }

    /// A file to be read from front to back, or from place to place.
    pub fn reader(&self, file: &str) -> Result<Box<dyn ReadSeek>, Error> {
        match self {
            Self::Local(folder) => {
                let file = fs::File::open(folder.path(file))
                    .map_err(|e| Error::read(self.name(file), e))?;
                Ok(Box::new(std::io::BufReader::new(file)))
            }
            #[cfg(feature = "object-store")]
            Self::Objects(objects) => Ok(Box::new(std::io::Cursor::new(objects.whole(file)?))),
        }
    }
}

/// What [`Store::reader`] gives.
pub(crate) trait ReadSeek: Read + Seek + Send {}
impl<T: Read + Seek + Send> ReadSeek for T {}

fn too_large(name: &str, length: u64) -> Result<(), Error> {
    match length > MAX_BYTES {
        true => Err(Error::TooLarge {
            name: name.to_owned(),
            reason: format!("{length} bytes"),
        }),
        false => Ok(()),
    }
}

/// A name as text; bytes that are no UTF-8 as `\xE9`.
fn readable(name: &OsStr) -> String {
    let mut text = String::new();
    for chunk in name.as_encoded_bytes().utf8_chunks() {
        text += chunk.valid();
        for byte in chunk.invalid() {
            text += &format!("\\x{byte:02X}");
        }
    }
    text
}

/// Listing a folder of this machine.
mod walk {
    use std::{collections::HashMap, fs, path::Path};

    use super::{Folder, Listing, readable};
    use crate::{Error, source::named};

    #[derive(Default)]
    struct Found {
        files: Vec<String>,
        odd: HashMap<String, std::path::PathBuf>,
        links: Vec<String>,
        special: Vec<String>,
        hidden: Vec<String>,
    }

    pub fn list(folder: &mut Folder) -> Result<Listing, Error> {
        let mut found = Found::default();
        walk(&folder.root, "", &mut found)?;
        folder.odd = found.odd;
        let kinds = [
            (found.links, "links to folders are not followed"),
            (found.special, "neither files nor folders, left out"),
            (found.hidden, "hidden, left out"),
        ];
        let note = |(mut names, what): (Vec<String>, &str)| {
            names.sort_unstable();
            let first = named(names.iter().map(String::as_str));
            (!names.is_empty()).then(|| format!("{what}: {first}"))
        };
        Ok(Listing {
            files: found.files,
            notes: kinds.into_iter().filter_map(note).collect(),
        })
    }

    fn walk(folder: &Path, prefix: &str, found: &mut Found) -> Result<(), Error> {
        let failed = |e: std::io::Error| Error::read(folder.display().to_string(), e);
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let own = entry.file_name();
            let name = format!("{prefix}{}", readable(&own));
            let kind = entry.file_type().map_err(failed)?;
            if own.as_encoded_bytes().starts_with(b".") {
                found.hidden.push(name);
                continue;
            }
            if kind.is_dir() {
                walk(&entry.path(), &format!("{name}/"), found)?;
                continue;
            }
            // Links to files are followed, links to folders are not: they may lead in circles. A link to nowhere is a
            // file that cannot be read.
            let to = match kind.is_symlink() {
                true => fs::metadata(entry.path()).ok().map(|data| data.file_type()),
                false => Some(kind),
            };
            match to {
                Some(to) if to.is_dir() => found.links.push(name),
                Some(to) if !to.is_file() => found.special.push(name),
                _ => {
                    if entry.path().to_str().is_none() {
                        found.odd.insert(name.clone(), entry.path());
                    }
                    found.files.push(name);
                }
            }
        }
        Ok(())
    }
}

#[cfg(feature = "object-store")]
mod objects {
    use std::sync::Arc;

    use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, path::Path};

    use super::{Place, Stretch};
    use crate::{Error, decode::MAX_BYTES};

    /// A folder of an object store.
    #[derive(Debug)]
    pub struct Objects {
        url: String,
        store: Arc<dyn ObjectStore>,
        root: Path,
        /// Requests are made from many threads at once, so the runtime has its own.
        runtime: tokio::runtime::Runtime,
    }

    impl Objects {
        pub fn open(
            url: &str,
            options: &[(String, String)],
        ) -> Result<(Self, Option<String>), Error> {
            let failed = |e: String| Error::read(url, e);
            let parsed = url::Url::parse(url).map_err(|e| failed(e.to_string()))?;
            let (store, path) = object_store::parse_url_opts(&parsed, options.iter().cloned())
                .map_err(|e| failed(e.to_string()))?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .map_err(|e| failed(e.to_string()))?;
            let mut objects = Self {
                url: url.trim_end_matches('/').to_owned(),
                store: store.into(),
                root: path,
                runtime,
            };
            // A name that is an object's is a file, any other a folder.
            let is_file = !url.ends_with('/')
                && !objects.root.as_ref().is_empty()
                && objects
                    .runtime
                    .block_on(objects.store.head(&objects.root))
                    .is_ok();
            let file = match is_file {
                false => None,
                true => objects.root.filename().map(str::to_owned),
            };
            if let Some(file) = &file {
                let parts: Vec<_> = objects.root.parts().collect();
                objects.root = parts[..parts.len() - 1].iter().cloned().collect();
                objects.url.truncate(objects.url.len() - file.len() - 1);
            }
            Ok((objects, file))
        }

        pub fn name(&self, file: &str) -> String {
            format!("{}/{file}", self.url)
        }

        fn path(&self, file: &str) -> Path {
            // Names in tables are joined like paths: `./a`, `../b`.
            let mut parts: Vec<String> = self.root.parts().map(|p| p.as_ref().to_owned()).collect();
            for part in file.split('/') {
                match part {
                    "" | "." => {}
                    ".." => drop(parts.pop()),
                    part => parts.push(part.to_owned()),
                }
            }
            parts.iter().map(String::as_str).collect()
        }

        pub fn list(&self) -> Result<Vec<String>, Error> {
            use futures::TryStreamExt;
            let root = (!self.root.as_ref().is_empty()).then_some(&self.root);
            let found: Vec<_> = self
                .runtime
                .block_on(self.store.list(root).try_collect())
                .map_err(|e: object_store::Error| Error::read(&self.url, e))?;
            let name = |found: &object_store::ObjectMeta| {
                let parts = found.location.prefix_match(&self.root)?;
                let parts: Vec<_> = parts.map(|part| part.as_ref().to_owned()).collect();
                let hidden = parts.iter().any(|part| part.starts_with('.'));
                (!hidden && !parts.is_empty()).then(|| parts.join("/"))
            };
            Ok(found.iter().filter_map(name).collect())
        }

        pub fn read(&self, place: &Place, most: u64) -> Result<Vec<u8>, Error> {
            let range = match place.part {
                Stretch::Bytes(start, length) => Some(start..start + length.min(most)),
                _ => (most < MAX_BYTES).then_some(0..most),
            };
            self.get(&place.file, range, MAX_BYTES)
        }

        /// A whole shard or table, which has no limit but memory.
        pub fn whole(&self, file: &str) -> Result<Vec<u8>, Error> {
            self.get(file, None, u64::MAX)
        }

        fn get(
            &self,
            file: &str,
            range: Option<std::ops::Range<u64>>,
            most: u64,
        ) -> Result<Vec<u8>, Error> {
            let failed = |e: object_store::Error| Error::read(self.name(file), e);
            let path = self.path(file);
            self.runtime.block_on(async {
                let options = GetOptions::new().with_range(range.map(GetRange::Bounded));
                let found = self.store.get_opts(&path, options).await.map_err(failed)?;
                let length = found.range.end - found.range.start;
                if length > most {
                    return Err(Error::TooLarge {
                        name: self.name(file),
                        reason: format!("{length} bytes"),
                    });
                }
                Ok(found.bytes().await.map_err(failed)?.to_vec())
            })
        }
    }
}
