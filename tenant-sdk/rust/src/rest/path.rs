//! Paths and queries with their parts encoded.

/// A path and query below the API's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathAndQuery {
    text: String,
    has_query: bool,
}

impl PathAndQuery {
    /// The path of these segments.
    pub(crate) fn new(segments: &[&str]) -> Self {
        let mut text = String::new();
        for segment in segments {
            text.push('/');
            encode(segment, &mut text);
        }
        Self {
            text,
            has_query: false,
        }
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        self.text.push_str(name);
        self.text.push('=');
        encode(value, &mut self.text);
        self
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Percent-encodes all but the unreserved characters (RFC 3986, 2.3): a name of any form stays one
/// segment or one value. `.` and `..` as a whole segment would be taken for steps, so they are, too.
fn encode(part: &str, out: &mut String) {
    let is_step = matches!(part, "." | "..");
    for byte in part.bytes() {
        let plain = byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
        if plain || (byte == b'.' && !is_step) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&tessera_tenancy::encode_hex(&[byte]).to_ascii_uppercase());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_any_form_stays_one_segment() {
        let path = |name| {
            PathAndQuery::new(&["v1", "tenants", name])
                .as_str()
                .to_owned()
        };
        assert_eq!(path("demo"), "/v1/tenants/demo");
        assert_eq!(path("a/b?c#d e"), "/v1/tenants/a%2Fb%3Fc%23d%20e");
        assert_eq!(path("ü"), "/v1/tenants/%C3%BC");
        assert_eq!(path("a.b"), "/v1/tenants/a.b");
    }

    #[test]
    fn parameters_are_joined_and_encoded() {
        let path = PathAndQuery::new(&["x"])
            .with("limit", "5")
            .with("cursor", "a+b&c=");
        assert_eq!(path.as_str(), "/x?limit=5&cursor=a%2Bb%26c%3D");
    }
}
