//! Rows to values.

use sqlx::Row;
use sqlx::any::AnyRow;

use crate::{Cancel, Error, Failure, Format, Job, Picture, Result, State, Ulid};

/// The columns that [`job_of`] reads.
pub(crate) const JOB: &str = "id, owner, kind, request, model, state, priority, created, started, finished, \
     first_picture, pictures_total, pictures_done, attempt, token, worker, lease_until, cancel, error_code, error, result";

/// The columns that [`picture_of`] reads, of `images i` and `details d`.
pub(crate) const IMAGE: &str = "i.row, i.id, i.owner, i.job, i.n, i.seed, i.model, i.sampler, i.steps, i.width, i.height, \
     i.format, i.bytes, i.sha256, i.starred, i.created, i.deleted, d.prompt, d.negative, d.infotext, d.request, d.tags";

/// Reading of columns by name.
pub(crate) trait Columns {
    fn int(&self, name: &str) -> Result<i64>;
    fn int_if(&self, name: &str) -> Result<Option<i64>>;
    fn text(&self, name: &str) -> Result<String>;
    fn text_if(&self, name: &str) -> Result<Option<String>>;

    fn count(&self, name: &str) -> Result<u32> {
        let value = self.int(name)?;
        u32::try_from(value).map_err(|_| Error::Row(format!("{name} is {value}")))
    }

    fn id(&self, name: &str) -> Result<Ulid> {
        parse_id(&self.text(name)?)
    }

    fn id_if(&self, name: &str) -> Result<Option<Ulid>> {
        self.text_if(name)?.as_deref().map(parse_id).transpose()
    }

    fn state(&self, name: &str) -> Result<State> {
        let word = self.text(name)?;
        State::parse(&word).ok_or_else(|| Error::Row(format!("{word:?} as the state of a job")))
    }
}

fn parse_id(text: &str) -> Result<Ulid> {
    Ulid::from_string(text).map_err(|e| Error::Row(format!("{text:?} as an id: {e}")))
}

impl Columns for AnyRow {
    fn int(&self, name: &str) -> Result<i64> {
        Ok(self.try_get(name)?)
    }

    fn int_if(&self, name: &str) -> Result<Option<i64>> {
        Ok(self.try_get(name)?)
    }

    fn text(&self, name: &str) -> Result<String> {
        Ok(self.try_get(name)?)
    }

    fn text_if(&self, name: &str) -> Result<Option<String>> {
        Ok(self.try_get(name)?)
    }
}

/// A job of a row with the columns [`JOB`].
pub(crate) fn job_of(row: &AnyRow) -> Result<Job> {
    let failure = match row.text_if("error_code")? {
        Some(code) => Some(Failure {
            code,
            message: row.text_if("error")?.unwrap_or_default(),
        }),
        None => None,
    };
    Ok(Job {
        id: row.id("id")?,
        user: row.text("owner")?,
        kind: row.text("kind")?,
        request: row.text("request")?,
        model: row.text_if("model")?,
        state: row.state("state")?,
        priority: i32::try_from(row.int("priority")?)
            .map_err(|_| Error::Row("a priority out of range".into()))?,
        created_ms: row.int("created")?,
        started_ms: row.int_if("started")?,
        finished_ms: row.int_if("finished")?,
        first_picture: row.id("first_picture")?,
        pictures_total: row.count("pictures_total")?,
        pictures_done: row.count("pictures_done")?,
        attempt: row.count("attempt")?,
        worker: row.text_if("worker")?,
        lease_until_ms: row.int_if("lease_until")?,
        cancel: row
            .text_if("cancel")?
            .as_deref()
            .map(Cancel::parse)
            .transpose()?,
        failure,
        result: row.text_if("result")?,
    })
}

/// A picture of a row with the columns [`IMAGE`].
pub(crate) fn picture_of(row: &AnyRow) -> Result<Picture> {
    let tags = row.text("tags")?;
    Ok(Picture {
        id: row.id("id")?,
        row: row.int("row")?,
        job: row.id_if("job")?,
        n: row.count("n")?,
        user: row.text("owner")?,
        format: Format::parse(&row.text("format")?)?,
        bytes: row.int("bytes")?.cast_unsigned(),
        sha256: row.text("sha256")?,
        width: row.count("width")?,
        height: row.count("height")?,
        // A seed has 64 bits without a sign, a column 64 with one: the bits are kept.
        seed: row.int_if("seed")?.map(i64::cast_unsigned),
        sampler: row.text_if("sampler")?,
        steps: row
            .int_if("steps")?
            .map(|_| row.count("steps"))
            .transpose()?,
        model: row.text_if("model")?,
        prompt: row.text("prompt")?,
        negative: row.text("negative")?,
        infotext: row.text("infotext")?,
        request: row.text("request")?,
        starred: row.int("starred")? != 0,
        tags: tags.lines().map(str::to_owned).collect(),
        created_ms: row.int("created")?,
        deleted_ms: row.int_if("deleted")?,
    })
}
