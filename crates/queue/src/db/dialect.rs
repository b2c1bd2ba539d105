//! Where SQLite and PostgreSQL differ. Nothing else of the crate asks which one it is.

use super::Sql;
use super::words::Term;

/// The database's language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    #[cfg(feature = "postgres")]
    Postgres,
}

impl Dialect {
    /// Opens a transaction that writes. SQLite takes its one lock at once, so that nothing fails half way.
    pub(crate) fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            #[cfg(feature = "postgres")]
            Self::Postgres => "BEGIN",
        }
    }

    /// Sets up a connection that writes. `FULL` syncs each commit, so that it outlives a power cut. `private`: what is deleted is
    /// overwritten.
    pub(super) fn writes(self, private: bool) -> &'static str {
        match self {
            Self::Sqlite if private => {
                "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON"
            }
            Self::Sqlite => {
                "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"
            }
            #[cfg(feature = "postgres")]
            Self::Postgres => "SET lock_timeout = '5s'",
        }
    }

    /// Empties the index of words.
    pub(crate) fn forget_words(self) -> &'static str {
        match self {
            Self::Sqlite => "INSERT INTO words (words) VALUES ('delete-all')",
            #[cfg(feature = "postgres")]
            Self::Postgres => "DELETE FROM words",
        }
    }

    /// Takes what was deleted out of the index of words and out of the log.
    pub(super) fn scrub(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &[
                "INSERT INTO words (words) VALUES ('optimize')",
                "PRAGMA wal_checkpoint(TRUNCATE)",
            ],
            #[cfg(feature = "postgres")]
            Self::Postgres => &[],
        }
    }

    /// Sets up a connection that reads.
    pub(super) fn reads(self) -> &'static str {
        match self {
            Self::Sqlite => "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON",
            #[cfg(feature = "postgres")]
            Self::Postgres => "SET default_transaction_read_only = on",
        }
    }

    /// Keeps two processes from making the tables at once, where `begin` does not.
    pub(super) fn lock_schema(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            #[cfg(feature = "postgres")]
            Self::Postgres => Some("SELECT pg_advisory_xact_lock(7165748)"),
        }
    }

    /// Fills in a version of the tables.
    pub(super) fn schema(self, text: &str) -> String {
        let (serial, key, words) = match self {
            // Contentless: the text stands in `details` once.
            Self::Sqlite => (
                "INTEGER PRIMARY KEY AUTOINCREMENT",
                "INTEGER PRIMARY KEY",
                "CREATE VIRTUAL TABLE words USING fts5(prompt, negative, model, tags, fields, content = '', contentless_delete = 1, \
                 tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3');",
            ),
            #[cfg(feature = "postgres")]
            Self::Postgres => (
                "BIGSERIAL PRIMARY KEY",
                "BIGINT PRIMARY KEY",
                "CREATE TABLE words (rowid BIGINT PRIMARY KEY, words TSVECTOR NOT NULL, fields TSVECTOR NOT NULL);
                 CREATE INDEX words_words ON words USING GIN (words, fields);",
            ),
        };
        text.replace("{serial}", serial)
            .replace("{key}", key)
            .replace("{words}", words)
    }

    /// Locks the rows of `jobs j` that a query finds, and passes over those that another has locked.
    pub(crate) fn lock_free(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            #[cfg(feature = "postgres")]
            Self::Postgres => " FOR UPDATE OF j SKIP LOCKED",
        }
    }

    /// Locks the rows of `jobs j` that a query finds, and waits for those that another has locked.
    pub(crate) fn lock(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            #[cfg(feature = "postgres")]
            Self::Postgres => " FOR UPDATE OF j",
        }
    }

    /// Tells other processes that there are events.
    pub(super) fn notify(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            #[cfg(feature = "postgres")]
            Self::Postgres => Some("SELECT pg_notify('latent_queue', '')"),
        }
    }

    /// Puts a picture into the full-text index: row, prompt, negative, model, tags, fields.
    pub(crate) fn put_words(self) -> &'static str {
        match self {
            Self::Sqlite => {
                "INSERT OR REPLACE INTO words (rowid, prompt, negative, model, tags, fields) VALUES ($1, $2, $3, $4, $5, $6)"
            }
            #[cfg(feature = "postgres")]
            Self::Postgres => {
                "INSERT INTO words (rowid, words, fields) VALUES ($1, to_tsvector('simple', $2) || to_tsvector('simple', $3) \
                 || to_tsvector('simple', $4) || to_tsvector('simple', $5), to_tsvector('simple', $6)) \
                 ON CONFLICT (rowid) DO UPDATE SET words = excluded.words, fields = excluded.fields"
            }
        }
    }

    /// Adds the conditions that a row of `words w` has the words and all of the fields.
    pub(super) fn push_match(self, found: &mut Sql, words: Option<&str>, fields: &[String]) {
        match self {
            Self::Sqlite => {
                let words =
                    words.map(|words| format!("{{prompt negative model tags}} : ({words})"));
                let fields = fields.iter().map(|token| format!("fields : {token}"));
                let all: Vec<_> = words.into_iter().chain(fields).collect();
                found.push_with(" AND words MATCH ?", all.join(" AND "));
            }
            #[cfg(feature = "postgres")]
            Self::Postgres => {
                if let Some(words) = words {
                    found.push_with(" AND w.words @@ to_tsquery('simple', ?)", words);
                }
                if !fields.is_empty() {
                    let fields = fields.join(" & ");
                    found.push_with(" AND w.fields @@ to_tsquery('simple', ?)", fields);
                }
            }
        }
    }

    /// A query of the full-text index. `all` must stand in it (there is at least one), `none` must not.
    pub(super) fn query_words(self, all: &[Term<'_>], none: &[Term<'_>]) -> String {
        let join = |terms: &[Term<'_>], by: &str| -> String {
            let words: Vec<_> = terms.iter().map(|term| self.term(term)).collect();
            words.join(by)
        };
        let (and, or, not) = match self {
            Self::Sqlite => (" AND ", " OR ", " NOT "),
            #[cfg(feature = "postgres")]
            Self::Postgres => (" & ", " | ", " & !"),
        };
        match none {
            [] => join(all, and),
            none => format!("({}){not}({})", join(all, and), join(none, or)),
        }
    }

    /// A term in quotes, so that nothing in it is an operator.
    fn term(self, term: &Term<'_>) -> String {
        match self {
            Self::Sqlite => {
                let text = term.text.replace('"', "\"\"");
                format!("\"{text}\"{}", if term.begins { "*" } else { "" })
            }
            #[cfg(feature = "postgres")]
            Self::Postgres => {
                let text = term.text.replace('\\', "\\\\").replace('\'', "''");
                format!("'{text}'{}", if term.begins { ":*" } else { "" })
            }
        }
    }
}
