//! What the holder of a lease does.

use sha2::{Digest, Sha256};

use super::inputs::hex;
use super::states::Held;
use super::{Queue, locked};
use crate::db::{Columns, Tx, sql};
use crate::{
    Asked, Cancel, Change, Committed, Error, Failure, Job, Lease, NewPicture, Result, State, Ulid,
};

impl Queue {
    /// Holds the lease for another 30 s, and says whether the job is to stop. Call it every 5 s or so, from a timer.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`].
    pub async fn renew(&self, lease: &Lease) -> Result<Asked> {
        let mut tx = self.write().await?;
        let until_ms = tx.now + self.inner.limits.lease_ms;
        let renew = sql(
            "UPDATE jobs SET lease_until = $1 WHERE id = $2 AND token = $3 AND state = 'running' RETURNING cancel",
        );
        let renew = renew
            .with(until_ms)
            .with(lease.job.to_string())
            .with(lease.token);
        let row = tx.one(renew).await?.ok_or(Error::LeaseLost)?;
        let cancel = row
            .text_if("cancel")?
            .as_deref()
            .map(Cancel::parse)
            .transpose()?;
        tx.commit().await?;
        Ok(Asked { until_ms, cancel })
    }

    /// The job has come further without a picture (a training has written a checkpoint), so that crashes are counted anew.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`].
    pub async fn advanced(&self, lease: &Lease) -> Result<()> {
        let mut tx = self.write().await?;
        let mark =
            sql("UPDATE jobs SET attempt = 1 WHERE id = $1 AND token = $2 AND state = 'running'");
        let marked = tx
            .run(mark.with(lease.job.to_string()).with(lease.token))
            .await?;
        if marked == 0 {
            return Err(Error::LeaseLost);
        }
        tx.commit().await
    }

    /// Writes a picture and puts it into the catalogue, if the lease is still held. The same `n` twice is once.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`]; [`Error::DiskFull`]: the queue is paused with that reason. Renew, wait 5 s and commit again; once
    /// it succeeds the queue goes on. [`Error::Argument`] if the job has no picture of that number.
    pub async fn commit(&self, lease: &Lease, picture: &NewPicture) -> Result<Committed> {
        let result = self.try_commit(lease, picture).await;
        let result = result.map_err(|error| self.name_full(error));
        match &result {
            Err(Error::DiskFull { .. }) => self.set_disk_full(true).await?,
            Ok(_) => self.set_disk_full(false).await?,
            Err(_) => {}
        }
        result
    }

    async fn try_commit(&self, lease: &Lease, picture: &NewPicture) -> Result<Committed> {
        let _files = self.inner.files.read().await;
        // Asked once before anything is written, and again in the transaction.
        let mut tx = self.write().await?;
        let held = tx.held(lease).await?;
        let known = tx.committed(lease.job, picture.n).await?;
        drop(tx);
        if let Some(id) = known {
            return Ok(Committed { id, known: true });
        }
        let (n, total) = (picture.n, held.job.pictures_total);
        if n >= total {
            let why = format!("is {n}, and the job has pictures 0 to {total}, the last excluded");
            return Err(Error::Argument { field: "n", why });
        }
        let id = held.job.picture(n);
        self.put_file(id, picture).await?;
        self.put_row(lease, id, picture).await
    }

    /// The file of a picture, if the disk holds it.
    pub(super) async fn put_file(&self, id: Ulid, picture: &NewPicture) -> Result<()> {
        if self.free()? < picture.bytes.len() as u64 {
            return Err(self.disk_full_error());
        }
        let bytes = picture.bytes.clone();
        self.inner
            .store
            .put_picture(id, picture.format, bytes)
            .await
    }

    async fn put_row(&self, lease: &Lease, id: Ulid, picture: &NewPicture) -> Result<Committed> {
        let sha256 = hex(&Sha256::digest(&picture.bytes));
        let mut tx = self.write().await?;
        let held = tx.held(lease).await?;
        if tx.committed(lease.job, picture.n).await?.is_some() {
            return Ok(Committed { id, known: true });
        }
        // The picture after this one has been begun once.
        let raise = sql(
            "UPDATE jobs SET pictures_done = pictures_done + 1, attempt = 1, lease_until = $1 \
             WHERE id = $2 AND token = $3 AND state = 'running'",
        );
        let until = tx.now + self.inner.limits.lease_ms;
        let raise = raise
            .with(until)
            .with(lease.job.to_string())
            .with(lease.token);
        if tx.run(raise).await? == 0 {
            return Err(Error::LeaseLost);
        }
        let user = held.job.user;
        tx.insert_picture(&user, Some(lease.job), id, picture, &sha256)
            .await?;
        let change = Change::Picture {
            id,
            job: Some(lease.job),
        };
        tx.tell(&user, change);
        tx.commit().await?;
        Ok(Committed { id, known: false })
    }

    /// Pauses the queue of this process, or lets it go on.
    async fn set_disk_full(&self, full: bool) -> Result<()> {
        let since = full.then(|| (self.inner.outside.now)());
        {
            let mut known = locked(&self.inner.disk_full);
            if known.is_some() == full {
                return Ok(());
            }
            *known = since;
        }
        self.db().wake();
        // The tables may be on the full disk, so that nobody can be told but those who wait here.
        let mut tx = self.write().await?;
        tx.tell("", Change::Paused { paused: full });
        match tx.commit().await {
            Err(Error::Database(error)) if super::is_full(&error) => Ok(()),
            result => result,
        }
    }

    /// The job is done.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`]; [`Error::Incomplete`] while promised pictures are not committed.
    pub async fn finish(&self, lease: &Lease, result: Option<&str>) -> Result<Job> {
        let mut tx = self.write().await?;
        let held = tx.held(lease).await?;
        let (done, total) = (held.job.pictures_done, held.job.pictures_total);
        if done < total {
            return Err(Error::Incomplete { done, total });
        }
        let job = tx.end(&held, State::Done, None, result).await?;
        tx.commit().await?;
        Ok(job)
    }

    /// The job has failed.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`].
    pub async fn fail(&self, lease: &Lease, code: &str, message: &str) -> Result<Job> {
        let failure = Failure {
            code: code.to_owned(),
            message: message.replace('\0', "\u{fffd}"),
        };
        let mut tx = self.write().await?;
        let held = tx.held(lease).await?;
        let job = tx.end(&held, State::Failed, Some(&failure), None).await?;
        tx.commit().await?;
        Ok(job)
    }

    /// The job was to stop, and has stopped. It is cancelled.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`]; [`Error::WrongState`] if nobody asked.
    pub async fn stopped(&self, lease: &Lease) -> Result<Job> {
        let mut tx = self.write().await?;
        let held = tx.held(lease).await?;
        if held.job.cancel.is_none() {
            return Err(Error::WrongState {
                state: held.job.state,
                wanted: "running and to be cancelled",
            });
        }
        let job = tx.end(&held, State::Cancelled, None, None).await?;
        tx.commit().await?;
        Ok(job)
    }

    /// Gives the job back, to be queued at its old place, without counting the attempt: the process is shutting down. A job
    /// that was to stop is cancelled.
    ///
    /// # Errors
    ///
    /// [`Error::LeaseLost`].
    pub async fn release(&self, lease: &Lease) -> Result<Job> {
        let mut tx = self.write().await?;
        let held = tx.held(lease).await?;
        let job = match held.job.cancel {
            Some(_) => tx.end(&held, State::Cancelled, None, None).await?,
            None => {
                tx.requeue(&held, held.job.attempt.saturating_sub(1))
                    .await?
            }
        };
        tx.commit().await?;
        Ok(job)
    }
}

impl Tx {
    /// The job of a lease that is still held.
    async fn held(&mut self, lease: &Lease) -> Result<Held> {
        let held = match self.job(lease.job, None).await {
            Err(Error::NoJob) => return Err(Error::LeaseLost),
            held => held?,
        };
        if held.job.state != State::Running || held.token != lease.token {
            return Err(Error::LeaseLost);
        }
        Ok(held)
    }

    /// The id of a job's picture that is in the catalogue.
    async fn committed(&mut self, job: Ulid, n: u32) -> Result<Option<Ulid>> {
        let find = sql("SELECT id FROM images WHERE job = $1 AND n = $2");
        let row = self
            .one(find.with(job.to_string()).with(i64::from(n)))
            .await?;
        row.map(|row| row.id("id")).transpose()
    }
}
