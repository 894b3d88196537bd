//! What a call may come back with instead of its answer.

use std::time::Duration;

use tessera_api_types::{ErrorCode, Problem};

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server refused, and says why.
    #[error(transparent)]
    Api(Box<ApiError>),
    /// The server was not reached, or its answer did not arrive whole, within the deadline.
    #[error("no answer from {url}: {reason}")]
    Transport {
        /// What was asked for.
        url: String,
        /// The innermost cause, for example `Connection refused (os error 111)`.
        reason: String,
        /// Whether the connection was never made, so that nothing can have happened.
        never_sent: bool,
    },
    /// Something answered, but not in the words of this API: a proxy, another service.
    #[error("{url} answered {status} with a body that is not this API's: {detail}")]
    UnexpectedAnswer {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What did not fit.
        detail: String,
    },
    /// The client cannot be built with these options.
    #[error("{0}")]
    Options(String),
}

/// A refusal in the server's words. Its `Display` is for people: detail, wrong members, request id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The whole problem document.
    pub problem: Problem,
    /// How long the server asks to wait before the next try.
    pub retry_after: Option<Duration>,
}

impl std::error::Error for ApiError {}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let problem = &self.problem;
        write!(f, "{}: {}", problem.code.as_str(), problem.detail)?;
        for error in &problem.errors {
            write!(f, "; {} {}", error.pointer, error.detail)?;
        }
        write!(f, " (request {})", problem.request_id)
    }
}

impl Error {
    /// The server's code, if it was the server who refused.
    pub fn code(&self) -> Option<ErrorCode> {
        self.problem().map(|problem| problem.code)
    }

    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Api(refusal) => Some(refusal.problem.status),
            Self::UnexpectedAnswer { status, .. } => Some(*status),
            Self::Transport { .. } | Self::Options(_) => None,
        }
    }

    /// The server's problem document, if it was the server who refused.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Api(refusal) => Some(&refusal.problem),
            Self::Transport { .. } | Self::UnexpectedAnswer { .. } | Self::Options(_) => None,
        }
    }

    /// With a stale `ETag`: the one that is current.
    pub fn current_etag(&self) -> Option<&str> {
        self.problem()
            .and_then(|problem| problem.current_etag.as_deref())
    }

    pub(crate) fn transport(url: &str, error: &reqwest::Error) -> Self {
        // The outer errors repeat the address; the innermost says what happened.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let reason = if error.is_timeout() {
            "timed out".to_owned()
        } else {
            cause.to_string()
        };
        Self::Transport {
            url: url.to_owned(),
            reason,
            never_sent: error.is_connect(),
        }
    }
}
