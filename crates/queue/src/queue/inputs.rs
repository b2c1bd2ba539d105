//! Uploads: what jobs read, kept by hash.

use std::fmt::Write;

use sha2::{Digest, Sha256};

use super::Queue;
use crate::db::{Columns, sql};
use crate::{Error, Input, Result};

impl Queue {
    /// Keeps uploaded bytes under their hash. One that no job names is removed after 24 h.
    ///
    /// # Errors
    ///
    /// [`Error::NoRoom`], [`Error::DiskFull`], [`Error::File`].
    pub async fn put_input(&self, bytes: Vec<u8>) -> Result<Input> {
        self.check_room(bytes.len() as u64 + self.inner.limits.reserve)?;
        let _files = self.inner.files.read().await;
        let (sha256, length) = (hex(&Sha256::digest(&bytes)), bytes.len() as u64);
        self.inner.store.put_input(&sha256, bytes).await?;
        let mut tx = self.write().await?;
        let insert = sql(
            "INSERT INTO inputs (sha256, bytes, created) VALUES ($1, $2, $3) \
             ON CONFLICT (sha256) DO UPDATE SET created = excluded.created",
        );
        let insert = insert
            .with(sha256.as_str())
            .with(length as i64)
            .with(tx.now);
        tx.run(insert).await?;
        let uses = sql("SELECT count(*) AS uses FROM job_inputs WHERE sha256 = $1");
        let uses = tx.one(uses.with(sha256.as_str())).await?;
        let created_ms = tx.now;
        tx.commit().await.map_err(|error| self.name_full(error))?;
        Ok(Input {
            sha256,
            bytes: length,
            uses: uses.map_or(Ok(0), |row| row.int("uses"))?.cast_unsigned(),
            created_ms,
        })
    }

    /// The bytes of an upload.
    ///
    /// # Errors
    ///
    /// [`Error::NoInput`], [`Error::File`].
    pub async fn input(&self, sha256: &str) -> Result<Vec<u8>> {
        let find = sql("SELECT sha256 FROM inputs WHERE sha256 = $1").with(sha256);
        let row = self.db().one(find).await?.ok_or_else(|| Error::NoInput {
            sha256: sha256.to_owned(),
        })?;
        // The name comes from the table, where only hashes made here stand.
        self.inner.store.input(&row.text("sha256")?).await
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
