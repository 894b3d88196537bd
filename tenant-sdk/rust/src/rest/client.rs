//! Sending one request: deadline, retries, and reading what comes back.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{
    ACCEPT, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, RETRY_AFTER,
};
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tessera_api_types::{Problem, Secret, headers};
use tokio::time::Instant;

use super::error::{ApiError, Error};
use super::path::PathAndQuery;
use super::retry::{Repeat, RetryPolicy};
use super::versioned::Versioned;

/// How long a call may take with all its retries, unless the builder says otherwise.
const DEADLINE_DEFAULT: Duration = Duration::from_secs(30);
/// How long one connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read; the largest page of the API is far below.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Random bytes of an idempotency key.
const IDEMPOTENCY_KEY_BYTES: usize = 16;
/// What the client calls itself.
const USER_AGENT: &str = concat!("tessera-sdk-rust/", env!("CARGO_PKG_VERSION"));

/// A client of one installation's API. Cloning is cheap and shares connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    http: reqwest::Client,
    address: String,
    api_key: Option<Secret>,
    deadline: Duration,
    retry: RetryPolicy,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.inner.address)
            .finish_non_exhaustive()
    }
}

/// Options of a [`Client`].
#[derive(Debug, Clone)]
pub struct ClientBuilder {
    address: String,
    api_key: Option<Secret>,
    deadline: Duration,
    retry: RetryPolicy,
}

impl ClientBuilder {
    /// `tsk_…`, sent as `Authorization: Bearer`. Without one only health is answered.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(Secret::new(key.into()));
        self
    }

    /// How long a call may take with all its retries. Default 30 s.
    #[must_use]
    pub const fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How often a call is repeated.
    #[must_use]
    pub const fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// The client; fails if the address is not `http://host[:port]`.
    pub fn build(self) -> Result<Client, Error> {
        let address = self.address.trim_end_matches('/').to_owned();
        let parsed = reqwest::Url::parse(&address)
            .map_err(|error| Error::Options(format!("{address:?} is no address: {error}")))?;
        if parsed.scheme() != "http" || parsed.query().is_some() || parsed.fragment().is_some() {
            let text = format!("{address:?} is not of the form http://host:port");
            return Err(Error::Options(text));
        }
        let http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect would carry the key to wherever it points.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(|error| Error::Options(error.to_string()))?;
        let Self {
            api_key,
            deadline,
            retry,
            ..
        } = self;
        Ok(Client {
            inner: Arc::new(Inner {
                http,
                address,
                api_key,
                deadline,
                retry,
            }),
        })
    }
}

/// One request, ready to be sent any number of times.
pub(crate) struct Request {
    method: Method,
    path: PathAndQuery,
    headers: HeaderMap,
    body: Option<Bytes>,
    repeat: Repeat,
}

impl Request {
    pub(crate) fn get(path: PathAndQuery) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn delete(path: PathAndQuery) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// A POST is made safe to repeat by a new idempotency key, the same for each sending.
    pub(crate) fn post(path: PathAndQuery) -> Result<Self, Error> {
        let mut random = [0; IDEMPOTENCY_KEY_BYTES];
        getrandom::fill(&mut random)
            .map_err(|error| Error::Options(format!("no random bytes: {error}")))?;
        let key = tessera_tenancy::encode_hex(&random);
        let mut request = Self::new(Method::POST, path);
        request.set(HeaderName::from_static(headers::IDEMPOTENCY_KEY), &key)?;
        Ok(request)
    }

    pub(crate) fn put(path: PathAndQuery) -> Self {
        Self::new(Method::PUT, path)
    }

    pub(crate) fn patch(path: PathAndQuery) -> Self {
        // Without `If-Match` a merge patch may be repeated: it sets, it does not add.
        Self::new(Method::PATCH, path)
    }

    fn new(method: Method, path: PathAndQuery) -> Self {
        Self {
            method,
            path,
            headers: HeaderMap::new(),
            body: None,
            repeat: Repeat::Always,
        }
    }

    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, Error> {
        let json = serde_json::to_vec(body).map_err(|error| Error::Options(error.to_string()))?;
        self.body = Some(json.into());
        let media_type = if self.method == Method::PATCH {
            headers::MERGE_PATCH_JSON
        } else {
            "application/json"
        };
        self.headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        Ok(self)
    }

    /// Write only onto that version.
    pub(crate) fn if_match(mut self, etag: Option<&str>) -> Result<Self, Error> {
        if let Some(etag) = etag {
            self.set(IF_MATCH, etag)?;
            self.repeat = Repeat::IfNotDone;
        }
        Ok(self)
    }

    fn set(&mut self, name: HeaderName, value: &str) -> Result<(), Error> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| Error::Options(format!("{name}: {value:?} cannot stand in a header")))?;
        self.headers.insert(name, value);
        Ok(())
    }
}

/// A successful answer.
pub(crate) struct Answer {
    url: String,
    status: StatusCode,
    etag: Option<String>,
    body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| Error::UnexpectedAnswer {
            status: self.status.as_u16(),
            detail: error.to_string(),
            url: self.url,
        })
    }

    pub(crate) fn versioned<T: DeserializeOwned>(mut self) -> Result<Versioned<T>, Error> {
        let etag = self.etag.take().ok_or_else(|| Error::UnexpectedAnswer {
            url: self.url.clone(),
            status: self.status.as_u16(),
            detail: "no ETag".to_owned(),
        })?;
        Ok(Versioned {
            value: self.json()?,
            etag,
        })
    }

    /// What a write without a resource in its answer says; nothing with 204.
    pub(crate) fn optional_json<T: DeserializeOwned>(self) -> Result<Option<T>, Error> {
        if self.body.is_empty() {
            Ok(None)
        } else {
            self.json().map(Some)
        }
    }
}

impl Client {
    /// Options for the API at `address`, for example `http://127.0.0.1:7880`.
    pub fn builder(address: impl Into<String>) -> ClientBuilder {
        ClientBuilder {
            address: address.into(),
            api_key: None,
            deadline: DEADLINE_DEFAULT,
            retry: RetryPolicy::default(),
        }
    }

    /// The address it was built for, without a slash at its end.
    pub fn address(&self) -> &str {
        &self.inner.address
    }

    pub(crate) async fn send(&self, request: Request) -> Result<Answer, Error> {
        let deadline = Instant::now() + self.inner.deadline;
        let mut attempt = 1;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match self.send_once(&request, left).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            // Without random bytes every client pauses alike: worse, but right.
            let random = getrandom::u32().unwrap_or(u32::MAX);
            let left = deadline.saturating_duration_since(Instant::now());
            let state = (attempt, request.repeat);
            let Some(pause) = self.inner.retry.pause(state, &error, random, left) else {
                return Err(error);
            };
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn send_once(&self, request: &Request, left: Duration) -> Result<Answer, Error> {
        let url = format!("{}{}", self.inner.address, request.path.as_str());
        let mut sending = self
            .inner
            .http
            .request(request.method.clone(), &url)
            .headers(request.headers.clone())
            .header(ACCEPT, "application/json")
            .timeout(left);
        if let Some(key) = &self.inner.api_key {
            sending = sending.bearer_auth(key.expose());
        }
        if let Some(body) = &request.body {
            sending = sending.body(body.clone());
        }
        let answer = sending
            .send()
            .await
            .map_err(|error| Error::transport(&url, &error))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = read_body(answer, &url).await?;
        if status.is_success() {
            let etag = text_of(&headers, &ETAG).map(str::to_owned);
            return Ok(Answer {
                url,
                status,
                etag,
                body,
            });
        }
        Err(refusal(url, status, &headers, &body))
    }
}

async fn read_body(mut answer: reqwest::Response, url: &str) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    let status = answer.status().as_u16();
    while let Some(chunk) = answer
        .chunk()
        .await
        .map_err(|error| Error::transport(url, &error))?
    {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            let detail = format!("more than {ANSWER_BYTES_MAX} bytes");
            return Err(Error::UnexpectedAnswer {
                url: url.to_owned(),
                status,
                detail,
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

fn refusal(url: String, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Error {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => {
            let retry_after = text_of(headers, &RETRY_AFTER)
                .and_then(|seconds| seconds.parse().ok())
                .map(Duration::from_secs);
            Error::Api(Box::new(ApiError {
                problem,
                retry_after,
            }))
        }
        Err(error) => Error::UnexpectedAnswer {
            url,
            status: status.as_u16(),
            detail: error.to_string(),
        },
    }
}

fn text_of<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests;
