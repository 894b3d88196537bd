//! When a request is sent again, and after how long. Pure: clock and chance are arguments.

use std::time::Duration;

use tessera_api_types::ErrorCode;

use super::error::Error;

/// How often and how patiently a client repeats.
///
/// A request is repeated if doing it twice is doing it once: reads, `DELETE`, unconditional `PUT`, and
/// `POST`, which always carries an `Idempotency-Key`. A conditional write is repeated only if the server
/// said that it did nothing, since after a lost answer its `ETag` would be stale by its own doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Sendings of one request, the first included. Default 4; 1 never repeats.
    pub attempts_max: u32,
    /// The pause before the second sending is a random part of this; it doubles each time.
    /// Default 100 ms.
    pub pause_first: Duration,
    /// No pause is longer than this, unless the server asks for it. Default 5 s.
    pub pause_max: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts_max: 4,
            pause_first: Duration::from_millis(100),
            pause_max: Duration::from_secs(5),
        }
    }
}

/// Whether a request may be sent again when it is unknown whether it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// Doing it twice is doing it once.
    Always,
    /// Only after an answer that says nothing was done.
    IfNotDone,
}

impl RetryPolicy {
    /// The pause before the next sending; `None` gives the error to the caller. `attempt` counts the
    /// sendings so far, `random` is uniform over its range, `left` is what remains of the deadline.
    pub(crate) fn pause(
        &self,
        (attempt, repeat): (u32, Repeat),
        error: &Error,
        random: u32,
        left: Duration,
    ) -> Option<Duration> {
        if attempt >= self.attempts_max || !may_help(error, repeat) {
            return None;
        }
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        let ceiling = self.pause_first.saturating_mul(doubled).min(self.pause_max);
        let pause = asked_for(error).unwrap_or_else(|| part(ceiling, random));
        (pause < left).then_some(pause)
    }
}

fn may_help(error: &Error, repeat: Repeat) -> bool {
    match error {
        Error::Options(_) => false,
        Error::Transport { never_sent, .. } => *never_sent || repeat == Repeat::Always,
        Error::UnexpectedAnswer { status, .. } => {
            matches!(status, 502..=504) && repeat == Repeat::Always
        }
        Error::Api(refusal) => match refusal.problem.status {
            // Refused before anything was done.
            429 | 503 => true,
            409 => refusal.problem.code == ErrorCode::IdempotencyInProgress,
            408 | 500..=599 => repeat == Repeat::Always,
            _ => false,
        },
    }
}

fn asked_for(error: &Error) -> Option<Duration> {
    match error {
        Error::Api(refusal) => refusal.retry_after,
        Error::Transport { .. } | Error::UnexpectedAnswer { .. } | Error::Options(_) => None,
    }
}

/// "Full jitter": clients that failed together come back apart.
fn part(ceiling: Duration, random: u32) -> Duration {
    ceiling.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rest::error::ApiError;
    use tessera_api_types::Problem;

    const POLICY: RetryPolicy = RetryPolicy {
        attempts_max: 3,
        pause_first: Duration::from_millis(100),
        pause_max: Duration::from_millis(150),
    };
    const LONG: Duration = Duration::from_secs(60);

    fn refusal(code: ErrorCode, retry_after: Option<u64>) -> Error {
        let problem = Problem {
            kind: String::new(),
            title: String::new(),
            status: code.status(),
            detail: String::new(),
            instance: String::new(),
            code,
            request_id: String::new(),
            errors: Vec::new(),
            current_etag: None,
            missing_scope: None,
        };
        let retry_after = retry_after.map(Duration::from_secs);
        Error::Api(Box::new(ApiError {
            problem,
            retry_after,
        }))
    }

    fn lost(never_sent: bool) -> Error {
        Error::Transport {
            url: String::new(),
            reason: String::new(),
            never_sent,
        }
    }

    #[test]
    fn what_may_have_been_done_is_repeated_only_if_that_is_harmless() {
        let repeated = |error: &Error, repeat| POLICY.pause((1, repeat), error, 0, LONG).is_some();
        for (error, always, if_not_done) in [
            (lost(true), true, true),
            (lost(false), true, false),
            (refusal(ErrorCode::Overloaded, None), true, true),
            (refusal(ErrorCode::StoreUnavailable, None), true, true),
            (refusal(ErrorCode::Internal, None), true, false),
            (refusal(ErrorCode::IdempotencyInProgress, None), true, true),
            (refusal(ErrorCode::SlugTaken, None), false, false),
            (refusal(ErrorCode::StaleRevision, None), false, false),
            (refusal(ErrorCode::Unauthenticated, None), false, false),
        ] {
            assert_eq!(repeated(&error, Repeat::Always), always, "{error:?}");
            assert_eq!(
                repeated(&error, Repeat::IfNotDone),
                if_not_done,
                "{error:?}"
            );
        }
    }

    #[test]
    fn pauses_double_up_to_their_bound_and_end_with_the_attempts() {
        let pause =
            |attempt, random| POLICY.pause((attempt, Repeat::Always), &lost(true), random, LONG);
        assert_eq!(pause(1, u32::MAX), Some(Duration::from_millis(100)));
        assert_eq!(pause(2, u32::MAX), Some(Duration::from_millis(150)));
        assert_eq!(pause(1, 0), Some(Duration::ZERO));
        assert_eq!(pause(3, 0), None);
    }

    #[test]
    fn the_server_s_pause_is_kept_and_the_deadline_is_not_overrun() {
        let error = refusal(ErrorCode::Overloaded, Some(7));
        let pause = |left| POLICY.pause((1, Repeat::Always), &error, 0, Duration::from_secs(left));
        assert_eq!(pause(60), Some(Duration::from_secs(7)));
        assert_eq!(pause(7), None, "the answer could not come in time");
    }
}
