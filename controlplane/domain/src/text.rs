//! Texts that callers choose: labels, names for people, slugs that are reserved.

use tessera_tenancy::{CredentialId, DeviceUsername, NameError, PlanSlug, TenantSlug};

/// Labels of one tenant.
pub const LABELS_MAX: usize = 32;
/// Longest key of a label, in characters.
pub const LABEL_KEY_LEN_MAX: usize = 63;
/// Longest value of a label, in characters.
pub const LABEL_VALUE_LEN_MAX: usize = 256;
/// Longest name for people, in characters.
pub const NAME_LEN_MAX: usize = 128;
/// Longest reason for an override, in characters.
pub const REASON_LEN_MAX: usize = 256;

/// Slugs that would be mistaken for the product's own hosts and user names.
const RESERVED: &[&str] = &[
    "admin",
    "api",
    "console",
    "docs",
    "health",
    "internal",
    "localhost",
    "metrics",
    "mqtt",
    "mqtts",
    "platform",
    "root",
    "status",
    "support",
    "system",
    "tessera",
    "www",
];

/// One member of a body that a rule refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where it stands (RFC 6901).
    pub pointer: String,
    /// A stable word.
    pub code: &'static str,
    /// What is wrong with it.
    pub detail: String,
}

impl Violation {
    /// A violation at `pointer`.
    pub fn new(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            code,
            detail: detail.into(),
        }
    }
}

/// A slug for a new tenant or organization.
pub fn check_slug(pointer: &str, text: &str) -> Result<TenantSlug, Violation> {
    let slug = text.parse().map_err(|error| name(pointer, &error))?;
    if RESERVED.contains(&text) {
        let detail = format!("'{text}' is reserved");
        return Err(Violation::new(pointer, "slug_reserved", detail));
    }
    Ok(slug)
}

/// A plan's slug, by its form only.
pub fn check_plan(pointer: &str, text: &str) -> Result<PlanSlug, Violation> {
    text.parse().map_err(|error| name(pointer, &error))
}

/// A user name for a new credential. One that reads as a credential's id is refused, since paths
/// take either.
pub fn check_username(pointer: &str, text: &str) -> Result<DeviceUsername, Violation> {
    let username = text.parse().map_err(|error| name(pointer, &error))?;
    if text.parse::<CredentialId>().is_ok() {
        let detail = "has the form of a credential's id";
        return Err(Violation::new(pointer, "looks_like_id", detail));
    }
    Ok(username)
}

/// A text for people: not empty, bounded, nothing invisible in it.
pub fn check_display(pointer: &str, text: &str, len_max: usize) -> Result<(), Violation> {
    if text.trim().is_empty() {
        return Err(Violation::new(pointer, "empty", "must not be empty"));
    }
    check_visible(pointer, text, len_max)
}

/// The key of a label.
pub fn check_label_key(pointer: &str, key: &str) -> Result<(), Violation> {
    let first = |c: char| c.is_ascii_lowercase();
    let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let formed = key
        .chars()
        .enumerate()
        .all(|(at, c)| if at == 0 { first(c) } else { rest(c) });
    if key.is_empty() || key.len() > LABEL_KEY_LEN_MAX || !formed {
        let detail = format!(
            "the key of a label is 1 to {LABEL_KEY_LEN_MAX} of a-z 0-9 . _ -, a letter first"
        );
        return Err(Violation::new(pointer, "invalid_label_key", detail));
    }
    Ok(())
}

/// The value of a label; it may be empty.
pub fn check_label_value(pointer: &str, value: &str) -> Result<(), Violation> {
    check_visible(pointer, value, LABEL_VALUE_LEN_MAX)
}

/// How many labels one tenant has.
pub fn check_label_count(pointer: &str, count: usize) -> Result<(), Violation> {
    if count > LABELS_MAX {
        let detail = format!("a tenant has at most {LABELS_MAX} labels, not {count}");
        return Err(Violation::new(pointer, "too_many_labels", detail));
    }
    Ok(())
}

/// `pointer` with one more member (RFC 6901, section 3).
pub fn member(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

fn check_visible(pointer: &str, text: &str, len_max: usize) -> Result<(), Violation> {
    let len = text.chars().count();
    if len > len_max {
        let detail = format!("must have at most {len_max} characters, has {len}");
        return Err(Violation::new(pointer, "too_long", detail));
    }
    match text.chars().find(|c| is_invisible(*c)) {
        None => Ok(()),
        Some(found) => {
            let detail = format!(
                "may not hold the invisible character U+{:04X}",
                u32::from(found)
            );
            Err(Violation::new(pointer, "invisible_character", detail))
        }
    }
}

/// Control characters, and those that reorder or hide the text around them.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn name(pointer: &str, error: &NameError) -> Violation {
    let code = match error {
        NameError::Length { .. } => "invalid_length",
        NameError::Character { .. } => "invalid_character",
    };
    Violation::new(pointer, code, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_slugs_are_refused_by_name() {
        let violation = check_slug("/slug", "admin").unwrap_err();
        assert_eq!(violation.code, "slug_reserved");
        assert_eq!(violation.detail, "'admin' is reserved");
        assert!(check_slug("/slug", "demo").is_ok());
    }

    #[test]
    fn hostile_names_are_refused() {
        let long = "a".repeat(10_240);
        for text in [
            "",
            " ",
            "a\0b",
            "a\r\nb",
            "\u{202e}evil",
            "zero\u{200b}width",
            &long,
        ] {
            assert!(
                check_display("/name", text, NAME_LEN_MAX).is_err(),
                "{text:?}"
            );
        }
        for text in ["Acme", "Müller & Söhne", "東京ガス", "ci (staging)"] {
            assert_eq!(
                check_display("/name", text, NAME_LEN_MAX),
                Ok(()),
                "{text:?}"
            );
        }
    }

    #[test]
    fn label_keys_are_plain() {
        for key in ["env", "a.b-c_d9"] {
            assert_eq!(check_label_key("", key), Ok(()));
        }
        for key in ["", "__proto__", "9a", "Env", "a b", "ä", &"a".repeat(64)] {
            assert!(check_label_key("", key).is_err(), "{key:?}");
        }
    }

    #[test]
    fn a_username_is_never_mistaken_for_an_id() {
        let id = CredentialId::from_bytes([7; 16]).to_string();
        assert_eq!(check_username("", &id).unwrap_err().code, "looks_like_id");
        assert!(check_username("", "crd_sensor").is_ok());
    }

    #[test]
    fn pointers_escape_their_members() {
        assert_eq!(member("/labels", "a/b~c"), "/labels/a~1b~0c");
    }
}
