//! `Idempotency-Key`: what is kept of a request so that its repetition gets the same answer.
//!
//! The answer may hold a secret that is shown once, and no secret stands readable in the database.
//! So the answer is sealed under the server key *and* the caller's idempotency key, of which only a
//! digest is stored: a copy of the database opens nothing.

use tessera_tenancy::{ApiKeyId, SecretDigest, ServerKey};

/// Longest key, in bytes.
pub const IDEMPOTENCY_KEY_LEN_MAX: usize = 255;
/// How long an answer is kept, in seconds.
pub const IDEMPOTENCY_SECONDS: u64 = 24 * 60 * 60;
/// Random bytes that one sealed answer takes.
pub const SALT_LEN: usize = 16;

const BLOCK_LEN: usize = 32;

/// A caller's key for one request.
#[derive(Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// The header holds no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`Idempotency-Key` must have 1 to {IDEMPOTENCY_KEY_LEN_MAX} visible ASCII characters")]
pub struct IdempotencyKeyError;

/// An answer at rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedAnswer {
    /// Random, so that equal answers look different.
    pub salt: [u8; SALT_LEN],
    /// The tag, then the text under the key stream.
    pub bytes: Vec<u8>,
}

impl IdempotencyKey {
    /// Reads the value of the header.
    pub fn parse(text: &str) -> Result<Self, IdempotencyKeyError> {
        let visible = text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        if text.is_empty() || text.len() > IDEMPOTENCY_KEY_LEN_MAX || !visible {
            return Err(IdempotencyKeyError);
        }
        Ok(Self(text.to_owned()))
    }

    /// What finds the record of this key of this caller.
    pub fn lookup(&self, server: &ServerKey, caller: ApiKeyId) -> SecretDigest {
        self.derive(server, caller, b"idempotency lookup", &[])
    }

    /// Seals an answer.
    pub fn seal(
        &self,
        server: &ServerKey,
        caller: ApiKeyId,
        salt: [u8; SALT_LEN],
        answer: &[u8],
    ) -> SealedAnswer {
        let key = self.answer_key(server, caller, salt);
        let hidden = key_stream(&key, answer);
        let mut bytes = tag(&key, &hidden).as_bytes().to_vec();
        bytes.extend(hidden);
        SealedAnswer { salt, bytes }
    }

    /// Opens an answer; `None` if it was sealed under other keys or altered.
    pub fn open(
        &self,
        server: &ServerKey,
        caller: ApiKeyId,
        sealed: &SealedAnswer,
    ) -> Option<Vec<u8>> {
        let key = self.answer_key(server, caller, sealed.salt);
        let (given, hidden) = sealed.bytes.split_first_chunk::<BLOCK_LEN>()?;
        tag(&key, hidden)
            .matches(&SecretDigest::from_bytes(*given))
            .then(|| key_stream(&key, hidden))
    }

    fn answer_key(&self, server: &ServerKey, caller: ApiKeyId, salt: [u8; SALT_LEN]) -> ServerKey {
        let derived = self.derive(server, caller, b"idempotency answer", &salt);
        ServerKey::from_bytes(*derived.as_bytes())
    }

    /// The parts before the key have fixed lengths for each label, so they cannot run together.
    fn derive(
        &self,
        server: &ServerKey,
        caller: ApiKeyId,
        label: &[u8],
        salt: &[u8],
    ) -> SecretDigest {
        server.digest(&[label, salt, caller.as_bytes(), self.0.as_bytes()].concat())
    }
}

impl std::fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdempotencyKey(…)")
    }
}

/// What tells a repetition from another request with the same key.
pub fn fingerprint(server: &ServerKey, method: &str, target: &str, body: &[u8]) -> SecretDigest {
    let body = server.digest(body);
    let head = format!("idempotency request {method} {target} ");
    server.digest(&[head.as_bytes(), body.as_bytes()].concat())
}

/// HMAC-SHA256 in counter mode: its own inverse.
fn key_stream(key: &ServerKey, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for (counter, block) in (0u64..).zip(text.chunks(BLOCK_LEN)) {
        let stream = key.digest(&[b"block".as_slice(), &counter.to_be_bytes()].concat());
        out.extend(
            block
                .iter()
                .zip(stream.as_bytes())
                .map(|(text, key)| text ^ key),
        );
    }
    out
}

fn tag(key: &ServerKey, hidden: &[u8]) -> SecretDigest {
    key.digest(&[b"tag".as_slice(), hidden].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn server() -> ServerKey {
        ServerKey::from_bytes([9; 32])
    }

    fn caller(byte: u8) -> ApiKeyId {
        ApiKeyId::from_bytes([byte; 16])
    }

    proptest! {
        #[test]
        fn an_answer_opens_for_its_caller_and_key_only(answer: Vec<u8>, salt: [u8; SALT_LEN]) {
            let key = IdempotencyKey::parse("a").unwrap();
            let other = IdempotencyKey::parse("b").unwrap();
            let sealed = key.seal(&server(), caller(1), salt, &answer);
            prop_assert_eq!(key.open(&server(), caller(1), &sealed), Some(answer));
            prop_assert_eq!(other.open(&server(), caller(1), &sealed), None);
            prop_assert_eq!(key.open(&server(), caller(2), &sealed), None);
        }

        #[test]
        fn an_altered_answer_does_not_open(at in 0usize..40, bit in 0u32..8) {
            let key = IdempotencyKey::parse("a").unwrap();
            let mut sealed = key.seal(&server(), caller(1), [0; SALT_LEN], b"tsd_secret");
            prop_assume!(at < sealed.bytes.len());
            sealed.bytes[at] ^= 1 << bit;
            prop_assert_eq!(key.open(&server(), caller(1), &sealed), None);
        }
    }

    #[test]
    fn nothing_of_the_answer_shows() {
        let key = IdempotencyKey::parse("a").unwrap();
        let answer = b"tsd_secret".repeat(20);
        let sealed = key.seal(&server(), caller(1), [7; SALT_LEN], &answer);
        assert!(!sealed.bytes.windows(4).any(|part| part == b"tsd_"));
    }

    #[test]
    fn keys_are_visible_and_bounded() {
        for good in ["7c1e", "\"8e03978e-40d5\"", &"k".repeat(255)] {
            assert!(IdempotencyKey::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\n", "ü", &"k".repeat(256)] {
            assert!(IdempotencyKey::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn another_body_path_or_method_is_another_request() {
        let one = fingerprint(&server(), "POST", "/v1/tenants", b"{}");
        assert!(one.matches(&fingerprint(&server(), "POST", "/v1/tenants", b"{}")));
        for (method, target, body) in [
            ("PUT", "/v1/tenants", b"{}".as_slice()),
            ("POST", "/v1/tenants?wait=applied", b"{}"),
            ("POST", "/v1/tenants", b"{ }"),
        ] {
            assert!(!one.matches(&fingerprint(&server(), method, target, body)));
        }
    }
}
