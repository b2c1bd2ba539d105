//! Jobs whose worker is gone.

use super::Queue;
use super::states::Held;
use crate::db::{Columns, JOB, Tx, job_of, sql};
use crate::{Failure, Job, Result, State};

impl Queue {
    /// Takes every running job from its worker, as if all leases had run out: for the start of a single process. Each is
    /// queued again and goes on at its first missing picture; or cancelled, if it was to stop; or done, if nothing was
    /// missing; or failed with the code `crashed` at the third crash within one picture. Files of pictures without a row and
    /// half-written files are removed; where files were in memory, so is all that tells of them. Returns how many jobs were running.
    pub async fn recover(&self) -> Result<u64> {
        if self.inner.store.is_in_memory() {
            self.forget().await?;
        }
        let _alone = self.inner.files.write().await;
        let mut tx = self.write().await?;
        let jobs = self.take_back(&mut tx, false).await?;
        let mut orphans = Vec::new();
        for job in &jobs {
            let missing = tx.missing(job).await?;
            orphans.extend(missing.into_iter().map(|n| job.picture(n)));
        }
        tx.commit().await?;
        for id in orphans {
            self.inner.store.remove_picture(id).await?;
        }
        self.inner.store.remove_parts().await?;
        Ok(jobs.len() as u64)
    }

    /// The same for jobs whose lease has run out, without the files. Call it every few seconds; claims do it too.
    pub async fn expire(&self) -> Result<u64> {
        let mut tx = self.write().await?;
        let jobs = self.take_back(&mut tx, true).await?;
        tx.commit().await?;
        Ok(jobs.len() as u64)
    }

    /// Takes running jobs from their workers, all of them or those whose lease ran out.
    pub(super) async fn take_back(&self, tx: &mut Tx, expired: bool) -> Result<Vec<Job>> {
        let mut find = sql(format!("SELECT {JOB} FROM jobs j WHERE state = 'running'"));
        if expired {
            find.push_with(" AND lease_until < ?", tx.now);
        }
        find.push(" ORDER BY id");
        find.push(tx.dialect().lock_free());
        let mut jobs = Vec::new();
        for row in tx.all(find).await? {
            let held = Held {
                job: job_of(&row)?,
                token: row.int("token")?,
            };
            jobs.push(self.crashed(tx, &held).await?);
        }
        Ok(jobs)
    }

    /// What becomes of a job whose worker died.
    async fn crashed(&self, tx: &mut Tx, held: &Held) -> Result<Job> {
        let job = &held.job;
        if job.pictures_total > 0 && job.pictures_done == job.pictures_total {
            return tx.end(held, State::Done, None, None).await;
        }
        if job.cancel.is_some() {
            return tx.end(held, State::Cancelled, None, None).await;
        }
        if job.attempt < self.inner.limits.crashes {
            return tx.requeue(held, job.attempt).await;
        }
        let failure = Failure {
            code: "crashed".to_owned(),
            message: format!(
                "the program ended {} times while it drew picture {} of {}",
                job.attempt,
                job.pictures_done + 1,
                job.pictures_total
            ),
        };
        tx.end(held, State::Failed, Some(&failure), None).await
    }
}
