//! What is kept no longer.

use super::Queue;
use super::catalogue::{Image, ROW};
use crate::db::{Columns, Sql, sql};
use crate::{Result, Swept, Ulid};

/// Rows of one transaction, so that others get their turn.
const BATCH: i64 = 200;

impl Queue {
    /// Removes what is kept no longer. Call it once an hour.
    ///
    /// # Errors
    ///
    /// [`Error::Database`](crate::Error::Database), [`Error::File`](crate::Error::File).
    pub async fn sweep(&self) -> Result<Swept> {
        let swept = Swept {
            pictures: self.sweep_pictures().await?,
            jobs: self.sweep_jobs().await?,
            inputs: self.sweep_inputs().await?,
            files: self.sweep_files().await?,
        };
        if self.inner.store.is_in_memory() && (swept.pictures > 0 || swept.jobs > 0) {
            self.db().scrub().await?;
        }
        Ok(swept)
    }

    /// Removes what tells of files that a process before this had in memory. Jobs that live begin anew.
    pub(super) async fn forget(&self) -> Result<()> {
        let mut tx = self.write().await?;
        for table in ["images", "details", "tags", "inputs"] {
            tx.run(sql(format!("DELETE FROM {table}"))).await?;
        }
        tx.run(sql(tx.dialect().forget_words())).await?;
        tx.run(sql("DELETE FROM jobs WHERE finished IS NOT NULL"))
            .await?;
        tx.run(sql("UPDATE jobs SET pictures_done = 0")).await?;
        tx.commit().await?;
        self.db().scrub().await
    }

    /// Pictures long in the bin, and those whose time of keeping is over. A live job's stay until it has ended.
    async fn sweep_pictures(&self) -> Result<u64> {
        let now = (self.inner.outside.now)();
        let mut swept = 0;
        loop {
            let _alone = self.inner.files.write().await;
            let mut tx = self.write().await?;
            let mut find = sql(format!("SELECT {ROW} FROM images i WHERE (deleted < $1"));
            find.bind(now - self.inner.limits.bin_ms);
            if let Some(keep) = self.inner.limits.picture_ms {
                find.push_with(" OR created < ?", now - keep);
            }
            find.push(
                ") AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = i.job AND j.state IN ('queued', 'running'))",
            );
            find.push_with(" LIMIT ?", BATCH);
            let rows = tx.all(find).await?;
            let images = rows.iter().map(Image::of).collect::<Result<Vec<_>>>()?;
            for image in &images {
                tx.purge(image).await?;
            }
            tx.commit().await?;
            for image in &images {
                self.inner.store.remove_picture(image.id).await?;
            }
            swept += images.len() as u64;
            if (images.len() as i64) < BATCH {
                return Ok(swept);
            }
        }
    }

    /// Jobs that ended long ago. Their pictures stay.
    async fn sweep_jobs(&self) -> Result<u64> {
        let mut tx = self.write().await?;
        let old = tx.now - self.inner.limits.job_ms;
        let delete = sql("DELETE FROM jobs WHERE finished < $1").with(old);
        let swept = tx.run(delete).await?;
        tx.run(sql("DELETE FROM job_inputs WHERE NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = job_inputs.job)"))
            .await?;
        tx.commit().await?;
        Ok(swept)
    }

    /// Uploads that no job reads.
    async fn sweep_inputs(&self) -> Result<u64> {
        let _alone = self.inner.files.write().await;
        let mut tx = self.write().await?;
        let old = tx.now - self.inner.limits.input_ms;
        let delete = sql("DELETE FROM inputs WHERE created < $1 AND NOT EXISTS \
             (SELECT 1 FROM job_inputs u WHERE u.sha256 = inputs.sha256) RETURNING sha256");
        let rows = tx.all(delete.with(old)).await?;
        tx.commit().await?;
        for row in &rows {
            self.inner.store.remove_input(&row.text("sha256")?).await?;
        }
        Ok(rows.len() as u64)
    }

    /// Files of pictures without a row, left by a process that died between the two. A live job's may be about to get one.
    async fn sweep_files(&self) -> Result<u64> {
        let mut swept = 0;
        for folder in self.inner.store.pictures().await? {
            for ids in folder.chunks(BATCH as usize) {
                let _alone = self.inner.files.write().await;
                for id in self.unknown(ids).await? {
                    swept += u64::from(self.inner.store.remove_picture(id).await?);
                }
            }
        }
        Ok(swept)
    }

    /// Those of these pictures that have no row and that no live job has promised.
    async fn unknown(&self, ids: &[Ulid]) -> Result<Vec<Ulid>> {
        let texts: Vec<_> = ids.iter().map(Ulid::to_string).collect();
        let mut find: Sql = sql("SELECT id FROM images WHERE 1 = 1");
        find.push_in("id", texts.iter().map(String::as_str));
        let rows = self.db().all(find).await?;
        let known = rows
            .iter()
            .map(|row| row.id("id"))
            .collect::<Result<Vec<_>>>()?;
        let mut unknown = Vec::new();
        for id in ids.iter().filter(|id| !known.contains(id)) {
            let find = sql(
                "SELECT first_picture, pictures_total, state FROM jobs WHERE first_picture <= $1 \
                 ORDER BY first_picture DESC LIMIT 1",
            );
            let promised = match self.db().one(find.with(id.to_string())).await? {
                Some(row) => {
                    let offset = id.0 - row.id("first_picture")?.0;
                    offset < u128::from(row.count("pictures_total")?)
                        && !row.state("state")?.ended()
                }
                None => false,
            };
            if !promised {
                unknown.push(*id);
            }
        }
        Ok(unknown)
    }
}
