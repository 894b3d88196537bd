//! Strict JSON: one text, UTF-8, no repeated keys, bounded depth; then a type, or where it fails.

use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess,
};
use serde_json::{Map, Number, Value};
use serde_path_to_error::Segment;
use tessera_api_types::ErrorCode;
use tessera_domain::Violation;
use tessera_domain::text::member;

use crate::error::ApiError;

/// Longest part of a caller's text that a refusal repeats, in characters.
const ECHO_LEN_MAX: usize = 200;

/// Reads a body. Not one JSON text: 400. Not of the type: 422, naming the member.
pub(crate) fn read_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    let value = parse(bytes)?;
    // A derived reader takes an array for a struct, member by member.
    if !value.is_object() {
        return Err(Violation::new("", "invalid_type", "the body must be a JSON object").into());
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let pointer = pointer(error.path());
        let detail = shortened(&error.inner().to_string());
        Violation::new(pointer, code_of(&detail), detail).into()
    })
}

fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| ApiError::new(ErrorCode::MalformedJson, "the body is not UTF-8"))?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| {
        let detail = shortened(&error.to_string());
        // A number such as 1e999 is JSON, but no number that any member takes.
        if detail.starts_with("number out of range") {
            return Violation::new("", "number_out_of_range", detail).into();
        }
        ApiError::new(ErrorCode::MalformedJson, detail)
    })
}

/// Any JSON value, without repeated keys.
struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> serde::de::Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))?;
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(Self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(key) = from.next_key::<String>()? {
            if members.contains_key(&key) {
                return Err(A::Error::custom(format_args!(
                    "the key {key:?} stands twice"
                )));
            }
            let value = from.next_value_seed(Self)?;
            members.insert(key, value);
        }
        Ok(Value::Object(members))
    }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    path.iter()
        .fold(String::new(), |pointer, segment| match segment {
            Segment::Seq { index } => format!("{pointer}/{index}"),
            Segment::Map { key } => member(&pointer, &shortened(key)),
            Segment::Enum { variant } => member(&pointer, &shortened(variant)),
            Segment::Unknown => pointer,
        })
}

fn code_of(detail: &str) -> &'static str {
    let codes = [
        ("unknown field", "unknown_field"),
        ("missing field", "missing"),
        ("invalid type", "invalid_type"),
        ("unknown variant", "unknown_value"),
    ];
    let code = codes.iter().find(|(start, _)| detail.starts_with(start));
    code.map_or("invalid_value", |(_, code)| code)
}

fn shortened(text: &str) -> String {
    text.chars().take(ECHO_LEN_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_api_types::{QuotasPatch, TenantCreate};

    fn refused<T: DeserializeOwned + fmt::Debug>(body: &[u8]) -> (u16, String, String) {
        let error = read_json::<T>(body).unwrap_err();
        let refusal = error.refusal();
        let first = refusal.errors.first();
        (
            refusal.code.status(),
            first.map_or_else(String::new, |error| error.pointer.clone()),
            first.map_or_else(
                || refusal.code.as_str().to_owned(),
                |error| error.code.clone(),
            ),
        )
    }

    #[test]
    fn what_is_not_json_is_malformed() {
        let deep = "[".repeat(100_000);
        for body in [
            br#"{"slug":"a""#.as_slice(),
            b"",
            b"{} {}",
            b"\xef\xbb\xbf{}",
            b"{\"slug\":\"\xff\"}",
            br#"{"slug":"\ud800","plan":"free"}"#,
            br#"{"slug":"a","slug":"b","plan":"free"}"#,
            br#"{"slug":"a","plan":"free","labels":{"x":"1","x":"2"}}"#,
            br#"{"slug":NaN}"#,
            deep.as_bytes(),
        ] {
            let (status, _, code) = refused::<TenantCreate>(body);
            assert_eq!((status, code.as_str()), (400, "malformed_json"));
        }
    }

    #[test]
    fn a_wrong_member_is_named() {
        for (body, pointer, code) in [
            (
                r#"{"slug":"a","plan":"free","slag":1}"#,
                "/slag",
                "unknown_field",
            ),
            (r#"{"slug":"a"}"#, "", "missing"),
            (r#"{"slug":[],"plan":"free"}"#, "/slug", "invalid_type"),
            (r#"["a","free",null,{}]"#, "", "invalid_type"),
            ("7", "", "invalid_type"),
            (
                r#"{"slug":"a","plan":"free","labels":{"a/b":1}}"#,
                "/labels/a~1b",
                "invalid_type",
            ),
            (r#"{"slug":"a","plan":1e999}"#, "", "number_out_of_range"),
        ] {
            let found = refused::<TenantCreate>(body.as_bytes());
            assert_eq!(found, (422, pointer.to_owned(), code.to_owned()), "{body}");
        }
        for limit in ["-1", "-0", "1.5", "18446744073709551616", "\"1\"", "true"] {
            let body = format!(r#"{{"quotas":{{"connections":{{"limit":{limit}}}}}}}"#);
            let found = refused::<QuotasPatch>(body.as_bytes());
            assert_eq!(
                (found.0, found.1.as_str()),
                (422, "/quotas/connections/limit"),
                "{limit}"
            );
        }
    }
}
