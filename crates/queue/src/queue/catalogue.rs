//! The pictures, one by one.

use sha2::{Digest, Sha256};

use super::Queue;
use super::inputs::hex;
use crate::db::{Columns, IMAGE, Tx, picture_of, sql};
use crate::{Change, Error, NewPicture, Picture, Result, Ulid};

const MOST_TAGS: usize = 64;
const TAG_BYTES: usize = 100;

impl Queue {
    /// The picture of that id, if it is there and the user's (none means anybody's), also from the bin.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn picture(&self, id: Ulid, user: Option<&str>) -> Result<Option<Picture>> {
        let query =
            format!("SELECT {IMAGE} FROM images i JOIN details d ON d.row = i.row WHERE i.id = $1");
        let mut query = sql(query).with(id.to_string());
        if let Some(user) = user {
            query.push_with(" AND i.owner = ?", user);
        }
        self.db()
            .one(query)
            .await?
            .as_ref()
            .map(picture_of)
            .transpose()
    }

    /// A job's committed pictures, in the order of `n`, without those in the bin.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn pictures(&self, job: Ulid) -> Result<Vec<Picture>> {
        let query = sql(format!(
            "SELECT {IMAGE} FROM images i JOIN details d ON d.row = i.row \
             WHERE i.job = $1 AND i.deleted IS NULL ORDER BY i.n"
        ));
        let rows = self.db().all(query.with(job.to_string())).await?;
        rows.iter().map(picture_of).collect()
    }

    /// Puts a picture into the catalogue that no job here made.
    ///
    /// # Errors
    ///
    /// [`Error::DiskFull`], [`Error::File`].
    pub async fn import(&self, user: &str, picture: &NewPicture) -> Result<Picture> {
        let _files = self.inner.files.read().await;
        let id = self.new_id((self.inner.outside.now)());
        self.put_file(id, picture).await?;
        let sha256 = hex(&Sha256::digest(&picture.bytes));
        let mut tx = self.write().await?;
        tx.insert_picture(user, None, id, picture, &sha256).await?;
        tx.tell(user, Change::Picture { id, job: None });
        tx.commit().await.map_err(|error| self.name_full(error))?;
        self.picture(id, None).await?.ok_or(Error::NoPicture)
    }

    /// Stars a picture or takes the star away.
    ///
    /// # Errors
    ///
    /// [`Error::NoPicture`].
    pub async fn star(&self, id: Ulid, user: Option<&str>, starred: bool) -> Result<()> {
        self.set(id, user, "starred", Some(i64::from(starred)))
            .await
    }

    /// Puts a picture into the bin, from which it can be had back for 30 days.
    ///
    /// # Errors
    ///
    /// [`Error::NoPicture`].
    pub async fn delete(&self, id: Ulid, user: Option<&str>) -> Result<()> {
        let now = (self.inner.outside.now)();
        self.set(id, user, "deleted", Some(now)).await
    }

    /// Takes a picture out of the bin again.
    ///
    /// # Errors
    ///
    /// [`Error::NoPicture`].
    pub async fn restore(&self, id: Ulid, user: Option<&str>) -> Result<()> {
        self.set(id, user, "deleted", None).await
    }

    async fn set(
        &self,
        id: Ulid,
        user: Option<&str>,
        column: &str,
        value: Option<i64>,
    ) -> Result<()> {
        let mut tx = self.write().await?;
        let found = tx.image(id, user).await?;
        let set = sql(format!("UPDATE images SET {column} = $1 WHERE row = $2"));
        tx.run(set.with(value).with(found.row)).await?;
        tx.index(found.row).await?;
        tx.tell(&found.user, Change::PictureChanged { id });
        tx.commit().await
    }

    /// Gives a picture these tags instead of those it has: at most 64, each of 1 to 100 bytes without line breaks.
    ///
    /// # Errors
    ///
    /// [`Error::NoPicture`], [`Error::Argument`].
    pub async fn tag(&self, id: Ulid, user: Option<&str>, tags: &[String]) -> Result<()> {
        let tags = checked(tags)?;
        let mut tx = self.write().await?;
        let found = tx.image(id, user).await?;
        let lines = tags.join("\n");
        let set = sql("UPDATE details SET tags = $1 WHERE row = $2");
        tx.run(set.with(lines).with(found.row)).await?;
        tx.run(sql("DELETE FROM tags WHERE row = $1").with(found.row))
            .await?;
        for tag in tags {
            let insert = sql("INSERT INTO tags (tag, row) VALUES ($1, $2)");
            tx.run(insert.with(tag).with(found.row)).await?;
        }
        tx.index(found.row).await?;
        tx.tell(&found.user, Change::PictureChanged { id });
        tx.commit().await
    }

    /// All tags of a user's pictures and how many carry each, the most frequent first.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn tags(&self, user: Option<&str>) -> Result<Vec<(String, u64)>> {
        let mut query = sql(
            "SELECT t.tag, count(*) AS pictures FROM tags t JOIN images i ON i.row = t.row \
             WHERE i.deleted IS NULL",
        );
        if let Some(user) = user {
            query.push_with(" AND i.owner = ?", user);
        }
        query.push(" GROUP BY t.tag ORDER BY count(*) DESC, t.tag");
        let rows = self.db().all(query).await?;
        rows.iter()
            .map(|row| Ok((row.text("tag")?, row.int("pictures")?.cast_unsigned())))
            .collect()
    }

    /// Removes a picture for ever, whether it is in the bin or not.
    ///
    /// # Errors
    ///
    /// [`Error::NoPicture`]; [`Error::WrongState`] while its job waits or runs.
    pub async fn purge(&self, id: Ulid, user: Option<&str>) -> Result<()> {
        let _alone = self.inner.files.write().await;
        let mut tx = self.write().await?;
        let found = tx.image(id, user).await?;
        if let Some(job) = found.job {
            match tx.job(job, None).await {
                Ok(held) if !held.job.state.ended() => {
                    return Err(Error::WrongState {
                        state: held.job.state,
                        wanted: "done, failed or cancelled",
                    });
                }
                Ok(_) | Err(Error::NoJob) => {}
                Err(error) => return Err(error),
            }
        }
        tx.purge(&found).await?;
        tx.commit().await?;
        self.inner.store.remove_picture(id).await.map(drop)
    }
}

/// A picture's row, as far as changing it needs it.
pub(super) struct Image {
    pub(super) row: i64,
    pub(super) id: Ulid,
    pub(super) user: String,
    pub(super) job: Option<Ulid>,
}

/// The columns that [`Image::of`] reads.
pub(super) const ROW: &str = "row, id, owner, job";

impl Image {
    pub(super) fn of(row: &sqlx::any::AnyRow) -> Result<Self> {
        Ok(Self {
            row: row.int("row")?,
            id: row.id("id")?,
            user: row.text("owner")?,
            job: row.id_if("job")?,
        })
    }
}

impl Tx {
    async fn image(&mut self, id: Ulid, user: Option<&str>) -> Result<Image> {
        let mut find = sql(format!("SELECT {ROW} FROM images WHERE id = $1")).with(id.to_string());
        if let Some(user) = user {
            find.push_with(" AND owner = ?", user);
        }
        Image::of(&self.one(find).await?.ok_or(Error::NoPicture)?)
    }

    /// Removes the rows of a picture.
    pub(super) async fn purge(&mut self, image: &Image) -> Result<()> {
        let tables = [
            ("images", "row"),
            ("details", "row"),
            ("tags", "row"),
            ("words", "rowid"),
        ];
        for (table, column) in tables {
            let delete = sql(format!("DELETE FROM {table} WHERE {column} = $1"));
            self.run(delete.with(image.row)).await?;
        }
        self.tell(&image.user, Change::PictureGone { id: image.id });
        Ok(())
    }

    pub(super) async fn insert_picture(
        &mut self,
        user: &str,
        job: Option<Ulid>,
        id: Ulid,
        new: &NewPicture,
        sha256: &str,
    ) -> Result<()> {
        let insert = sql(
            "INSERT INTO images (id, owner, job, n, seed, model, sampler, steps, width, height, format, bytes, sha256, created) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
             (SELECT CASE WHEN max(created) > $14 THEN max(created) ELSE $14 END FROM images)) RETURNING row",
        );
        let insert = insert
            .with(id.to_string())
            .with(user)
            .with(job.map(|job| job.to_string()))
            .with(i64::from(new.n))
            .with(new.seed.map(u64::cast_signed))
            .with(new.model.clone())
            .with(new.sampler.clone())
            .with(new.steps.map(i64::from))
            .with(i64::from(new.width))
            .with(i64::from(new.height))
            .with(new.format.extension())
            .with(new.bytes.len() as i64)
            .with(sha256)
            .with(self.now);
        let row = self
            .one(insert)
            .await?
            .ok_or(Error::NoPicture)?
            .int("row")?;
        // A zero byte ends a text in one of the databases and is refused by the other.
        let clean = |text: &str| text.replace('\0', "\u{fffd}");
        let insert = sql(
            "INSERT INTO details (row, prompt, negative, infotext, request, tags) VALUES ($1, $2, $3, $4, $5, '')",
        );
        let insert = insert
            .with(row)
            .with(clean(&new.prompt))
            .with(clean(&new.negative))
            .with(clean(&new.infotext))
            .with(clean(&new.request));
        self.run(insert).await?;
        self.index(row).await
    }
}

/// Tags in the order of the alphabet, each once.
fn checked(tags: &[String]) -> Result<Vec<&str>> {
    let mut tags: Vec<_> = tags.iter().map(|tag| tag.trim()).collect();
    tags.sort_unstable();
    tags.dedup();
    let why = if tags.len() > MOST_TAGS {
        format!("are {}; at most {MOST_TAGS} will do", tags.len())
    } else if let Some(tag) = tags.iter().find(|tag| {
        tag.is_empty() || tag.len() > TAG_BYTES || tag.contains(|c: char| c.is_control())
    }) {
        format!("{tag:?} is no tag; from 1 to {TAG_BYTES} bytes on one line will do")
    } else {
        return Ok(tags);
    };
    Err(Error::Argument { field: "tags", why })
}
