//! Postgres. Functions take a connection, so that the caller decides what one transaction spans.

pub(crate) mod batch;
pub(crate) mod loads;
pub(crate) mod migrate;
pub(crate) mod nodes;
pub(crate) mod output;
pub(crate) mod output_retention;
pub(crate) mod partitions;
pub(crate) mod pool;
pub(crate) mod purge;
pub(crate) mod reader_cursors;
pub(crate) mod reads;
pub(crate) mod schema;
pub(crate) mod snapshots;
pub(crate) mod statement;
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

    /// Whether the statement itself is at fault, rather than the database being away or busy: a violated constraint, a
    /// value that Postgres refuses. Repeating it will fail again.
    pub(crate) fn is_deterministic(&self) -> bool {
        use diesel::result::{DatabaseErrorKind, Error};
        match self {
            Self::Query { source: Error::DatabaseError(kind, _), .. } => matches!(
                kind,
                DatabaseErrorKind::UniqueViolation
                    | DatabaseErrorKind::ForeignKeyViolation
                    | DatabaseErrorKind::NotNullViolation
                    | DatabaseErrorKind::CheckViolation
                    | DatabaseErrorKind::ExclusionViolation
                    | DatabaseErrorKind::RestrictViolation
            ),
            Self::Query { source: Error::SerializationError(_) | Error::DeserializationError(_), .. }
            | Self::Corrupt { .. } => true,
            Self::Query { .. } | Self::Connect { .. } => false,
        }
    }
}
