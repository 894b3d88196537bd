//! Generated secrets: `tsd_<key id>_<secret><check>`.
//!
//! One double-click selects it, a scanner verifies it offline by its checksum, and the key id
//! finds its record in one look-up. At rest stands only an HMAC-SHA256 under a server key.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::hex::{decode_hex, encode_hex};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters of a key id: 8 of base 62.
pub const KEY_ID_LEN: usize = 8;
/// Characters that carry the 256 secret bits: 43 of base 62.
pub const SECRET_LEN: usize = 43;
/// Characters of the CRC32 at the end.
pub const CHECK_LEN: usize = 6;
/// Random bytes that one new secret takes: 6 for the key id, 32 for the secret.
pub const RANDOM_LEN: usize = 38;

/// What a generated secret opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecretKind {
    /// `tsk`: an API key.
    ApiKey,
    /// `tsd`: a device's secret.
    Device,
}

impl SecretKind {
    /// The prefix without its underscore.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => "tsk",
            Self::Device => "tsd",
        }
    }
}

/// Why a text is not a generated secret of the expected kind. The text itself is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Wrong prefix, length or alphabet.
    #[error("not of the form prefix_keyid_secret")]
    Form,
    /// The checksum at the end does not fit: a typing error.
    #[error("the checksum does not fit, a character is wrong or missing")]
    Check,
}

/// The public part that finds a secret's record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; KEY_ID_LEN]);

impl KeyId {
    /// The eight characters.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The eight characters as bytes, as they stand in keys.
    pub const fn as_bytes(&self) -> &[u8; KEY_ID_LEN] {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let bytes: [u8; KEY_ID_LEN] = text.as_bytes().try_into().map_err(|_| SecretError::Form)?;
        if !bytes.iter().all(u8::is_ascii_alphanumeric) {
            return Err(SecretError::Form);
        }
        Ok(Self(bytes))
    }
}

impl Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// A secret as its owner holds it. Its `Debug` shows the key id only.
#[derive(Clone, PartialEq, Eq)]
pub struct GeneratedSecret {
    kind: SecretKind,
    key_id: KeyId,
    text: String,
}

impl GeneratedSecret {
    /// A new secret from random bytes.
    pub fn from_random(kind: SecretKind, random: [u8; RANDOM_LEN]) -> Self {
        let (id, secret) = random.split_at(RANDOM_LEN - 32);
        let head = format!(
            "{}_{}_{}",
            kind.prefix(),
            base62(id, KEY_ID_LEN),
            base62(secret, SECRET_LEN)
        );
        let text = format!("{head}{}", check_of(&head));
        let mut key_id = [b'0'; KEY_ID_LEN];
        key_id.copy_from_slice(&text.as_bytes()[4..4 + KEY_ID_LEN]);
        Self {
            kind,
            key_id: KeyId(key_id),
            text,
        }
    }

    /// Reads a secret of one kind and verifies its checksum.
    pub fn parse(kind: SecretKind, text: &str) -> Result<Self, SecretError> {
        let (head, check) = text
            .split_at_checked(text.len().saturating_sub(CHECK_LEN))
            .ok_or(SecretError::Form)?;
        let mut parts = head.split('_');
        let (prefix, id, secret) = (parts.next(), parts.next(), parts.next());
        if prefix != Some(kind.prefix()) || parts.next().is_some() {
            return Err(SecretError::Form);
        }
        let key_id: KeyId = id.ok_or(SecretError::Form)?.parse()?;
        let secret = secret.ok_or(SecretError::Form)?;
        if secret.len() != SECRET_LEN
            || !text.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric())
        {
            return Err(SecretError::Form);
        }
        if check_of(head) != check {
            return Err(SecretError::Check);
        }
        Ok(Self {
            kind,
            key_id,
            text: text.to_owned(),
        })
    }

    /// What it opens.
    pub const fn kind(&self) -> SecretKind {
        self.kind
    }

    /// The part that finds its record.
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// The whole text. Shown to its owner once, never logged.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for GeneratedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_…", self.kind.prefix(), self.key_id)
    }
}

/// The key under which secrets are kept: 256 bits from a file of the operator's.
#[derive(Clone)]
pub struct ServerKey([u8; 32]);

impl ServerKey {
    /// The key that these bytes are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// What is stored instead of the secret.
    pub fn digest(&self, secret: &[u8]) -> SecretDigest {
        // A key of any length is valid for HMAC, so construction cannot fail.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            return SecretDigest([0; 32]);
        };
        mac.update(secret);
        SecretDigest(mac.finalize().into_bytes().into())
    }
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerKey(…)")
    }
}

/// HMAC-SHA256 of a secret under the server key. Compared in constant time.
#[derive(Clone, Copy)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// The digest that these bytes are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Equality that takes the same time wherever the two differ.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl PartialEq for SecretDigest {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other)
    }
}

impl Eq for SecretDigest {}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretDigest(…)")
    }
}

impl Serialize for SecretDigest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&encode_hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for SecretDigest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        decode_hex(&text)
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a digest is 64 hexadecimal digits"))
    }
}

fn check_of(head: &str) -> String {
    base62(&crc32fast::hash(head.as_bytes()).to_be_bytes(), CHECK_LEN)
}

/// The number that `bytes` are (big-endian) in exactly `len` digits of base 62, cut to the lowest.
fn base62(bytes: &[u8], len: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits = vec![b'0'; len];
    for digit in digits.iter_mut().rev() {
        let mut rest: u32 = 0;
        for byte in &mut number {
            let value = (rest << 8) | u32::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            rest = value % 62;
        }
        *digit = ALPHABET[rest as usize];
    }
    digits.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn random(seed: u8) -> [u8; RANDOM_LEN] {
        let mut next = seed;
        std::array::from_fn(|_| {
            next = next.wrapping_mul(31).wrapping_add(7);
            next
        })
    }

    #[test]
    fn a_secret_reads_back_and_shows_only_its_key_id() {
        let secret = GeneratedSecret::from_random(SecretKind::Device, random(5));
        let read = GeneratedSecret::parse(SecretKind::Device, secret.expose()).unwrap();
        assert_eq!(read, secret);
        assert!(secret.expose().starts_with("tsd_"));
        assert!(!format!("{secret:?}").contains(&secret.expose()[14..20]));
        assert!(GeneratedSecret::parse(SecretKind::ApiKey, secret.expose()).is_err());
    }

    proptest! {
        #[test]
        fn one_wrong_character_is_told(seed: u8, at in 13usize..56, to in 0usize..62) {
            let secret = GeneratedSecret::from_random(SecretKind::Device, random(seed));
            let mut text = secret.expose().as_bytes().to_vec();
            prop_assume!(text[at] != ALPHABET[to]);
            text[at] = ALPHABET[to];
            let text = String::from_utf8(text).unwrap();
            prop_assert_eq!(GeneratedSecret::parse(SecretKind::Device, &text), Err(SecretError::Check));
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in ".{0,80}") {
            prop_assert!(GeneratedSecret::parse(SecretKind::Device, &text).is_err());
        }
    }

    #[test]
    fn digests_differ_by_key_and_by_secret() {
        let (a, b) = (
            ServerKey::from_bytes([1; 32]),
            ServerKey::from_bytes([2; 32]),
        );
        assert_eq!(a.digest(b"x"), a.digest(b"x"));
        assert_ne!(a.digest(b"x"), b.digest(b"x"));
        assert_ne!(a.digest(b"x"), a.digest(b"y"));
    }
}
