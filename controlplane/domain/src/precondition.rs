//! `If-Match` (RFC 9110, 13.1.1) against the revision that is a resource's `ETag`.

/// Longest value of the header, in bytes.
pub const IF_MATCH_LEN_MAX: usize = 1024;

/// What the caller says it has read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: whatever there is.
    Any,
    /// One of these. A tag that is weak or not ours stands as `None`: it matches nothing.
    Revisions(Vec<Option<u64>>),
}

/// The header is not `*` nor a list of entity tags.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`If-Match` is not `*` nor a list of entity tags such as \"r42\", with quotation marks")]
pub struct IfMatchError;

impl IfMatch {
    /// Reads the value of the header.
    pub fn parse(text: &str) -> Result<Self, IfMatchError> {
        if text.len() > IF_MATCH_LEN_MAX {
            return Err(IfMatchError);
        }
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        text.split(',')
            .map(tag)
            .collect::<Result<_, _>>()
            .map(Self::Revisions)
    }

    /// Whether a resource at `revision` is what the caller has read.
    pub fn matches(&self, revision: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Revisions(tags) => tags.contains(&Some(revision)),
        }
    }
}

/// One entity tag. Ours have no comma inside, so splitting at commas loses none of them.
fn tag(text: &str) -> Result<Option<u64>, IfMatchError> {
    let text = text.trim();
    let (weak, quoted) = match text.strip_prefix("W/") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let opaque = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .filter(|opaque| {
            opaque
                .bytes()
                .all(|byte| byte == 0x21 || (0x23..=0x7e).contains(&byte))
        })
        .ok_or(IfMatchError)?;
    let revision = opaque
        .strip_prefix('r')
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|digits| !digits.starts_with('0'))
        .and_then(|digits| digits.parse().ok());
    // If-Match compares strongly, so a weak tag matches nothing (RFC 9110, 8.8.3.2).
    Ok(revision.filter(|_| !weak))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tags_match_their_revision_only() {
        for (text, matches) in [
            ("\"r42\"", true),
            (" \"r41\" , \"r42\" ", true),
            ("*", true),
            ("\"r41\"", false),
            ("W/\"r42\"", false),
            ("\"42\"", false),
            ("\"r042\"", false),
            ("\"\"", false),
        ] {
            assert_eq!(IfMatch::parse(text).unwrap().matches(42), matches, "{text}");
        }
    }

    #[test]
    fn what_is_no_tag_is_refused() {
        for text in [
            "",
            "r42",
            "\"r42",
            "r42\"",
            "\"r42\",",
            "\"a b\"",
            "'r42'",
            "\"r\u{e9}\"",
        ] {
            assert_eq!(IfMatch::parse(text), Err(IfMatchError), "{text}");
        }
        assert_eq!(IfMatch::parse(&"\"r1\",".repeat(300)), Err(IfMatchError));
    }

    proptest! {
        #[test]
        fn any_header_is_read_without_a_panic(text in ".{0,60}") {
            if let Ok(IfMatch::Revisions(tags)) = IfMatch::parse(&text) {
                prop_assert!(!tags.is_empty());
            }
        }
    }
}
