//! Taking jobs in.

use sha2::{Digest, Sha256};

use super::Queue;
use crate::db::{Columns, JOB, Tx, job_of, sql};
use crate::{Accepted, Error, Idempotency, Job, NewJob, Result};

/// What is said before any job has been measured.
const UNMEASURED_MS: u64 = 5_000;
/// Bounds of names, so that a row stays small.
const NAME_BYTES: usize = 200;
const KEY_BYTES: usize = 255;

impl Queue {
    /// Takes a job in.
    ///
    /// # Errors
    ///
    /// [`Error::KeyReused`], [`Error::UserFull`], [`Error::QueueFull`], [`Error::NoRoom`], [`Error::NoInput`],
    /// [`Error::Argument`], [`Error::DiskFull`].
    pub async fn submit(&self, new: NewJob) -> Result<Accepted> {
        check(&new)?;
        match self.try_submit(&new).await {
            // Another process of PostgreSQL was faster with the same key, which is now there to be read.
            Err(Error::Database(error)) if is_unique(&error) => self.try_submit(&new).await,
            result => result,
        }
        .map_err(|error| self.name_full(error))
    }

    async fn try_submit(&self, new: &NewJob) -> Result<Accepted> {
        let mut tx = self.write().await?;
        let hash = new
            .idempotency
            .as_ref()
            .map(|given| body_hash(&new.kind, given));
        if let (Some(given), Some(hash)) = (&new.idempotency, &hash)
            && let Some(job) = self.known(&mut tx, &new.user, given, hash).await?
        {
            tx.commit().await?;
            return Ok(Accepted { job, known: true });
        }
        self.check_room(new.bytes_needed)?;
        self.check_waiting(&mut tx, &new.user).await?;
        check_inputs(&mut tx, &new.inputs).await?;
        let job = self.insert(&mut tx, new, hash).await?;
        tx.tell_state(&job);
        tx.commit().await?;
        Ok(Accepted { job, known: false })
    }

    /// The job that came with this key in the last 24 hours. An older one gives the key up.
    async fn known(
        &self,
        tx: &mut Tx,
        user: &str,
        given: &Idempotency,
        hash: &str,
    ) -> Result<Option<Job>> {
        let find = sql(format!(
            "SELECT {JOB}, request_hash FROM jobs WHERE owner = $1 AND idempotency_key = $2"
        ));
        let Some(row) = tx.one(find.with(user).with(given.key.as_str())).await? else {
            return Ok(None);
        };
        let job = job_of(&row)?;
        if job.created_ms <= tx.now - self.inner.limits.key_ms {
            let forget = sql("UPDATE jobs SET idempotency_key = NULL WHERE id = $1");
            tx.run(forget.with(job.id.to_string())).await?;
            return Ok(None);
        }
        if row.text_if("request_hash")?.as_deref() != Some(hash) {
            return Err(Error::KeyReused {
                key: given.key.clone(),
            });
        }
        Ok(Some(job))
    }

    /// The disk must hold what the job may write, and the reserve in any case.
    pub(super) fn check_room(&self, asked: u64) -> Result<()> {
        let (free, needed) = (self.free()?, asked.max(self.inner.limits.reserve));
        if free < needed {
            return Err(Error::NoRoom {
                folder: self.inner.store.root().to_owned(),
                free,
                needed,
            });
        }
        Ok(())
    }

    /// Refuses one job more than may wait.
    pub(super) async fn check_waiting(&self, tx: &mut Tx, user: &str) -> Result<()> {
        let count = sql(
            "SELECT count(*) AS waiting, count(CASE WHEN owner = $1 THEN 1 END) AS own, count(DISTINCT owner) AS owners \
             FROM jobs WHERE state = 'queued'",
        );
        let Some(row) = tx.one(count.with(user)).await? else {
            return Ok(());
        };
        let number = |name| Ok::<u64, Error>(row.int(name)?.cast_unsigned());
        let (waiting, own, owners) = (number("waiting")?, number("own")?, number("owners")?);
        let limits = &self.inner.limits;
        if waiting >= limits.waiting {
            return Err(Error::QueueFull {
                waiting,
                most: limits.waiting,
                retry_after_ms: mean(tx).await?,
            });
        }
        if own >= limits.waiting_user {
            // Users take turns, so one's own turn comes after as many jobs as there are users.
            return Err(Error::UserFull {
                waiting: own,
                most: limits.waiting_user,
                retry_after_ms: mean(tx).await? * owners.max(1),
            });
        }
        Ok(())
    }

    async fn insert(&self, tx: &mut Tx, new: &NewJob, hash: Option<String>) -> Result<Job> {
        let insert = sql(format!(
            "INSERT INTO jobs (id, owner, kind, request, model, pictures_total, priority, created, first_picture, \
             idempotency_key, request_hash, state, place) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'queued', (SELECT COALESCE(max(place), 0) + 1 FROM jobs \
             WHERE owner = $2 AND state IN ('queued', 'running'))) RETURNING {JOB}"
        ));
        let insert = insert
            .with(self.new_id(tx.now).to_string())
            .with(new.user.as_str())
            .with(new.kind.as_str())
            .with(new.request.as_str())
            .with(new.model.clone())
            .with(i64::from(new.pictures))
            .with(i64::from(new.priority))
            .with(tx.now)
            .with(self.new_id(tx.now).to_string())
            .with(new.idempotency.as_ref().map(|given| given.key.clone()))
            .with(hash);
        let row = tx.one(insert).await?;
        let job = job_of(&row.ok_or_else(|| Error::Row("no row for a new job".into()))?)?;
        for sha256 in &new.inputs {
            let insert =
                sql("INSERT INTO job_inputs (job, sha256) VALUES ($1, $2) ON CONFLICT DO NOTHING");
            tx.run(insert.with(job.id.to_string()).with(sha256.as_str()))
                .await?;
        }
        Ok(job)
    }
}

/// The mean time of the last jobs that were done, for who is told to come back.
async fn mean(tx: &mut Tx) -> Result<u64> {
    let row = tx.one(sql(super::jobs::MEAN)).await?;
    let mean = row.map(|row| row.int_if("mean")).transpose()?.flatten();
    Ok(mean.map_or(UNMEASURED_MS, |mean| mean.max(1).cast_unsigned()))
}

async fn check_inputs(tx: &mut Tx, inputs: &[String]) -> Result<()> {
    for sha256 in inputs {
        let find = sql("SELECT 1 AS found FROM inputs WHERE sha256 = $1").with(sha256.as_str());
        if tx.one(find).await?.is_none() {
            return Err(Error::NoInput {
                sha256: sha256.clone(),
            });
        }
    }
    Ok(())
}

fn check(new: &NewJob) -> Result<()> {
    let mut fields = vec![("user", new.user.as_str(), NAME_BYTES)];
    fields.push(("kind", &new.kind, NAME_BYTES));
    if let Some(model) = &new.model {
        fields.push(("model", model, 4 * NAME_BYTES));
    }
    if let Some(given) = &new.idempotency {
        fields.push(("idempotency key", &given.key, KEY_BYTES));
    }
    for (field, text, most) in fields {
        if text.is_empty() || text.len() > most || text.contains('\0') {
            let why = format!(
                "is {} bytes; from 1 to {most} without a zero byte will do",
                text.len()
            );
            return Err(Error::Argument { field, why });
        }
    }
    if new.request.contains('\0') {
        let why = "has a zero byte; JSON has none".to_owned();
        return Err(Error::Argument {
            field: "request",
            why,
        });
    }
    Ok(())
}

/// What tells a repeated request from another one.
fn body_hash(kind: &str, given: &Idempotency) -> String {
    let mut hash = Sha256::new();
    hash.update(kind.as_bytes());
    hash.update([0]);
    hash.update(&given.body);
    super::inputs::hex(&hash.finalize())
}

fn is_unique(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|error| error.is_unique_violation())
}
