//! What a write came to, and the answer that is made of it.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tessera_api_types::headers::{CONFIG_REVISION, etag};
use tessera_api_types::{Applied, WriteAccepted};
use tessera_tenancy::Revision;

/// What a write came to: what its answer is made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Outcome {
    status: u16,
    /// A JSON object; empty for an answer without a body.
    body: String,
    location: Option<String>,
    etag: Option<String>,
    pub(crate) config_revision: u64,
}

impl Outcome {
    /// 200 with a resource.
    pub(crate) fn ok<T: Serialize>(revision: u64, resource: &T, config: Revision) -> Self {
        Self::with_body(StatusCode::OK, Some(revision), resource, config)
    }

    /// 201 with a resource that now stands at `location`.
    pub(crate) fn created<T: Serialize>(
        location: String,
        revision: u64,
        resource: &T,
        config: Revision,
    ) -> Self {
        let outcome = Self::with_body(StatusCode::CREATED, Some(revision), resource, config);
        Self {
            location: Some(location),
            ..outcome
        }
    }

    /// 204: it is gone.
    pub(crate) const fn gone(config: Revision) -> Self {
        Self {
            status: StatusCode::NO_CONTENT.as_u16(),
            body: String::new(),
            location: None,
            etag: None,
            config_revision: config.0,
        }
    }

    fn with_body<T: Serialize>(
        status: StatusCode,
        revision: Option<u64>,
        resource: &T,
        config: Revision,
    ) -> Self {
        Self {
            status: status.as_u16(),
            // Serialising our own shapes cannot fail: no map has keys that are not text.
            body: serde_json::to_string(resource).unwrap_or_default(),
            location: None,
            etag: revision.map(etag),
            config_revision: config.0,
        }
    }
}

impl Outcome {
    pub(crate) fn into_answer(self, applied: Option<Applied>) -> Response {
        let behind = applied.is_some_and(|applied| applied.nodes < applied.of);
        let status = if behind {
            StatusCode::ACCEPTED.as_u16()
        } else {
            self.status
        };
        let body = match applied {
            None => self.body,
            Some(applied) if self.body.is_empty() && behind => {
                let accepted = WriteAccepted {
                    config_revision: self.config_revision,
                    applied,
                };
                serde_json::to_string(&accepted).unwrap_or_default()
            }
            Some(_) if self.body.is_empty() => self.body,
            Some(applied) => with_member(self.body, "applied", &applied),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let has_body = !body.is_empty();
        let mut response = if has_body {
            (status, body).into_response()
        } else {
            status.into_response()
        };
        let headers = response.headers_mut();
        if has_body {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
        }
        headers.insert(
            HeaderName::from_static(CONFIG_REVISION),
            self.config_revision.into(),
        );
        for (name, value) in [(header::LOCATION, self.location), (header::ETAG, self.etag)] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// A JSON object with one more member, its own left in their order.
fn with_member<T: Serialize>(mut object: String, name: &str, value: &T) -> String {
    debug_assert!(
        object.starts_with("{\"") && object.ends_with('}'),
        "an object that is not empty"
    );
    object.pop();
    let value = serde_json::to_string(value).unwrap_or_default();
    format!("{object},\"{name}\":{value}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(body: &str) -> Outcome {
        Outcome {
            status: if body.is_empty() { 204 } else { 201 },
            body: body.to_owned(),
            location: None,
            etag: Some(etag(3)),
            config_revision: 9,
        }
    }

    #[test]
    fn an_object_keeps_its_order_when_it_grows() {
        let applied = Applied { nodes: 2, of: 3 };
        let grown = with_member(r#"{"id":1,"a":2}"#.into(), "applied", &applied);
        assert_eq!(grown, r#"{"id":1,"a":2,"applied":{"nodes":2,"of":3}}"#);
    }

    #[test]
    fn a_write_that_some_node_lacks_is_accepted() {
        let status = |body, nodes| {
            let response = outcome(body).into_answer(Some(Applied { nodes, of: 3 }));
            response.status().as_u16()
        };
        assert_eq!(
            (status(r#"{"a":1}"#, 3), status(r#"{"a":1}"#, 2)),
            (201, 202)
        );
        assert_eq!((status("", 3), status("", 2)), (204, 202));
    }
}
