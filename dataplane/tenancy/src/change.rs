//! What the control plane pushes to nodes, and how a frame is signed.
//!
//! A node asks for the stream after its revision, with a nonce. What comes is one line a frame:
//! 64 hexadecimal digits of HMAC-SHA256 over the JSON that follows, a space, the JSON, a line feed.
//! The envelope carries the nonce and a dense number, so that no frame of another stream, nor an
//! older or reordered one, is accepted.
//!
//! ```text
//! Hello ─┬─> SnapshotBegin ─> Changes… ─> SnapshotEnd ─┐
//!        └──────────────────────────────────────────────┴─> (Changes | Heartbeat)…
//! ```

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::hex::{decode_hex, encode_hex};
use crate::ids::{CredentialId, TenantId};
use crate::limits::LimitValues;
use crate::names::{DeviceUsername, PlanSlug, TenantSlug};
use crate::secret::{KeyId, SecretDigest};
use crate::settings::TenantSettings;

/// The number of one committed change. Dense: a reader at 11 has seen 1 to 11.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl Revision {
    /// Before every change.
    pub const ZERO: Self = Self(0);

    /// The one after.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Names one history of revisions. It changes when the database is restored.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimelineId([u8; 16]);

impl TimelineId {
    /// The timeline that these bytes name.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&encode_hex(&self.0))
    }
}

impl fmt::Debug for TimelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for TimelineId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode_hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for TimelineId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        decode_hex(&text)
            .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a timeline is 32 hexadecimal digits"))
    }
}

/// What a tenant may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    /// Serves devices.
    Active,
    /// Refuses and disconnects them; keeps what it has.
    Suspended,
}

/// A tenant, as the data plane needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantRecord {
    /// Its name in SNI and user names.
    pub slug: TenantSlug,
    /// What it may do now.
    pub status: TenantStatus,
    /// The plan that reasons name.
    pub plan: PlanSlug,
    /// The effective limits: the override where there is one, else the plan's.
    pub limits: LimitValues,
    /// How it behaves. Left out while nothing is set: the record is then what it was before there
    /// were settings.
    #[serde(default, skip_serializing_if = "TenantSettings::is_default")]
    pub settings: TenantSettings,
}

/// What a principal may do with topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Publish and subscribe to everything in its tenant.
    AllowAll,
}

/// A device credential, as the data plane needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialRecord {
    /// Its user name inside the tenant.
    pub username: DeviceUsername,
    /// Its live secrets: at most [`CredentialRecord::SECRETS_MAX`].
    pub secrets: Vec<CredentialSecret>,
    /// What its principal may do.
    pub policy: Policy,
}

impl CredentialRecord {
    /// Live secrets of one credential: two, so that rotating one disconnects nobody.
    pub const SECRETS_MAX: usize = 2;
}

/// One live secret of a credential, at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialSecret {
    /// The public part.
    pub key_id: KeyId,
    /// HMAC-SHA256 of the whole text under the server key.
    pub digest: SecretDigest,
}

/// One change of one tenant, whole: applying it twice is applying it once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Its number. In a snapshot: the snapshot's.
    pub revision: Revision,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it says.
    pub body: ChangeBody,
}

/// What a change says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ChangeBody {
    /// The tenant is now this.
    Tenant(TenantRecord),
    /// The tenant is gone, with all its credentials.
    TenantRemoved,
    /// The credential is now this.
    Credential {
        /// Which one.
        id: CredentialId,
        /// What it is.
        record: CredentialRecord,
    },
    /// The credential is gone.
    CredentialRemoved {
        /// Which one.
        id: CredentialId,
    },
}

/// One message of a push stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "frame", rename_all = "snake_case")]
pub enum Frame {
    /// Opens every stream.
    Hello {
        /// The history that the revisions below belong to.
        timeline: TimelineId,
        /// The newest committed revision.
        head: Revision,
    },
    /// What follows, up to the end, is the whole configuration at this revision.
    SnapshotBegin {
        /// The revision of all that follows.
        revision: Revision,
    },
    /// Changes in ascending revision; inside a snapshot, in any order.
    Changes {
        /// At most [`Frame::CHANGES_MAX`].
        changes: Vec<Change>,
    },
    /// The snapshot is complete: what it did not name is gone.
    SnapshotEnd {
        /// The same revision as at its begin.
        revision: Revision,
    },
    /// Nothing new; the stream lives.
    Heartbeat {
        /// The newest committed revision.
        head: Revision,
    },
}

impl Frame {
    /// Changes in one frame.
    pub const CHANGES_MAX: usize = 256;
    /// Bytes of one line, its signature and line feed included.
    pub const LINE_BYTES_MAX: usize = 1 << 20;
}

/// A frame with what ties it to its stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushEnvelope {
    /// The nonce that the node asked with.
    pub nonce: String,
    /// 0, 1, 2, … in this stream.
    pub number: u64,
    /// The message.
    pub frame: Frame,
}

/// The key under which frames and node requests are signed: shared by control plane and nodes.
#[derive(Clone)]
pub struct FrameKey([u8; 32]);

/// Why a line is not a frame of this stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameOpenError {
    /// Not `signature space JSON`, or over [`Frame::LINE_BYTES_MAX`].
    #[error("not a signed line of at most {} bytes", Frame::LINE_BYTES_MAX)]
    Form,
    /// Signed under another key, or changed on its way.
    #[error("the signature does not fit")]
    Signature,
    /// Well signed, but not a frame that this version knows.
    #[error("not a frame: {0}")]
    Json(String),
}

/// A signed line without its line feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedFrame(String);

impl SignedFrame {
    /// The line to write; a line feed follows it.
    pub fn as_line(&self) -> &str {
        &self.0
    }
}

impl FrameKey {
    /// The key that these bytes are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Signs any text: frames, and the requests of nodes.
    pub fn sign(&self, text: &[u8]) -> String {
        encode_hex(&self.mac(text))
    }

    /// Whether `signature` (hexadecimal) is this key's for `text`; in constant time.
    pub fn verifies(&self, text: &[u8], signature: &str) -> bool {
        decode_hex(signature).is_some_and(|given| given.ct_eq(&self.mac(text)).into())
    }

    /// The signed line of an envelope.
    pub fn seal(&self, envelope: &PushEnvelope) -> SignedFrame {
        // Serialising these types cannot fail: no map has keys that are not text.
        let json = serde_json::to_string(envelope).unwrap_or_default();
        SignedFrame(format!("{} {json}", self.sign(json.as_bytes())))
    }

    /// Verifies a line and reads it. The signature is checked before anything is parsed.
    pub fn open(&self, line: &str) -> Result<PushEnvelope, FrameOpenError> {
        if line.len() >= Frame::LINE_BYTES_MAX {
            return Err(FrameOpenError::Form);
        }
        let (signature, json) = line.split_once(' ').ok_or(FrameOpenError::Form)?;
        if !self.verifies(json.as_bytes(), signature) {
            return Err(FrameOpenError::Signature);
        }
        serde_json::from_str(json).map_err(|error| FrameOpenError::Json(error.to_string()))
    }

    fn mac(&self, text: &[u8]) -> [u8; 32] {
        // A key of any length is valid for HMAC, so construction cannot fail.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            return [0; 32];
        };
        mac.update(text);
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for FrameKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FrameKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{QueueOverflow, SharedSubscriptionStrategy};

    fn envelope() -> PushEnvelope {
        let change = Change {
            revision: Revision(7),
            tenant: TenantId::from_bytes([1; 16]),
            body: ChangeBody::Tenant(TenantRecord {
                slug: "acme".parse().unwrap(),
                status: TenantStatus::Active,
                plan: "free".parse().unwrap(),
                limits: LimitValues::from_defaults(|d| d.free),
                settings: TenantSettings::default(),
            }),
        };
        PushEnvelope {
            nonce: "n".into(),
            number: 3,
            frame: Frame::Changes {
                changes: vec![change],
            },
        }
    }

    #[test]
    fn a_sealed_frame_opens_under_its_key_only() {
        let key = FrameKey::from_bytes([1; 32]);
        let line = key.seal(&envelope());
        assert_eq!(key.open(line.as_line()).unwrap(), envelope());
        let other = FrameKey::from_bytes([2; 32]);
        assert_eq!(other.open(line.as_line()), Err(FrameOpenError::Signature));
    }

    #[test]
    fn a_changed_line_is_refused() {
        let key = FrameKey::from_bytes([1; 32]);
        let line = key.seal(&envelope()).as_line().replace("acme", "acne");
        assert_eq!(key.open(&line), Err(FrameOpenError::Signature));
        assert_eq!(key.open("nonsense"), Err(FrameOpenError::Form));
    }

    #[test]
    fn the_wire_form_is_golden() {
        let json = serde_json::to_string(&envelope()).unwrap();
        let golden = concat!(
            r#"{"nonce":"n","number":3,"frame":{"frame":"changes","changes":[{"revision":7,"#,
            r#""tenant":"ten_0105083g40r4g20g0r40g20g3082","body":{"kind":"tenant","slug":"acme","#,
            r#""status":"active","plan":"free","limits":{"connections":100,"publishes_per_second":100}}}]}}"#
        );
        let tenant = TenantId::from_bytes([1; 16]).to_string();
        assert_eq!(
            json,
            golden.replace("ten_0105083g40r4g20g0r40g20g3082", &tenant)
        );
    }
    #[test]
    fn settings_are_golden_and_a_record_without_them_has_the_defaults() {
        let before = concat!(
            r#"{"kind":"tenant","slug":"acme","status":"active","plan":"free","#,
            r#""limits":{"connections":100,"publishes_per_second":100}}"#
        );
        let ChangeBody::Tenant(record) = serde_json::from_str(before).unwrap() else {
            panic!("a tenant was written")
        };
        assert!(record.settings.is_default());
        let body = ChangeBody::Tenant(TenantRecord {
            settings: TenantSettings {
                shared_subscription_strategy: SharedSubscriptionStrategy::Sticky,
                queue_overflow: QueueOverflow::RefusePublisher,
            },
            ..record
        });
        let settings = concat!(
            r#","settings":{"shared_subscription_strategy":"sticky","#,
            r#""queue_overflow":"refuse_publisher"}}"#
        );
        let golden = before.strip_suffix('}').unwrap().to_owned() + settings;
        assert_eq!(serde_json::to_string(&body).unwrap(), golden);
        assert_eq!(serde_json::from_str::<ChangeBody>(&golden).unwrap(), body);
    }
}
