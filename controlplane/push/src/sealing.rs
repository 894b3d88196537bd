//! Numbers the frames of one stream, ties them to it, and signs them.

use tessera_tenancy::{Change, Frame, FrameKey, PushEnvelope, SignedFrame};

/// Seals the frames of one stream.
#[derive(Debug)]
pub struct StreamSealer {
    key: FrameKey,
    nonce: String,
    number: u64,
}

impl StreamSealer {
    /// A stream for the node that asked with `nonce`.
    pub const fn new(key: FrameKey, nonce: String) -> Self {
        Self {
            key,
            nonce,
            number: 0,
        }
    }

    /// The next frame.
    pub fn seal(&mut self, frame: Frame) -> SignedFrame {
        let envelope = PushEnvelope {
            nonce: self.nonce.clone(),
            number: self.number,
            frame,
        };
        self.number += 1;
        let line = self.key.seal(&envelope);
        debug_assert!(
            line.as_line().len() < Frame::LINE_BYTES_MAX,
            "a frame is bounded"
        );
        line
    }

    /// The next frames, with all these changes.
    pub fn seal_changes(&mut self, changes: Vec<Change>) -> Vec<SignedFrame> {
        changes
            .chunks(Frame::CHANGES_MAX)
            .map(|part| {
                self.seal(Frame::Changes {
                    changes: part.to_vec(),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_tenancy::{
        ChangeBody, CredentialId, CredentialRecord, CredentialSecret, GeneratedSecret, LIMITS,
        LimitValues, Policy, QueueOverflow, Revision, SecretDigest, SecretKind,
        SharedSubscriptionStrategy, TenantId, TenantRecord, TenantSettings, TenantStatus,
    };

    fn change(body: ChangeBody) -> Change {
        Change {
            revision: Revision(u64::MAX),
            tenant: TenantId::from_bytes([255; 16]),
            body,
        }
    }

    /// The longest of each kind: names at their bounds, numbers at theirs, all secrets.
    fn largest() -> [Change; 2] {
        let limits = LIMITS.iter().fold(LimitValues::CLOSED, |all, row| {
            all.with(row.code, Some(row.value_max))
        });
        let secret = GeneratedSecret::from_random(SecretKind::Device, [7; 38]);
        let secret = CredentialSecret {
            key_id: secret.key_id(),
            digest: SecretDigest::from_bytes([255; 32]),
        };
        [
            change(ChangeBody::Tenant(TenantRecord {
                slug: "a".repeat(63).parse().unwrap(),
                status: TenantStatus::Suspended,
                plan: "a".repeat(63).parse().unwrap(),
                limits,
                settings: TenantSettings {
                    shared_subscription_strategy: SharedSubscriptionStrategy::RoundRobin,
                    queue_overflow: QueueOverflow::RefusePublisher,
                },
            })),
            change(ChangeBody::Credential {
                id: CredentialId::from_bytes([255; 16]),
                record: CredentialRecord {
                    username: "a".repeat(128).parse().unwrap(),
                    secrets: vec![secret; CredentialRecord::SECRETS_MAX],
                    policy: Policy::AllowAll,
                },
            }),
        ]
    }

    #[test]
    fn the_fullest_frame_fits_a_line() {
        let key = FrameKey::from_bytes([1; 32]);
        for change in largest() {
            let mut sealer = StreamSealer::new(key.clone(), "n".repeat(64));
            let lines = sealer.seal_changes(vec![change; Frame::CHANGES_MAX]);
            assert_eq!(lines.len(), 1);
            assert!(lines[0].as_line().len() < Frame::LINE_BYTES_MAX / 2);
        }
    }

    #[test]
    fn frames_are_numbered_and_opened_by_the_key() {
        let key = FrameKey::from_bytes([1; 32]);
        let mut sealer = StreamSealer::new(key.clone(), "nonce".into());
        let many = vec![change(ChangeBody::TenantRemoved); Frame::CHANGES_MAX + 1];
        let mut lines = sealer.seal_changes(many);
        lines.push(sealer.seal(Frame::Heartbeat { head: Revision(3) }));
        for (number, line) in (0..).zip(&lines) {
            let envelope = key.open(line.as_line()).unwrap();
            assert_eq!(
                (envelope.number, envelope.nonce.as_str()),
                (number, "nonce")
            );
        }
        assert_eq!(lines.len(), 3);
    }
}
