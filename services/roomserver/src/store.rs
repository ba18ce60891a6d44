//! Postgres. Functions take a connection, so that the caller decides what one transaction spans.

mod backfill;
pub(crate) mod backups;
pub(crate) mod batch;
pub(crate) mod bounds;
mod connect;
pub(crate) mod deferred;
pub(crate) mod destinations;
pub(crate) mod federation_blocks;
pub(crate) mod generation;
pub(crate) mod inbox_bounds;
pub(crate) mod keys;
pub(crate) mod loads;
pub(crate) mod media;
pub(crate) mod member_jobs;
pub(crate) mod membership_sagas;
pub(crate) mod migrate;
pub(crate) mod nodes;
pub(crate) mod outgoing_edus;
pub(crate) mod output;
pub(crate) mod output_retention;
pub(crate) mod partitions;
pub(crate) mod pool;
pub(crate) mod purge;
pub(crate) mod reader_cursors;
pub(crate) mod reads;
pub(crate) mod schema;
pub(crate) mod server_keys;
pub(crate) mod snapshots;
pub(crate) mod statement;
mod tls;
pub(crate) mod upgrades;
pub(crate) mod users;

/// Why the database did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// A query failed.
    #[error("query {query} failed")]
    Query {
        /// Which one.
        query: &'static str,
        /// Why.
        #[source]
        source: diesel::result::Error,
    },
    /// There is no connection to be had.
    #[error("no connection to the database")]
    Connect {
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// All connections are in use, and enough others wait for one.
    #[error("too many queries are under way")]
    Busy,
    /// A row holds what it never should.
    #[error("{what} in the database is corrupt")]
    Corrupt {
        /// What is wrong.
        what: String,
    },
}

impl StoreError {
    /// Names the query that failed: `.map_err(StoreError::query("events.find"))`.
    pub(crate) fn query(query: &'static str) -> impl Fn(diesel::result::Error) -> Self {
        move |source| Self::Query { query, source }
    }

    /// Whether the statement and its values are at fault, rather than the database being away, busy or full: repeating it
    /// will fail again.
    ///
    /// The class of the SQLSTATE tells it: a statement that touches a row twice (21), a value that Postgres refuses (22),
    /// a violated constraint (23), more than a row or an index takes (54). Not so a deadlock (40), a lack of memory or of
    /// space on the disk (53), a canceled statement (57).
    pub(crate) fn is_deterministic(&self) -> bool {
        self.is_of_class(&["21", "22", "23", "54"])
    }

    /// Whether this program is at fault for a query that failed: as [`Self::is_deterministic`], or the statement is wrong
    /// whatever its values are (42).
    pub(crate) fn is_our_fault(&self) -> bool {
        self.is_of_class(&["21", "22", "23", "42", "54"])
    }

    fn is_of_class(&self, classes: &[&str]) -> bool {
        use diesel::result::{DatabaseErrorKind, Error};
        match self {
            Self::Query { source: source @ Error::DatabaseError(kind, _), .. } => {
                match connect::sqlstate_of(source) {
                    Some(code) => classes.iter().any(|class| code.starts_with(class)),
                    // What came by another way still has its kind.
                    None => matches!(
                        kind,
                        DatabaseErrorKind::UniqueViolation
                            | DatabaseErrorKind::ForeignKeyViolation
                            | DatabaseErrorKind::NotNullViolation
                            | DatabaseErrorKind::CheckViolation
                            | DatabaseErrorKind::ExclusionViolation
                            | DatabaseErrorKind::RestrictViolation
                    ),
                }
            }
            Self::Query { source: Error::SerializationError(_) | Error::DeserializationError(_), .. }
            | Self::Corrupt { .. } => true,
            Self::Query { .. } | Self::Connect { .. } | Self::Busy => false,
        }
    }

    /// Name of the query that failed; empty if it was none.
    pub(crate) fn query_name(&self) -> &'static str {
        match self {
            Self::Query { query, .. } => query,
            Self::Connect { .. } | Self::Busy | Self::Corrupt { .. } => "",
        }
    }
}

#[cfg(test)]
mod tests;
