//! What a picture is found by: its words, and its fields as words of a column of their own.
//!
//! A field's word is a letter and a hash of its value. So any number of fields and words together is one query of the full-text
//! index, which walks their lists side by side from the newest row on. Held against the table row by row, two fields that
//! never go together cost a look at every row of the one.

use sha2::{Digest, Sha256};

use super::inputs::hex;
use crate::db::{IMAGE, Tx, picture_of, sql};
use crate::{Error, Picture, Result, Search};

/// What a picture has, or what is looked for.
struct Fields<'a> {
    user: Option<&'a str>,
    model: Option<&'a str>,
    sampler: Option<&'a str>,
    seed: Option<u64>,
    size: Option<(u32, u32)>,
    steps: Option<u32>,
    tags: Vec<&'a str>,
    starred: bool,
    bin: bool,
}

impl Fields<'_> {
    fn tokens(&self) -> Vec<String> {
        let mut tokens = Vec::new();
        let mut add = |letter: char, value: String| {
            let hash = hex(&Sha256::digest(value)[..8]);
            tokens.push(format!("{letter}{hash}"));
        };
        let texts = [
            ('u', self.user),
            ('m', self.model),
            ('s', self.sampler),
            ('b', self.bin.then_some("bin")),
            ('f', self.starred.then_some("starred")),
        ];
        for (letter, value) in texts {
            if let Some(value) = value {
                add(letter, value.to_owned());
            }
        }
        if let Some(seed) = self.seed {
            add('n', seed.to_string());
        }
        if let Some((width, height)) = self.size {
            add('d', format!("{width}x{height}"));
        }
        if let Some(steps) = self.steps {
            add('t', steps.to_string());
        }
        for tag in &self.tags {
            add('g', (*tag).to_owned());
        }
        tokens
    }
}

impl Search {
    /// The words of the fields that are looked for.
    pub(super) fn tokens(&self) -> Vec<String> {
        let fields = Fields {
            user: self.user.as_deref(),
            model: self.model.as_deref(),
            sampler: self.sampler.as_deref(),
            seed: self.seed,
            size: self.size,
            steps: self.steps,
            tags: self.tag.as_deref().into_iter().collect(),
            starred: self.starred == Some(true),
            bin: self.bin,
        };
        fields.tokens()
    }
}

/// The words of a picture's fields, as the index has them.
fn tokens(picture: &Picture) -> String {
    let fields = Fields {
        user: Some(&picture.user),
        model: picture.model.as_deref(),
        sampler: picture.sampler.as_deref(),
        seed: picture.seed,
        size: Some((picture.width, picture.height)),
        steps: picture.steps,
        tags: picture.tags.iter().map(String::as_str).collect(),
        starred: picture.starred,
        bin: picture.deleted_ms.is_some(),
    };
    fields.tokens().join(" ")
}

impl Tx {
    /// Puts a picture into the index, as its rows are now.
    pub(super) async fn index(&mut self, row: i64) -> Result<()> {
        let read = sql(format!(
            "SELECT {IMAGE} FROM images i JOIN details d ON d.row = i.row WHERE i.row = $1"
        ));
        let read = self.one(read.with(row)).await?.ok_or(Error::NoPicture)?;
        let picture = picture_of(&read)?;
        let fields = tokens(&picture);
        let put = sql(self.dialect().put_words())
            .with(row)
            .with(picture.prompt)
            .with(picture.negative)
            .with(picture.model.unwrap_or_default())
            .with(picture.tags.join("\n"))
            .with(fields);
        self.run(put).await.map(drop)
    }
}
