//! Exit codes, and how an error is told. Scripts rely on the codes: add, never renumber.

use std::io::{self, Write as _};
use std::process::ExitCode;

use tessera_sdk::mqtt::{ConnectError, ReasonCode, RequestError};
use tessera_sdk::rest;

/// For `--help`.
pub(crate) const CODES_HELP: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, \
    3 not authorised, 4 not found, 5 conflict, 7 throttled or over a quota.";

/// How a run ended, for scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Failed = 1,
    NotAuthorised = 3,
    NotFound = 4,
    Conflict = 5,
    Throttled = 7,
}

/// Tells an error on standard error and gives its code.
pub(crate) fn report(outcome: anyhow::Result<()>) -> ExitCode {
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    if is_closed_pipe(&error) {
        // `tessera sub | head` has what it wanted.
        return ExitCode::SUCCESS;
    }
    // With standard error gone there is nobody left to tell.
    writeln!(io::stderr(), "tessera: {error:#}").unwrap_or_default();
    if nobody_answers(&error) {
        writeln!(
            io::stderr(),
            "nothing listens there: is `tessera dev` running?"
        )
        .unwrap_or_default();
    }
    ExitCode::from(code_of(&error) as u8)
}

pub(crate) fn code_of(error: &anyhow::Error) -> Code {
    error
        .chain()
        .find_map(code_of_cause)
        .unwrap_or(Code::Failed)
}

fn code_of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Code> {
    if let Some(error) = cause.downcast_ref::<rest::Error>() {
        return Some(error.status().map_or(Code::Failed, code_of_status));
    }
    let reason = match (cause.downcast_ref(), cause.downcast_ref()) {
        (Some(ConnectError::Refused { reason, .. }), _)
        | (_, Some(RequestError::Refused { reason, .. })) => *reason,
        (Some(_) | None, Some(_) | None) => return None,
    };
    Some(code_of_reason(reason))
}

const fn code_of_status(status: u16) -> Code {
    match status {
        401 | 403 => Code::NotAuthorised,
        404 | 410 => Code::NotFound,
        409 | 412 | 428 => Code::Conflict,
        429 => Code::Throttled,
        _ => Code::Failed,
    }
}

fn code_of_reason(reason: ReasonCode) -> Code {
    // More codes than are of interest here.
    let is_one_of = |codes: &[ReasonCode]| codes.contains(&reason);
    if is_one_of(&[
        ReasonCode::BadUserNameOrPassword,
        ReasonCode::NotAuthorized,
        ReasonCode::Banned,
        ReasonCode::BadAuthenticationMethod,
    ]) {
        Code::NotAuthorised
    } else if is_one_of(&[
        ReasonCode::QuotaExceeded,
        ReasonCode::MessageRateTooHigh,
        ReasonCode::ConnectionRateExceeded,
        ReasonCode::ServerBusy,
    ]) {
        Code::Throttled
    } else {
        Code::Failed
    }
}

fn nobody_answers(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| match (cause.downcast_ref(), cause.downcast_ref()) {
            (Some(rest::Error::Transport { never_sent, .. }), _) => *never_sent,
            (_, Some(ConnectError::Io { source, .. })) => {
                source.kind() == io::ErrorKind::ConnectionRefused
            }
            (Some(_) | None, Some(_) | None) => false,
        })
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn errors_give_the_codes_that_scripts_rely_on() {
        let status = |status| rest::Error::UnexpectedAnswer {
            url: String::new(),
            status,
            detail: String::new(),
        };
        for (given, code) in [
            (401, Code::NotAuthorised),
            (403, Code::NotAuthorised),
            (404, Code::NotFound),
            (409, Code::Conflict),
            (412, Code::Conflict),
            (429, Code::Throttled),
            (500, Code::Failed),
        ] {
            let error = Err::<(), _>(status(given))
                .context("creating a tenant")
                .unwrap_err();
            assert_eq!(code_of(&error), code, "{given}");
        }
        let refused = |reason| anyhow::Error::new(ConnectError::Refused { reason, text: None });
        assert_eq!(
            code_of(&refused(ReasonCode::NotAuthorized)),
            Code::NotAuthorised
        );
        assert_eq!(
            code_of(&refused(ReasonCode::QuotaExceeded)),
            Code::Throttled
        );
        let reason = ReasonCode::QuotaExceeded;
        let request = anyhow::Error::new(RequestError::Refused { reason, text: None });
        assert_eq!(code_of(&request), Code::Throttled);
        assert_eq!(code_of(&anyhow::anyhow!("anything")), Code::Failed);
    }
}
