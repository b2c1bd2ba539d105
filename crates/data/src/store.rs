//! Where files lie: a folder of this machine, or an object store.

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use crate::{Error, decode::MAX_BYTES};

/// Files of a data set by their names relative to its root, with `/` between folders.
#[derive(Debug)]
pub(crate) enum Store {
    Local(PathBuf),
    #[cfg(feature = "object-store")]
    Objects(objects::Objects),
}

/// A file or a stretch of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its name in the store.
    pub file: std::sync::Arc<str>,
    /// First byte and length; the whole file where there is none.
    pub range: Option<(u64, u64)>,
}

impl Place {
    pub fn file(name: impl Into<std::sync::Arc<str>>) -> Self {
        Self {
            file: name.into(),
            range: None,
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
            return Ok((Self::Local(local.to_owned()), None));
        }
        let name = local.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| Error::read(path, "its name is not UTF-8"))?;
        let folder = local.parent().unwrap_or(Path::new("")).to_owned();
        Ok((Self::Local(folder), Some(name.to_owned())))
    }

    /// What messages call a file.
    pub fn name(&self, file: &str) -> String {
        match self {
            Self::Local(root) => root.join(file).display().to_string(),
            #[cfg(feature = "object-store")]
            Self::Objects(objects) => objects.name(file),
        }
    }

    /// Every file below the root in the order of names; hidden ones and those in hidden folders are left out.
    pub fn list(&self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        match self {
            Self::Local(root) => walk(root, "", &mut names)?,
            #[cfg(feature = "object-store")]
            Self::Objects(objects) => names = objects.list()?,
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The bytes of a place, at most 512 MiB.
    pub fn read(&self, place: &Place) -> Result<Vec<u8>, Error> {
        self.read_up_to(place, u64::MAX)
    }

    /// The first bytes of a place, at most `most`.
    pub fn read_up_to(&self, place: &Place, most: u64) -> Result<Vec<u8>, Error> {
        let name = self.name(&place.file);
        if let Some((_, length)) = place.range {
            too_large(&name, length.min(most))?;
        }
        match self {
            Self::Local(root) => {
                let failed = |e: std::io::Error| Error::read(&name, e);
                let mut file = fs::File::open(root.join(&*place.file)).map_err(failed)?;
                let data = file.metadata().map_err(failed)?;
                if !data.is_file() {
                    return Err(Error::read(name, "it is no file"));
                }
                let (start, length) = place.range.unwrap_or((0, data.len()));
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

    /// A file to be read from front to back, or from place to place.
    pub fn reader(&self, file: &str) -> Result<Box<dyn ReadSeek>, Error> {
        match self {
            Self::Local(root) => {
                let file =
                    fs::File::open(root.join(file)).map_err(|e| Error::read(self.name(file), e))?;
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

fn walk(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<(), Error> {
    let failed = |e: std::io::Error| Error::read(folder.display().to_string(), e);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| {
            Error::read(entry.path().display().to_string(), "its name is not UTF-8")
        })?;
        if name.starts_with('.') {
            continue;
        }
        // Links to files are followed, links to folders are not: they may lead in circles.
        match entry.file_type().map_err(failed)?.is_dir() {
            true => walk(&entry.path(), &format!("{prefix}{name}/"), names)?,
            false => names.push(format!("{prefix}{name}")),
        }
    }
    Ok(())
}

#[cfg(feature = "object-store")]
mod objects {
    use std::sync::Arc;

    use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, path::Path};

    use super::Place;
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
            let range = match place.range {
                Some((start, length)) => Some(start..start + length.min(most)),
                None => (most < MAX_BYTES).then_some(0..most),
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
