//! The committed API document is what the code serves.

use std::path::PathBuf;

use serde_json::Value;

use crate::rig::Rig;

#[test]
fn the_committed_document_is_the_one_that_the_code_makes() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../openapi/tessera.v1.json");
    let made = tessera_api::document::document_text();
    if std::env::var_os("TESSERA_BLESS").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "openapi/tessera.v1.json differs from the code; if the change is meant, write it anew with \
         `TESSERA_BLESS=1 cargo test -p tessera-api --test api document`"
    );
}

#[test]
fn operations_are_named_once_and_refuse_with_problems() {
    let mut names = std::collections::BTreeSet::new();
    for operation in operations() {
        assert!(
            names.insert(operation.id.clone()),
            "{} stands twice",
            operation.id
        );
        let problem = operation
            .body
            .pointer("/responses/default/content/application~1problem+json");
        assert!(
            problem.is_some(),
            "{} says nothing of refusals",
            operation.id
        );
        let repeatable = operation.parameters().any(|name| name == "Idempotency-Key");
        assert_eq!(repeatable, operation.method == "POST", "{}", operation.id);
    }
    assert!(names.len() > 25);
}

#[tokio::test]
async fn the_document_is_served_to_everybody() {
    let rig = Rig::start().await;
    let served = rig
        .call(reqwest::Method::GET, "/openapi.json")
        .expect(200)
        .await;
    let made: Value = serde_json::from_str(&tessera_api::document::document_text()).unwrap();
    assert_eq!(served.json(), made);
}

/// One operation of the document.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) id: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) body: Value,
}

impl Operation {
    fn parameters(&self) -> impl Iterator<Item = &str> {
        let parameters = self.body["parameters"].as_array().into_iter().flatten();
        parameters.filter_map(|parameter| parameter["name"].as_str())
    }

    /// Whether it is served without a key.
    pub(crate) fn is_public(&self) -> bool {
        self.body.get("security").is_some()
    }

    pub(crate) fn has_body(&self) -> bool {
        self.body.get("requestBody").is_some()
    }

    pub(crate) fn names_tenant(&self) -> bool {
        self.path.contains("{tenant}")
    }
}

/// Every operation of the document.
pub(crate) fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&tessera_api::document::document_text()).unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["get", "put", "post", "patch", "delete"] {
            if let Some(body) = item.get(method) {
                operations.push(Operation {
                    id: body["operationId"].as_str().unwrap().to_owned(),
                    method: method.to_uppercase(),
                    path: path.clone(),
                    body: body.clone(),
                });
            }
        }
    }
    operations
}
