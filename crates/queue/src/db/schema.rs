//! The tables and how older ones become newer ones.

use sqlx::AnyPool;

use super::{Columns, Dialect, sql};
use crate::{Error, Result};

/// Each version is what is done to the one before it. Entries are never changed, only added.
const VERSIONS: &[&str] = &[include_str!("schema/1.sql")];

/// Brings the tables to the latest version, in one transaction.
pub(super) async fn update(pool: &AnyPool, dialect: Dialect) -> Result<()> {
    let mut tx = pool.begin_with(dialect.begin()).await?;
    if let Some(lock) = dialect.lock_schema() {
        sql(lock).query().execute(&mut *tx).await?;
    }
    let table = "CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)";
    sql(table).query().execute(&mut *tx).await?;
    let newest = sql("SELECT COALESCE(max(version), 0) AS version FROM schema_version");
    let found = newest.query().fetch_one(&mut *tx).await?.int("version")?;
    let known = VERSIONS.len() as i64;
    if found > known {
        return Err(Error::Schema { found, known });
    }
    for (version, text) in (1..).zip(VERSIONS).filter(|(version, _)| *version > found) {
        let text = dialect.schema(text);
        sqlx::raw_sql(sqlx::AssertSqlSafe(text))
            .execute(&mut *tx)
            .await?;
        let insert = sql("INSERT INTO schema_version (version) VALUES ($1)").with(version);
        insert.query().execute(&mut *tx).await?;
    }
    Ok(tx.commit().await?)
}
