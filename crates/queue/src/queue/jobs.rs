//! Reading jobs.

use super::{Queue, locked};
use crate::db::{Columns, JOB, Sql, job_of, sql};
use crate::{Counts, Error, Job, JobFilter, Page, Pause, Result, State, Ulid, Waiting};

/// The mean time of the last jobs that were done, as `mean`.
pub(super) const MEAN: &str = "SELECT CAST(avg(finished - started) AS BIGINT) AS mean FROM (SELECT finished, started FROM jobs \
     WHERE finished IS NOT NULL AND state = 'done' ORDER BY finished DESC LIMIT 20) AS ended";

/// Waiting jobs with `ahead`: users take turns, beginning with the one who was served longest ago.
const WAITING: &str = "SELECT *, row_number() OVER (ORDER BY priority DESC, turn, served, place, id) - 1 AS ahead FROM \
     (SELECT j.*, COALESCE(o.served, 0) AS served, \
     row_number() OVER (PARTITION BY j.owner, j.priority ORDER BY j.place, j.id) AS turn \
     FROM jobs j LEFT JOIN owners o ON o.name = j.owner WHERE j.state = 'queued') AS queued";

/// No list has more entries.
pub(super) const MOST: u32 = 500;

impl Queue {
    /// The job of that id, if it is there and the user's (none means anybody's).
    pub async fn job(&self, id: Ulid, user: Option<&str>) -> Result<Option<Job>> {
        let mut query = sql(format!("SELECT {JOB} FROM jobs WHERE id = $1")).with(id.to_string());
        if let Some(user) = user {
            query.push_with(" AND owner = ?", user);
        }
        self.db().one(query).await?.as_ref().map(job_of).transpose()
    }

    /// Jobs, the newest first. `before` is [`Page::next`]; at most 500 at a time.
    pub async fn jobs(
        &self,
        filter: &JobFilter,
        before: Option<Ulid>,
        limit: u32,
    ) -> Result<Page<Job, Ulid>> {
        let limit = limit.clamp(1, MOST);
        let mut query = sql(format!("SELECT {JOB} FROM jobs WHERE 1 = 1"));
        filter.push(&mut query);
        if let Some(before) = before {
            query.push_with(" AND id < ?", before.to_string());
        }
        query.push_with(" ORDER BY id DESC LIMIT ?", i64::from(limit) + 1);
        let rows = self.db().all(query).await?;
        let mut items = rows.iter().map(job_of).collect::<Result<Vec<_>>>()?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(|job| job.id);
        Ok(Page { items, next })
    }

    /// Waiting jobs in the order in which they will run, with all users taken into account and those of `user` shown (none means all).
    pub async fn waiting(&self, user: Option<&str>) -> Result<Vec<Waiting>> {
        let mut query = sql(format!("SELECT * FROM ({WAITING}) AS ordered"));
        if let Some(user) = user {
            query.push_with(" WHERE owner = ?", user);
        }
        query.push(" ORDER BY ahead");
        let rows = self.db().all(query).await?;
        rows.iter()
            .map(|row| {
                Ok(Waiting {
                    job: job_of(row)?,
                    ahead: row.int("ahead")?.cast_unsigned(),
                })
            })
            .collect()
    }

    /// How many jobs are to run before this one; none if it does not wait.
    pub async fn ahead(&self, id: Ulid) -> Result<Option<u64>> {
        let query = sql(format!(
            "SELECT ahead FROM ({WAITING}) AS ordered WHERE id = $1"
        ));
        let row = self.db().one(query.with(id.to_string())).await?;
        row.map(|row| Ok(row.int("ahead")?.cast_unsigned()))
            .transpose()
    }

    /// How many jobs are in which state, of one user or all, and whether the queue is paused.
    pub async fn counts(&self, user: Option<&str>) -> Result<Counts> {
        let mut query = sql("SELECT state, count(*) AS jobs FROM jobs");
        if let Some(user) = user {
            query.push_with(" WHERE owner = ?", user);
        }
        query.push(" GROUP BY state");
        let mut counts = Counts {
            paused: self.paused().await?,
            ..Counts::default()
        };
        for row in self.db().all(query).await? {
            let count = match row.state("state")? {
                State::Queued => &mut counts.queued,
                State::Running => &mut counts.running,
                State::Done => &mut counts.done,
                State::Failed => &mut counts.failed,
                State::Cancelled => &mut counts.cancelled,
            };
            *count = row.int("jobs")?.cast_unsigned();
        }
        if let Some(row) = self.db().one(sql(MEAN)).await? {
            counts.mean_ms = row.int_if("mean")?.map(i64::cast_unsigned);
        }
        Ok(counts)
    }

    /// Why nothing is claimed: the disk, or what a user said.
    async fn paused(&self) -> Result<Option<Pause>> {
        if let Some(since_ms) = *locked(&self.inner.disk_full) {
            return Ok(Some(Pause {
                reason: self.disk_full_error().to_string(),
                disk_full: true,
                since_ms,
            }));
        }
        let query = sql("SELECT paused, paused_since FROM queue WHERE paused IS NOT NULL");
        let Some(row) = self.db().one(query).await? else {
            return Ok(None);
        };
        Ok(Some(Pause {
            reason: row.text("paused")?,
            disk_full: false,
            since_ms: row.int("paused_since")?,
        }))
    }

    /// Waits until a job has ended and returns it; none if there is no such job. Dropping the future stops waiting.
    pub async fn ended(&self, id: Ulid) -> Result<Option<Job>> {
        let mut changed = self.changed();
        loop {
            changed.mark_unchanged();
            match self.job(id, None).await? {
                Some(job) if !job.state.ended() => {}
                ended => return Ok(ended),
            }
            if changed.changed().await.is_err() {
                return Err(Error::Database(sqlx::Error::PoolClosed));
            }
        }
    }
}

impl JobFilter {
    fn push(&self, query: &mut Sql) {
        if let Some(user) = &self.user {
            query.push_with(" AND owner = ?", user.as_str());
        }
        if let Some(kind) = &self.kind {
            query.push_with(" AND kind = ?", kind.as_str());
        }
        query.push_in("state", self.states.iter().map(|state| state.as_str()));
    }
}
