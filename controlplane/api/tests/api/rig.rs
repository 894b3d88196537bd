//! A control plane of its own for each test, and a client that says what it expects.

use std::path::PathBuf;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tessera_api::{Control, ControlOptions};
use tessera_tenancy::FrameKey;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::postgres::Database;

pub(crate) const PUSH_KEY: [u8; 32] = [0x11; 32];

pub(crate) struct Rig {
    pub(crate) database: Database,
    pub(crate) url: String,
    /// A platform administrator's key.
    pub(crate) admin: String,
    pub(crate) client: Client,
    process: Process,
    files: tempfile::TempDir,
}

/// A control plane that serves until it is stopped.
struct Process {
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

/// A tenant with keys of its own.
pub(crate) struct Tenant {
    pub(crate) id: String,
    pub(crate) slug: String,
    pub(crate) admin: String,
    pub(crate) viewer: String,
}

/// A request that is being put together.
pub(crate) struct Call(RequestBuilder);

impl Rig {
    pub(crate) async fn start() -> Self {
        let database = Database::create().await;
        let url = database.url();
        Self::start_at(database, url).await
    }

    /// With the database reached through `database_url`.
    pub(crate) async fn start_at(database: Database, database_url: String) -> Self {
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("push.key"), "11".repeat(32)).unwrap();
        std::fs::write(files.path().join("server.key"), "22".repeat(32)).unwrap();
        let (process, url) = Process::start(&files, database_url).await;
        let admin = std::fs::read_to_string(files.path().join("platform.key")).unwrap();
        let client = Client::builder().no_proxy().build().unwrap();
        Self {
            database,
            url,
            admin: admin.trim().to_owned(),
            client,
            process,
            files,
        }
    }

    /// The same database and keys in a new process.
    pub(crate) async fn restart(&mut self) {
        self.process.stop().await;
        let (process, url) = Process::start(&self.files, self.database.url()).await;
        (self.process, self.url) = (process, url);
    }

    pub(crate) fn call(&self, method: Method, path: &str) -> Call {
        Call(self.client.request(method, format!("{}{path}", self.url)))
    }

    pub(crate) fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path).by(&self.admin)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Call {
        self.call(Method::POST, path).by(&self.admin).json(body)
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Call {
        self.call(Method::PUT, path).by(&self.admin).json(body)
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Call {
        self.call(Method::PATCH, path).by(&self.admin).json(body)
    }

    pub(crate) fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path).by(&self.admin)
    }

    /// A tenant on the plan `free`, with an administrator's and a viewer's key.
    pub(crate) async fn tenant(&self, slug: &str) -> Tenant {
        let body = json!({"slug": slug, "plan": "free"});
        let created = self.post("/v1/tenants", &body).expect(201).await;
        Tenant {
            id: created.field("/id"),
            slug: slug.to_owned(),
            admin: self.tenant_key(slug, "tenant-admin").await,
            viewer: self.tenant_key(slug, "tenant-viewer").await,
        }
    }

    async fn tenant_key(&self, slug: &str, role: &str) -> String {
        let path = format!("/v1/tenants/{slug}/api-keys");
        let body = json!({"name": role, "role": role});
        self.post(&path, &body).expect(201).await.field("/secret")
    }

    pub(crate) fn push_key() -> FrameKey {
        FrameKey::from_bytes(PUSH_KEY)
    }
}

impl Process {
    async fn start(files: &tempfile::TempDir, database_url: String) -> (Self, String) {
        let file = |name: &str| -> PathBuf { files.path().join(name) };
        let control = Control::start(ControlOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            database_url,
            push_key_file: file("push.key"),
            server_key_file: file("server.key"),
            bootstrap_platform_key_file: Some(file("platform.key")),
        })
        .await
        .unwrap();
        let url = format!("http://{}", control.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(control.serve(async move { drop(stopped.await) }));
        (
            Self {
                stop: Some(stop),
                task: Some(task),
            },
            url,
        )
    }

    async fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
    }
}

impl Call {
    pub(crate) fn by(self, key: &str) -> Self {
        Self(self.0.bearer_auth(key))
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        Self(self.0.json(body))
    }

    /// A body as it is, with a content type.
    pub(crate) fn raw(self, content_type: &str, body: impl Into<reqwest::Body>) -> Self {
        Self(self.0.header("content-type", content_type).body(body))
    }

    pub(crate) fn header(self, name: &str, value: &str) -> Self {
        Self(self.0.header(name, value))
    }

    pub(crate) async fn send(self) -> Answer {
        let response = self.0.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer {
            status,
            headers,
            text: response.text().await.unwrap(),
        }
    }

    pub(crate) async fn expect(self, status: u16) -> Answer {
        let answer = self.send().await;
        assert_eq!(answer.status, status, "{}", answer.text);
        answer
    }

    /// A refusal of the constant shape, with this code.
    pub(crate) async fn refused(self, status: u16, code: &str) -> Answer {
        let answer = self.send().await;
        answer.assert_problem();
        assert_eq!(
            (answer.status, answer.field("/code").as_str()),
            (status, code),
            "{}",
            answer.text
        );
        answer
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The text at a pointer.
    pub(crate) fn field(&self, pointer: &str) -> String {
        match self.json().pointer(pointer) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => panic!("no {pointer} in {}", self.text),
        }
    }

    pub(crate) fn number(&self, pointer: &str) -> u64 {
        self.field(pointer).parse().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("no header {name}"));
        value.to_str().unwrap()
    }

    /// Every refusal has the same members, and tells nothing of our insides.
    pub(crate) fn assert_problem(&self) {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{}",
            self.text
        );
        let problem: tessera_api_types::Problem = serde_json::from_str(&self.text).unwrap();
        assert_eq!(problem.status, self.status);
        assert_eq!(problem.code.status(), self.status);
        assert_eq!(problem.kind, format!("/errors/{}", problem.code.as_str()));
        assert_eq!(problem.request_id, self.header("x-request-id"));
        assert!(!problem.detail.is_empty() && !problem.title.is_empty());
        for inside in [
            "panicked",
            ".rs:",
            "sqlx",
            "SELECT",
            "set_config",
            "postgres",
        ] {
            assert!(!self.text.contains(inside), "{}", self.text);
        }
    }

    /// The answer without what differs from request to request.
    pub(crate) fn essence(&self) -> (u16, Value) {
        let mut body = if self.text.is_empty() {
            Value::Null
        } else {
            self.json()
        };
        if let Some(members) = body.as_object_mut() {
            members.remove("request_id");
            members.remove("instance");
        }
        (self.status, body)
    }
}
