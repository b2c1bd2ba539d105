//! What users do with jobs: cancel, retry, move, pause.

use super::Queue;
use crate::db::{Columns, JOB, Tx, job_of, sql};
use crate::{Cancel, Cancelled, Change, Error, Job, Move, Result, State, Ulid};

impl Queue {
    /// Cancels a job in any state. A waiting one is cancelled at once; the worker of a running one sees it in
    /// [`renew`](Self::renew) and in the events, and answers with [`stopped`](Self::stopped). Asked again, the last way counts.
    ///
    /// # Errors
    ///
    /// [`Error::NoJob`].
    pub async fn cancel(&self, id: Ulid, user: Option<&str>, how: Cancel) -> Result<Cancelled> {
        let mut tx = self.write().await?;
        let held = tx.job(id, user).await?;
        match held.job.state {
            State::Queued => {
                tx.end(&held, State::Cancelled, None, None).await?;
                tx.commit().await?;
                Ok(Cancelled::Now)
            }
            State::Running => {
                let ask = sql("UPDATE jobs SET cancel = $1 WHERE id = $2 AND state = 'running'");
                tx.run(ask.with(how.as_str()).with(id.to_string())).await?;
                tx.tell(&held.job.user, Change::CancelAsked { id, cancel: how });
                tx.commit().await?;
                Ok(Cancelled::Asked)
            }
            ended => Ok(Cancelled::Ended(ended)),
        }
    }

    /// Queues a failed or cancelled job again, behind the others of its owner. What it has committed stays, but for what was
    /// purged since, which is made again.
    ///
    /// # Errors
    ///
    /// [`Error::NoJob`], [`Error::WrongState`], [`Error::UserFull`], [`Error::QueueFull`].
    pub async fn retry(&self, id: Ulid, user: Option<&str>) -> Result<Job> {
        let mut tx = self.write().await?;
        let held = tx.job(id, user).await?;
        if !matches!(held.job.state, State::Failed | State::Cancelled) {
            return Err(Error::WrongState {
                state: held.job.state,
                wanted: "failed or cancelled",
            });
        }
        self.check_waiting(&mut tx, &held.job.user).await?;
        tx.requeue(&held, 0).await?;
        let renew = sql(format!(
            "UPDATE jobs SET pictures_done = (SELECT count(*) FROM images WHERE job = $1), started = NULL, \
             place = (SELECT COALESCE(max(place), 0) + 1 FROM jobs WHERE owner = $2 AND state IN ('queued', 'running')) \
             WHERE id = $1 RETURNING {JOB}"
        ));
        let renew = renew.with(id.to_string()).with(held.job.user.as_str());
        let job = job_of(&tx.one(renew).await?.ok_or(Error::NoJob)?)?;
        tx.commit().await?;
        Ok(job)
    }

    /// Gives a waiting job another place.
    ///
    /// # Errors
    ///
    /// [`Error::NoJob`], also for the other one; [`Error::WrongState`] if one does not wait.
    pub async fn move_job(&self, id: Ulid, user: Option<&str>, to: Move) -> Result<()> {
        let mut tx = self.write().await?;
        let job = waiting(&mut tx, id, user).await?;
        if to == Move::Before(id) {
            return Ok(());
        }
        let mut order = line_of(&mut tx, &job.user).await?;
        order.retain(|place| place.id != id);
        let (at, priority, pushed) = match to {
            Move::Next => {
                let first = order.iter().map(|place| place.priority).max();
                (0, first.unwrap_or(0).max(job.priority.into()), 1)
            }
            Move::Last => {
                let last = order.iter().map(|place| place.priority).min();
                (order.len(), last.unwrap_or(0).min(job.priority.into()), 0)
            }
            Move::Before(other) => {
                waiting(&mut tx, other, Some(&job.user)).await?;
                let at = order.iter().position(|place| place.id == other);
                let at = at.ok_or(Error::NoJob)?;
                (at, order[at].priority, order[at].pushed)
            }
        };
        let moved = Place {
            id,
            priority,
            pushed,
        };
        order.insert(at, moved);
        for (place, job) in (1_i64..).zip(&order) {
            let put = sql(
                "UPDATE jobs SET place = $1, priority = $2, pushed = $3 WHERE id = $4 AND state = 'queued'",
            );
            let put = put.with(place).with(job.priority).with(job.pushed);
            tx.run(put.with(job.id.to_string())).await?;
        }
        tx.tell(&job.user, Change::Order);
        tx.commit().await
    }

    /// Nothing is claimed any more, for a reason that is shown. Running jobs go on. Also after a restart.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn pause(&self, reason: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let pause = sql("UPDATE queue SET paused = $1, paused_since = $2").with(reason);
        tx.run(pause.with(tx.now)).await?;
        tx.tell("", Change::Paused { paused: true });
        tx.commit().await
    }

    /// Goes on, also if the disk was full: the next picture tries it again.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn resume(&self) -> Result<()> {
        let mut tx = self.write().await?;
        tx.run(sql("UPDATE queue SET paused = NULL, paused_since = NULL"))
            .await?;
        *super::locked(&self.inner.disk_full) = None;
        tx.tell("", Change::Paused { paused: false });
        tx.commit().await
    }

    /// Cancels all waiting jobs of a user, or all there are. Returns how many.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn clear(&self, user: Option<&str>) -> Result<u64> {
        let mut tx = self.write().await?;
        let mut clear = sql(
            "UPDATE jobs SET state = 'cancelled', pushed = 0, finished = $1 WHERE state = 'queued'",
        );
        clear.bind(tx.now);
        if let Some(user) = user {
            clear.push_with(" AND owner = ?", user);
        }
        clear.push(&format!(" RETURNING {JOB}"));
        let rows = tx.all(clear).await?;
        for row in &rows {
            tx.tell_state(&job_of(row)?);
        }
        tx.commit().await?;
        Ok(rows.len() as u64)
    }
}

/// A waiting job's place in the line of its owner.
struct Place {
    id: Ulid,
    priority: i64,
    pushed: i64,
}

/// The job of that id, which must wait.
async fn waiting(tx: &mut Tx, id: Ulid, user: Option<&str>) -> Result<Job> {
    let job = tx.job(id, user).await?.job;
    match job.state {
        State::Queued => Ok(job),
        state => Err(Error::WrongState {
            state,
            wanted: "queued",
        }),
    }
}

/// The waiting jobs of a user in their order.
async fn line_of(tx: &mut Tx, user: &str) -> Result<Vec<Place>> {
    let mut find = sql(
        "SELECT id, priority, pushed FROM jobs j WHERE state = 'queued' AND owner = $1 \
         ORDER BY priority DESC, place, id",
    );
    find.push(tx.dialect().lock());
    let rows = tx.all(find.with(user)).await?;
    rows.iter()
        .map(|row| {
            Ok(Place {
                id: row.id("id")?,
                priority: row.int("priority")?,
                pushed: row.int("pushed")?,
            })
        })
        .collect()
}
