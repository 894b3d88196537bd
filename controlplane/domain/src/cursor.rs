//! Positions in lists: opaque, signed, bound to one list with its filters, good for a day.

use tessera_tenancy::{SecretDigest, ServerKey, decode_hex, encode_hex};

/// How long a cursor is good, in seconds.
pub const CURSOR_SECONDS_MAX: u64 = 24 * 60 * 60;
/// Longest cursor that is looked at, in characters.
pub const CURSOR_LEN_MAX: usize = 1024;

const FORM: u8 = 1;
const TIME_LEN: usize = 8;
const MAC_LEN: usize = 32;

/// Names one list with its filters and what it is a list of, so that no other list takes its
/// cursors: `credentials of ten_…`, `tenants status=active`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListName(pub String);

/// Signs and opens cursors.
#[derive(Debug, Clone)]
pub struct CursorKey(ServerKey);

/// Why a text is no cursor of this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// Altered, of another list or of other filters.
    #[error("this cursor is not one of this list with these filters")]
    Foreign,
    /// Older than [`CURSOR_SECONDS_MAX`].
    #[error("this cursor is older than a day")]
    Expired,
}

impl CursorKey {
    /// The key for cursors under a server key.
    pub fn new(server: &ServerKey) -> Self {
        let derived = server.digest(b"tessera cursor key");
        Self(ServerKey::from_bytes(*derived.as_bytes()))
    }

    /// The cursor behind the item whose key is `after`, made at `now` (unix seconds).
    pub fn seal(&self, list: &ListName, after: &str, now: u64) -> String {
        let mut cursor = vec![FORM];
        cursor.extend(now.to_be_bytes());
        cursor.extend(after.as_bytes());
        let mac = self.mac(list, &cursor);
        cursor.extend(mac.as_bytes());
        encode_hex(&cursor)
    }

    /// The key of the item that the cursor stands behind.
    pub fn open(&self, list: &ListName, text: &str, now: u64) -> Result<String, CursorError> {
        let payload = self.verified(list, text).ok_or(CursorError::Foreign)?;
        let (head, after) = payload
            .split_at_checked(1 + TIME_LEN)
            .ok_or(CursorError::Foreign)?;
        let time = <[u8; TIME_LEN]>::try_from(&head[1..]).map_err(|_| CursorError::Foreign)?;
        if now.saturating_sub(u64::from_be_bytes(time)) > CURSOR_SECONDS_MAX {
            return Err(CursorError::Expired);
        }
        String::from_utf8(after.to_vec()).map_err(|_| CursorError::Foreign)
    }

    fn verified(&self, list: &ListName, text: &str) -> Option<Vec<u8>> {
        // Upper-case digits would be a second text of the same cursor.
        if text.len() > CURSOR_LEN_MAX || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let mut payload = decode_hex(text)?;
        let mac = payload.split_off(payload.len().checked_sub(MAC_LEN)?);
        let mac = SecretDigest::from_bytes(mac.try_into().ok()?);
        let genuine = payload.first() == Some(&FORM) && self.mac(list, &payload).matches(&mac);
        genuine.then_some(payload)
    }

    fn mac(&self, list: &ListName, payload: &[u8]) -> SecretDigest {
        // The list's name is digested first, so that no name and payload run into one another.
        let mut text = self.0.digest(list.0.as_bytes()).as_bytes().to_vec();
        text.extend(payload);
        self.0.digest(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> CursorKey {
        CursorKey::new(&ServerKey::from_bytes([3; 32]))
    }

    fn list(name: &str) -> ListName {
        ListName(name.into())
    }

    proptest! {
        #[test]
        fn a_cursor_opens_in_its_list_only(after in ".{0,64}", now in 0u64..1 << 40) {
            let cursor = key().seal(&list("a"), &after, now);
            prop_assert_eq!(key().open(&list("a"), &cursor, now), Ok(after));
            prop_assert_eq!(key().open(&list("b"), &cursor, now), Err(CursorError::Foreign));
        }

        #[test]
        fn a_flipped_bit_is_told(at in 0usize..90, bit in 0u32..7) {
            let cursor = key().seal(&list("a"), "acme", 5);
            prop_assume!(at < cursor.len());
            let mut bytes = cursor.into_bytes();
            bytes[at] ^= 1 << bit;
            if let Ok(text) = String::from_utf8(bytes) {
                prop_assert_eq!(key().open(&list("a"), &text, 5), Err(CursorError::Foreign));
            }
        }

        #[test]
        fn any_text_is_refused_without_a_panic(text in ".{0,80}") {
            prop_assert!(key().open(&list("a"), &text, 5).is_err());
        }
    }

    #[test]
    fn an_old_cursor_is_refused() {
        let cursor = key().seal(&list("a"), "acme", 5);
        let late = 6 + CURSOR_SECONDS_MAX;
        assert_eq!(
            key().open(&list("a"), &cursor, late),
            Err(CursorError::Expired)
        );
    }
}
