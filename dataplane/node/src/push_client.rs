//! Holds the stream from the control plane and acknowledges what was applied.
//!
//! The control plane may be away for ever: the last good configuration stays, and this loop only
//! tries again, with growing pauses.

use std::time::Duration;

use reqwest::StatusCode;
use serde::Serialize;
use tessera_config::{Config, PushRefused, PushStream};
use tessera_tenancy::{Frame, FrameKey, Incarnation, NodeId, Revision, TimelineId};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// A stream that says nothing for this long is dead: the control plane beats every second.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Pause before the first new try.
const RETRY_MIN: Duration = Duration::from_millis(100);
/// Longest pause between tries.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Longest wait for one acknowledgement to be taken.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushStreamError {
    #[error("control plane not reachable: {0}")]
    Http(#[from] reqwest::Error),
    #[error("control plane answered {0}")]
    Status(StatusCode),
    #[error("the stream ended")]
    Ended,
    #[error("the stream was silent for {SILENCE_MAX:?}")]
    Silent,
    #[error("a line longer than {} bytes", Frame::LINE_BYTES_MAX)]
    LineTooLong,
    #[error("a line that is not UTF-8")]
    LineNotText,
    #[error("push refused: {0}")]
    Refused(#[from] PushRefused),
    #[error("no random bytes: {0}")]
    Random(getrandom::Error),
    #[error("applying was cut off: {0}")]
    Apply(tokio::task::JoinError),
}

/// The loop that follows the control plane.
#[derive(Debug)]
pub(crate) struct PushClient {
    http: reqwest::Client,
    control_url: String,
    key: FrameKey,
    node: NodeId,
    incarnation: Incarnation,
    config: Config,
}

#[derive(Debug, Serialize)]
struct Applied {
    node: NodeId,
    incarnation: Incarnation,
    timeline: Option<TimelineId>,
    revision: Revision,
}

impl PushClient {
    pub(crate) fn new(
        control_url: String,
        key: FrameKey,
        node: NodeId,
        incarnation: Incarnation,
        config: Config,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .connect_timeout(ACKNOWLEDGE_TIMEOUT)
            .build()?;
        Ok(Self {
            http,
            control_url,
            key,
            node,
            incarnation,
            config,
        })
    }

    /// Follows until `shutdown`, or until the configuration's disk failed: then the process must
    /// end, and `failed` says so.
    pub(crate) async fn run(self, shutdown: CancellationToken, failed: CancellationToken) {
        let mut pause = RETRY_MIN;
        loop {
            let before = self.config.position().1;
            let outcome = tokio::select! {
                () = shutdown.cancelled() => return,
                outcome = self.follow() => outcome,
            };
            let Err(error) = outcome;
            if self.config.position().1 > before {
                pause = RETRY_MIN;
            }
            self.report(&error);
            if matches!(&error, PushStreamError::Refused(refused) if refused.is_fatal()) {
                failed.cancel();
                return;
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    fn report(&self, error: &PushStreamError) {
        match error {
            PushStreamError::Refused(_) => warn!(node = %self.node, %error, "push refused"),
            PushStreamError::Http(_)
            | PushStreamError::Status(_)
            | PushStreamError::Ended
            | PushStreamError::Silent
            | PushStreamError::LineTooLong
            | PushStreamError::LineNotText
            | PushStreamError::Random(_)
            | PushStreamError::Apply(_) => debug!(node = %self.node, %error, "push stream ended"),
        }
    }

    /// One stream, from its request to its end.
    async fn follow(&self) -> Result<std::convert::Infallible, PushStreamError> {
        let nonce = self.nonce()?;
        let mut response = self.request(&nonce).await?;
        let mut stream = PushStream::new(&self.config, self.key.clone(), nonce);
        let mut pending = Vec::new();
        self.acknowledge().await;
        loop {
            let chunk = tokio::time::timeout(SILENCE_MAX, response.chunk())
                .await
                .map_err(|_elapsed| PushStreamError::Silent)??
                .ok_or(PushStreamError::Ended)?;
            pending.extend_from_slice(&chunk);
            while let Some(line) = take_line(&mut pending)? {
                let (back, outcome) = apply_line(stream, line).await?;
                stream = back;
                if let Some(revision) = outcome? {
                    info!(node = %self.node, %revision, "configuration applied");
                    self.acknowledge().await;
                }
            }
        }
    }

    async fn request(&self, nonce: &str) -> Result<reqwest::Response, PushStreamError> {
        let (timeline, revision) = self.config.position();
        let path = format!(
            "/internal/v1/push?node={}&incarnation={}&nonce={nonce}&timeline={}&after={revision}",
            self.node,
            self.incarnation,
            timeline.map(|id| id.to_string()).unwrap_or_default(),
        );
        let signature = self.key.sign(format!("GET {path}").as_bytes());
        let response = self
            .http
            .get(format!("{}{path}", self.control_url))
            .header("x-tessera-signature", signature)
            .send()
            .await?;
        if response.status() != StatusCode::OK {
            return Err(PushStreamError::Status(response.status()));
        }
        Ok(response)
    }

    /// Tells the control plane what is applied. A lost acknowledgement is repaired by the next.
    async fn acknowledge(&self) {
        let (timeline, revision) = self.config.position();
        let body = Applied {
            node: self.node,
            incarnation: self.incarnation,
            timeline,
            revision,
        };
        let Ok(body) = serde_json::to_vec(&body) else {
            return;
        };
        let sent = self
            .http
            .post(format!("{}/internal/v1/push/applied", self.control_url))
            .header("x-tessera-signature", self.key.sign(&body))
            .header("content-type", "application/json")
            .timeout(ACKNOWLEDGE_TIMEOUT)
            .body(body)
            .send()
            .await;
        if let Err(error) = sent {
            debug!(node = %self.node, %revision, %error, "acknowledgement not delivered");
        }
    }

    fn nonce(&self) -> Result<String, PushStreamError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(PushStreamError::Random)?;
        Ok(tessera_tenancy::encode_hex(&random))
    }
}

/// Applying writes and syncs the disk, so it leaves the asynchronous workers alone.
async fn apply_line(
    mut stream: PushStream,
    line: String,
) -> Result<(PushStream, Result<Option<Revision>, PushRefused>), PushStreamError> {
    tokio::task::spawn_blocking(move || {
        let outcome = stream.handle_line(&line).map(|progress| progress.applied);
        (stream, outcome)
    })
    .await
    .map_err(PushStreamError::Apply)
}

/// The first whole line of `pending`, without its line feed.
fn take_line(pending: &mut Vec<u8>) -> Result<Option<String>, PushStreamError> {
    let Some(end) = pending.iter().position(|byte| *byte == b'\n') else {
        if pending.len() > Frame::LINE_BYTES_MAX {
            return Err(PushStreamError::LineTooLong);
        }
        return Ok(None);
    };
    let rest = pending.split_off(end + 1);
    let mut line = std::mem::replace(pending, rest);
    line.pop();
    String::from_utf8(line)
        .map(Some)
        .map_err(|_not_utf8| PushStreamError::LineNotText)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_out_one_by_one() {
        let mut pending = b"one\ntwo\nthr".to_vec();
        assert_eq!(take_line(&mut pending).unwrap().as_deref(), Some("one"));
        assert_eq!(take_line(&mut pending).unwrap().as_deref(), Some("two"));
        assert_eq!(take_line(&mut pending).unwrap(), None);
        pending.extend_from_slice(b"ee\n");
        assert_eq!(take_line(&mut pending).unwrap().as_deref(), Some("three"));
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let mut pending = vec![b'x'; Frame::LINE_BYTES_MAX + 1];
        assert!(matches!(
            take_line(&mut pending),
            Err(PushStreamError::LineTooLong)
        ));
    }
}
