//! IDX, the format of MNIST and Fashion-MNIST: grey pictures of one size in one file, classes in another.

use std::io::Read;

use flate2::read::GzDecoder;
use image::{GrayImage, buffer::ConvertBuffer};

use super::{About, Source, detect::is_idx_images};
use crate::{
    Error, Raw,
    decode::{MAX_BYTES, MAX_SIDE},
    json::Class,
    store::Store,
};

/// Pictures and classes, in memory.
#[derive(Debug)]
pub(super) struct Idx {
    name: String,
    pixels: Vec<u8>,
    labels: Option<Vec<u8>>,
    /// Height and width.
    size: [u32; 2],
    count: usize,
    classes: Vec<String>,
    /// The file of classes.
    labels_file: Option<String>,
    pub about: About,
}

impl Idx {
    /// The files that it was read from.
    pub fn used(&self) -> std::collections::HashSet<&str> {
        let files = [Some(&self.name), self.labels_file.as_ref()];
        files.into_iter().flatten().map(String::as_str).collect()
    }

    /// Opens a file of pictures, or of a folder `train-…` or else the first, and the classes beside it.
    pub fn open(
        path: &str,
        store: &Store,
        files: &[String],
        classes: Vec<String>,
    ) -> Result<Self, Error> {
        let mut pictures = files.iter().filter(|file| is_idx_images(file));
        let first = pictures.clone().next();
        let train = pictures.find(|file| file.starts_with("train-"));
        let file = train.or(first).ok_or_else(|| Error::Empty {
            path: path.to_owned(),
            reason: "looked for a file ending in images-idx3-ubyte or images-idx3-ubyte.gz"
                .to_owned(),
        })?;
        let name = store.name(file);
        let (sizes, pixels) = read(&name, store, file, 3)?;
        let (count, size) = (sizes[0] as usize, [sizes[1], sizes[2]]);
        if size.iter().any(|side| !(1..=MAX_SIDE).contains(side)) {
            return Err(Error::damaged(
                name,
                format!(
                    "pictures of {}x{} pixels; expected sides of 1 to {MAX_SIDE}",
                    size[0], size[1]
                ),
            ));
        }
        let labels = labels_of(file);
        let exists = |file: &str| store.reader(file).is_ok();
        // The classes may be packed where the pictures are not, and the other way round.
        let labels_file = [labels.clone(), format!("{labels}.gz")]
            .into_iter()
            .find(|file| exists(file));
        let labels = match &labels_file {
            None => None,
            Some(file) => {
                let name = store.name(file);
                let (sizes, labels) = read(&name, store, file, 1)?;
                if sizes[0] as usize != count {
                    return Err(Error::damaged(
                        name,
                        format!("{} classes for {count} pictures", sizes[0]),
                    ));
                }
                Some(labels)
            }
        };
        Ok(Self {
            name: file.clone(),
            pixels,
            labels,
            size,
            count,
            classes,
            labels_file,
            about: About::default(),
        })
    }

    fn check(&self, index: usize) -> Result<(), Error> {
        match index < self.count {
            true => Ok(()),
            false => Err(Error::setting(
                "index",
                index,
                format!("there are {}", self.count),
            )),
        }
    }
}

/// The unpacked name of the file of classes.
fn labels_of(pictures: &str) -> String {
    let name = pictures.strip_suffix(".gz").unwrap_or(pictures);
    name.replace("images-idx3", "labels-idx1")
        .replace("images.idx3", "labels.idx1")
}

/// The sizes and bytes of a file of unsigned bytes in that many dimensions.
fn read(
    name: &str,
    store: &Store,
    file: &str,
    dimensions: u8,
) -> Result<(Vec<u32>, Vec<u8>), Error> {
    let failed = |e: std::io::Error| Error::damaged(name, e);
    let reader = store.reader(file)?;
    let mut reader: Box<dyn Read> = match file.ends_with(".gz") {
        true => Box::new(GzDecoder::new(reader)),
        false => Box::new(reader),
    };
    let mut word = || {
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).map_err(failed)?;
        Ok(u32::from_be_bytes(bytes))
    };
    let expected = 0x0800 | u32::from(dimensions);
    let magic = word()?;
    if magic != expected {
        return Err(Error::damaged(
            name,
            format!(
                "it begins with {magic:#010x}; expected {expected:#010x}, unsigned bytes in {dimensions} dimensions"
            ),
        ));
    }
    let sizes = (0..dimensions)
        .map(|_| word())
        .collect::<Result<Vec<u32>, Error>>()?;
    let length = sizes
        .iter()
        .try_fold(1u64, |all, size| all.checked_mul(u64::from(*size)));
    let length = length
        .filter(|length| *length <= 4 * MAX_BYTES)
        .ok_or_else(|| Error::TooLarge {
            name: name.to_owned(),
            reason: format!("{sizes:?} bytes"),
        })?;
    let mut bytes = Vec::new();
    reader
        .take(length + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match bytes.len() as u64 == length {
        true => Ok((sizes, bytes)),
        false => Err(Error::damaged(
            name,
            format!("{} bytes follow the header; expected {length}", bytes.len()),
        )),
    }
}

impl Source for Idx {
    fn len(&self) -> usize {
        self.count
    }

    fn id(&self, index: usize) -> String {
        format!("{}[{index}]", self.name)
    }

    fn size(&self, index: usize) -> Result<[u32; 2], Error> {
        self.check(index).map(|()| self.size)
    }

    fn read(&self, index: usize) -> Result<Raw, Error> {
        self.check(index)?;
        let id = self.id(index);
        let [h, w] = self.size;
        let length = h as usize * w as usize;
        let pixels = self.pixels[index * length..][..length].to_vec();
        let grey = GrayImage::from_raw(w, h, pixels);
        let grey = grey.ok_or_else(|| Error::damaged(&id, "too few bytes"))?;
        let mut raw = Raw::new(id, grey.convert());
        if let Some(labels) = &self.labels {
            let class = Class::Id(u32::from(labels[index]));
            raw.class = Some(class.resolve(&raw.id, &self.classes)?);
        }
        Ok(raw)
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn about(&self) -> About {
        self.about.clone()
    }
}
