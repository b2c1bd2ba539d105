//! How a job goes from one state to another. Each statement names the old state and the token, so that it happens once.

use std::collections::BTreeSet;

use crate::db::{Columns, JOB, Sql, Tx, job_of, sql};
use crate::{Change, Error, Failure, Job, Result, State, Ulid};

/// A job, its row locked, with the fencing token.
pub(super) struct Held {
    pub(super) job: Job,
    pub(super) token: i64,
}

impl Tx {
    /// The job of that id, if it is the user's.
    pub(super) async fn job(&mut self, id: Ulid, user: Option<&str>) -> Result<Held> {
        let mut query = sql(format!("SELECT {JOB} FROM jobs j WHERE id = $1")).with(id.to_string());
        if let Some(user) = user {
            query.push_with(" AND owner = ?", user);
        }
        query.push(self.dialect().lock());
        let row = self.one(query).await?.ok_or(Error::NoJob)?;
        Ok(Held {
            job: job_of(&row)?,
            token: row.int("token")?,
        })
    }

    /// The pictures of a job that are not committed, rising.
    pub(super) async fn missing(&mut self, job: &Job) -> Result<Vec<u32>> {
        let find = sql("SELECT n FROM images WHERE job = $1").with(job.id.to_string());
        let there = self.all(find).await?;
        let there = there
            .iter()
            .map(|row| row.count("n"))
            .collect::<Result<BTreeSet<_>>>()?;
        Ok((0..job.pictures_total)
            .filter(|n| !there.contains(n))
            .collect())
    }

    /// Ends a job that is in state `held.job.state`.
    pub(super) async fn end(
        &mut self,
        held: &Held,
        state: State,
        failure: Option<&Failure>,
        result: Option<&str>,
    ) -> Result<Job> {
        let end = sql(format!(
            "UPDATE jobs SET state = $1, finished = $2, worker = NULL, lease_until = NULL, pushed = 0, error_code = $3, \
             error = $4, result = $5 WHERE id = $6 AND state = $7 AND token = $8 RETURNING {JOB}"
        ));
        let end = end
            .with(state.as_str())
            .with(self.now)
            .with(failure.map(|failure| failure.code.clone()))
            .with(failure.map(|failure| failure.message.clone()))
            .with(result.map(str::to_owned));
        self.changed(end, held).await
    }

    /// Queues a job that is in state `held.job.state` again, at its old place.
    pub(super) async fn requeue(&mut self, held: &Held, attempt: u32) -> Result<Job> {
        let requeue = sql(format!(
            "UPDATE jobs SET state = 'queued', finished = NULL, worker = NULL, lease_until = NULL, cancel = NULL, \
             error_code = NULL, error = NULL, result = NULL, attempt = $1 \
             WHERE id = $2 AND state = $3 AND token = $4 RETURNING {JOB}"
        ));
        self.changed(requeue.with(i64::from(attempt)), held).await
    }

    /// Binds id, state and token, runs the statement and tells of the job's new state.
    async fn changed(&mut self, change: Sql, held: &Held) -> Result<Job> {
        let change = change
            .with(held.job.id.to_string())
            .with(held.job.state.as_str())
            .with(held.token);
        let row = self.one(change).await?.ok_or(Error::LeaseLost)?;
        let job = job_of(&row)?;
        self.tell_state(&job);
        Ok(job)
    }

    pub(super) fn tell_state(&mut self, job: &Job) {
        let change = Change::Job {
            id: job.id,
            state: job.state,
        };
        self.tell(&job.user, change);
    }
}
