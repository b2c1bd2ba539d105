//! Pictures as they are committed, read and searched for.

use crate::{Error, Result, Ulid};

/// How a picture's bytes are encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// PNG.
    #[default]
    Png,
    /// JPEG.
    Jpeg,
    /// WebP.
    WebP,
}

impl Format {
    /// The ending of its files, without a dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::WebP => "webp",
        }
    }

    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::WebP => "image/webp",
        }
    }

    pub(crate) fn parse(extension: &str) -> Result<Self> {
        [Self::Png, Self::Jpeg, Self::WebP]
            .into_iter()
            .find(|format| format.extension() == extension)
            .ok_or_else(|| Error::Row(format!("{extension:?} as the format of a picture")))
    }
}

/// A picture to be committed: its file and what it is found by.
#[derive(Clone, Debug, Default)]
pub struct NewPicture {
    /// Which of its job's, from 0.
    pub n: u32,
    /// The file.
    pub bytes: Vec<u8>,
    /// How it is encoded.
    pub format: Format,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// The seed of its noise, if it has one.
    pub seed: Option<u64>,
    /// The sampler's name.
    pub sampler: Option<String>,
    /// The number of steps.
    pub steps: Option<u32>,
    /// The model's name.
    pub model: Option<String>,
    /// The prompt.
    pub prompt: String,
    /// The negative prompt.
    pub negative: String,
    /// The text that the file carries.
    pub infotext: String,
    /// The request that makes exactly this picture, as JSON.
    pub request: String,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The picture.
    pub id: Ulid,
    /// It was there already, and nothing was changed.
    pub known: bool,
}

/// A picture as it stands in the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Its id.
    pub id: Ulid,
    /// Its row, which rises in the order of commits: the cursor of a search.
    pub row: i64,
    /// The job that made it; none for one that was imported.
    pub job: Option<Ulid>,
    /// Which of its job's.
    pub n: u32,
    /// Its owner.
    pub user: String,
    /// How its file is encoded.
    pub format: Format,
    /// The length of its file.
    pub bytes: u64,
    /// The SHA-256 of its file, in hexadecimal digits.
    pub sha256: String,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// The seed of its noise.
    pub seed: Option<u64>,
    /// The sampler's name.
    pub sampler: Option<String>,
    /// The number of steps.
    pub steps: Option<u32>,
    /// The model's name.
    pub model: Option<String>,
    /// The prompt.
    pub prompt: String,
    /// The negative prompt.
    pub negative: String,
    /// The text that the file carries.
    pub infotext: String,
    /// The request, as JSON.
    pub request: String,
    /// Whether it is starred.
    pub starred: bool,
    /// Its tags, in the order of the alphabet.
    pub tags: Vec<String>,
    /// When it was committed.
    pub created_ms: i64,
    /// When it was put into the bin.
    pub deleted_ms: Option<i64>,
}

/// What to look for. Everything that is given must fit.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// The owner; none means all of them.
    pub user: Option<String>,
    /// Words that must stand in prompt, negative prompt, model or tags; `"…"` is a phrase, `word*` a beginning, `-word` must not
    /// stand there. At least one word must be without a minus.
    pub words: Option<String>,
    /// The model's name.
    pub model: Option<String>,
    /// The sampler's name.
    pub sampler: Option<String>,
    /// The seed.
    pub seed: Option<u64>,
    /// Width and height.
    pub size: Option<(u32, u32)>,
    /// The number of steps.
    pub steps: Option<u32>,
    /// At least so many steps.
    pub steps_from: Option<u32>,
    /// At most so many steps.
    pub steps_to: Option<u32>,
    /// Not before this time.
    pub from_ms: Option<i64>,
    /// Before this time.
    pub to_ms: Option<i64>,
    /// Starred or not.
    pub starred: Option<bool>,
    /// A tag.
    pub tag: Option<String>,
    /// The job that made it.
    pub job: Option<Ulid>,
    /// Look in the bin, and nowhere else.
    pub bin: bool,
}

/// A part of a list, and where it goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C> {
    /// The entries.
    pub items: Vec<T>,
    /// Give this to read on; none at the end.
    pub next: Option<C>,
}

/// A file that was uploaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// The SHA-256 of its bytes, in hexadecimal digits: its name.
    pub sha256: String,
    /// Its length.
    pub bytes: u64,
    /// Jobs that read it.
    pub uses: u64,
    /// When it was last uploaded.
    pub created_ms: i64,
}

/// What [`Queue::sweep`](crate::Queue::sweep) removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Pictures whose 30 days in the bin are over, or whose time of keeping is.
    pub pictures: u64,
    /// Jobs that ended long ago.
    pub jobs: u64,
    /// Uploads that no job reads.
    pub inputs: u64,
    /// Files that no row names.
    pub files: u64,
}
