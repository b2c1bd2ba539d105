//! Which job is next, and who gets it.

use super::{Queue, locked};
use crate::db::{Columns, JOB, Tx, job_of, sql};
use crate::{Able, Claimed, Error, Lease, Result};

/// The jobs of one model that a worker was given in a row because the model was loaded.
#[derive(Clone, Debug)]
pub(super) struct Streak {
    model: String,
    jobs: u32,
    since: i64,
}

/// The models of a worker, and the empty name of none; nothing where it has all.
fn with_none<'a>(models: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let none = (!models.is_empty()).then_some("");
    models.iter().copied().chain(none)
}

impl Queue {
    /// Takes the next job, if there is one and the queue is not paused. Prefers jobs of the loaded model for at most 4
    /// jobs in a row or 60 s, then higher priority, then the user who was served longest ago, then the order of the user.
    /// Where there is none, wait for [`changed`](Self::changed), at most a second.
    ///
    /// `kinds` are the kinds that this worker can do; empty means all.
    pub async fn claim(
        &self,
        worker: &str,
        kinds: &[&str],
        loaded: Option<&str>,
    ) -> Result<Option<Claimed>> {
        let able = Able {
            kinds,
            models: &[],
            loaded,
        };
        self.claim_able(worker, able).await
    }

    /// The same for a worker that has some models only. Jobs that need none are for all.
    ///
    /// # Errors
    ///
    /// As [`claim`](Self::claim).
    pub async fn claim_able(&self, worker: &str, able: Able<'_>) -> Result<Option<Claimed>> {
        if locked(&self.inner.disk_full).is_some() {
            return Ok(None);
        }
        let mut tx = self.write().await?;
        self.take_back(&mut tx, true).await?;
        let preferred = able.loaded;
        let preferred = preferred.filter(|model| self.may_prefer(worker, model, tx.now));
        let Some(claimed) = self.next(&mut tx, worker, able, preferred).await? else {
            // What ran out is queued again, or failed, whether or not there is a job to be had.
            tx.commit().await?;
            return Ok(None);
        };
        let now = tx.now;
        tx.commit().await?;
        self.count(worker, claimed.job.model.as_deref(), preferred, now);
        Ok(Some(claimed))
    }

    async fn next(
        &self,
        tx: &mut Tx,
        worker: &str,
        able: Able<'_>,
        preferred: Option<&str>,
    ) -> Result<Option<Claimed>> {
        let paused = sql("SELECT 1 AS paused FROM queue WHERE paused IS NOT NULL");
        if tx.one(paused).await?.is_some() {
            return Ok(None);
        }
        // A job that a user put next counts as one of the loaded model, or it would not be next.
        let mut find = sql(
            "SELECT j.id FROM jobs j LEFT JOIN owners o ON o.name = j.owner WHERE j.state = 'queued'",
        );
        find.push_in("j.kind", able.kinds.iter().copied());
        find.push_in("COALESCE(j.model, '')", with_none(able.models));
        find.push(" ORDER BY ");
        if let Some(model) = preferred {
            find.push_with(
                "CASE WHEN j.pushed = 1 OR j.model = ? THEN 0 ELSE 1 END, ",
                model,
            );
        }
        find.push("j.priority DESC, COALESCE(o.served, 0), j.place, j.id LIMIT 1");
        find.push(tx.dialect().lock_free());
        let Some(row) = tx.one(find).await? else {
            return Ok(None);
        };
        let take = sql(format!(
            "UPDATE jobs SET state = 'running', token = token + 1, attempt = attempt + 1, worker = $1, lease_until = $2, \
             started = COALESCE(started, $3), pushed = 0 WHERE id = $4 AND state = 'queued' RETURNING {JOB}"
        ));
        let until = tx.now + self.inner.limits.lease_ms;
        let take = take
            .with(worker)
            .with(until)
            .with(tx.now)
            .with(row.text("id")?);
        let row = tx.one(take).await?;
        let row = row.ok_or_else(|| Error::Row("a job that was locked has changed".into()))?;
        let job = job_of(&row)?;
        let serve = sql(
            "INSERT INTO owners (name, served) VALUES ($1, (SELECT COALESCE(max(served), 0) + 1 FROM owners)) \
             ON CONFLICT (name) DO UPDATE SET served = excluded.served",
        );
        tx.run(serve.with(job.user.as_str())).await?;
        tx.tell_state(&job);
        let lease = Lease {
            job: job.id,
            token: row.int("token")?,
        };
        let missing = tx.missing(&job).await?;
        Ok(Some(Claimed {
            job,
            lease,
            missing,
        }))
    }

    /// Whether a worker may be given another job because its model is loaded.
    fn may_prefer(&self, worker: &str, model: &str, now: i64) -> bool {
        let limits = &self.inner.limits;
        match locked(&self.inner.streaks).get(worker) {
            Some(streak) if streak.model == model => {
                streak.jobs < limits.affinity_jobs && now - streak.since < limits.affinity_ms
            }
            _ => true,
        }
    }

    /// Counts the job that a worker was given. One that was its turn anyway begins a new streak.
    fn count(&self, worker: &str, model: Option<&str>, preferred: Option<&str>, now: i64) {
        let mut streaks = locked(&self.inner.streaks);
        let Some(model) = model else {
            streaks.remove(worker);
            return;
        };
        match streaks.get_mut(worker) {
            Some(streak) if streak.model == model && preferred == Some(model) => streak.jobs += 1,
            _ => {
                let streak = Streak {
                    model: model.to_owned(),
                    jobs: 1,
                    since: now,
                };
                streaks.insert(worker.to_owned(), streak);
            }
        }
    }
}
