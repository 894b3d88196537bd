//! What may go wrong with any statement.

/// Why a statement had no result.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, or not now: repeating the request later may help.
    #[error("the database does not answer: {0}")]
    Unavailable(#[source] sqlx::Error),
    /// The database refuses what should be right: a defect of this program.
    #[error("the database refuses a statement: {0}")]
    Defect(#[source] sqlx::Error),
    /// A row holds what no version of this program wrote.
    #[error("a stored value is not well formed: {0}")]
    Corrupt(&'static str),
}

/// Classes of SQLSTATE after which the same statement may pass later: connection exceptions,
/// rollbacks by conflict, lack of resources, locks and time-outs, operator's doing, system errors.
const TRANSIENT_CLASSES: [&str; 6] = ["08", "40", "53", "55", "57", "58"];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        let transient = code.map_or_else(|| is_lost_connection(&error), |code| is_transient(&code));
        if transient {
            Self::Unavailable(error)
        } else {
            Self::Defect(error)
        }
    }
}

fn is_transient(code: &str) -> bool {
    TRANSIENT_CLASSES
        .iter()
        .any(|class| code.starts_with(class))
}

fn is_lost_connection(error: &sqlx::Error) -> bool {
    matches!(
        error,
        sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed
    )
}
