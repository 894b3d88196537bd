//! The client against a scripted HTTP server over a real socket.

use std::time::Duration;

use tessera_api_types::{ErrorCode, QuotasPatch, TenantCreate};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::rest::{Client, Error, RetryPolicy, Wait};

/// Answers one request per connection, in order, and returns the requests as they came.
async fn serve(answers: Vec<String>) -> (Client, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let retry = RetryPolicy {
        pause_first: Duration::from_millis(1),
        ..RetryPolicy::default()
    };
    let client = Client::builder(address)
        .api_key("tsk_secret")
        .retry(retry)
        .build()
        .unwrap();
    let served = tokio::spawn(async move {
        let mut requests = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !is_whole(&request) {
                stream.read_buf(&mut request).await.unwrap();
            }
            requests.push(String::from_utf8(request).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        requests
    });
    (client, served)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

fn answer(status: u16, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}

fn problem(code: ErrorCode, more: &str) -> String {
    let (status, code) = (code.status(), code.as_str());
    let body = format!(
        r#"{{"type":"/errors/{code}","title":"T","status":{status},"detail":"because",
            "instance":"/","code":"{code}","request_id":"req_1"{more}}}"#
    );
    answer(status, "content-type: application/problem+json\r\n", &body)
}

const TENANT: &str = r#"{"id":"ten_00000000000000000000000000","slug":"acme","status":"active",
    "plan":"free","organization":null,"labels":{},"revision":1,"config_revision":7,
    "created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z","from_the_future":1}"#;

fn create() -> TenantCreate {
    TenantCreate {
        slug: "acme".into(),
        plan: "free".into(),
        organization: None,
        labels: std::collections::BTreeMap::new(),
    }
}

fn header<'r>(request: &'r str, name: &str) -> &'r str {
    request
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_else(|| panic!("{request}"))
}

#[tokio::test]
async fn a_create_is_repeated_with_the_same_idempotency_key() {
    let unavailable = problem(ErrorCode::Overloaded, "");
    let internal = problem(ErrorCode::Internal, "");
    let created = answer(201, "etag: \"r1\"\r\n", TENANT);
    let (client, served) = serve(vec![unavailable, internal, created]).await;
    let tenant = client
        .create_tenant(&create(), Wait::Applied)
        .await
        .unwrap();
    assert_eq!(
        (tenant.slug.as_str(), tenant.etag.as_str()),
        ("acme", "\"r1\"")
    );
    let requests = served.await.unwrap();
    assert!(
        requests[0].starts_with("POST /v1/tenants?wait=applied HTTP/1.1\r\n"),
        "{requests:?}"
    );
    assert_eq!(header(&requests[0], "authorization: "), "Bearer tsk_secret");
    let keys: Vec<&str> = requests
        .iter()
        .map(|r| header(r, "idempotency-key: "))
        .collect();
    assert_eq!(keys[0].len(), 32);
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn a_refusal_keeps_its_code_detail_and_request_id() {
    let (client, _served) = serve(vec![problem(ErrorCode::SlugTaken, "")]).await;
    let error = client
        .create_tenant(&create(), Wait::Committed)
        .await
        .unwrap_err();
    assert_eq!(error.code(), Some(ErrorCode::SlugTaken));
    assert_eq!(error.status(), Some(409));
    assert_eq!(error.to_string(), "slug_taken: because (request req_1)");
}

#[tokio::test]
async fn a_conditional_write_sends_its_etag_and_is_not_repeated_blindly() {
    let stale = problem(ErrorCode::StaleRevision, r#","current_etag":"\"r42\"""#);
    let (client, served) = serve(vec![stale]).await;
    let patch = QuotasPatch {
        quotas: std::collections::BTreeMap::new(),
        reason: None,
    };
    let error = client
        .patch_quotas("a/b", &patch, "\"r41\"", Wait::Committed)
        .await
        .unwrap_err();
    assert_eq!(error.current_etag(), Some("\"r42\""));
    let request = served.await.unwrap().remove(0);
    assert!(
        request.starts_with("PATCH /v1/platform/tenants/a%2Fb/quotas HTTP/1.1"),
        "{request}"
    );
    assert_eq!(header(&request, "if-match: "), "\"r41\"");
    assert_eq!(
        header(&request, "content-type: "),
        "application/merge-patch+json"
    );

    // One lost answer: whether it was done is not known, so the caller has to look.
    let (client, served) = serve(vec![String::new()]).await;
    let lost = client
        .patch_quotas("a", &patch, "\"r41\"", Wait::Committed)
        .await
        .unwrap_err();
    assert!(
        matches!(
            lost,
            Error::Transport {
                never_sent: false,
                ..
            }
        ),
        "{lost:?}"
    );
    assert_eq!(served.await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_list_is_read_page_by_page() {
    let page = |tenants: &str, cursor: &str| {
        answer(
            200,
            "",
            &format!(r#"{{"data":[{tenants}],"next_cursor":{cursor}}}"#),
        )
    };
    let pages = vec![
        page(&format!("{TENANT},{TENANT}"), r#""c+1""#),
        page("", r#""c2""#),
        page(TENANT, "null"),
    ];
    let (client, served) = serve(pages).await;
    let all = client.tenants().page_limit(2).collect(100).await.unwrap();
    assert_eq!(all.len(), 3);
    let paths: Vec<String> = served
        .await
        .unwrap()
        .iter()
        .map(|request| request.split(' ').nth(1).unwrap().to_owned())
        .collect();
    let first = "/v1/tenants?limit=2";
    assert_eq!(
        paths,
        [
            first,
            &format!("{first}&cursor=c%2B1"),
            &format!("{first}&cursor=c2")
        ]
    );
}

#[tokio::test]
async fn another_service_on_the_port_is_told() {
    let (client, _served) = serve(vec![answer(404, "", "<html>not here</html>")]).await;
    let error = client.tenant("a").get().await.unwrap_err();
    assert!(
        matches!(error, Error::UnexpectedAnswer { status: 404, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_in_one_line() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let retry = RetryPolicy {
        attempts_max: 1,
        ..RetryPolicy::default()
    };
    let client = Client::builder(&address).retry(retry).build().unwrap();
    let text = client.whoami().await.unwrap_err().to_string();
    let start = format!("no answer from {address}/v1/whoami: Connection refused");
    assert!(text.starts_with(&start), "{text}");
}

#[tokio::test]
async fn the_deadline_bounds_a_call_with_all_its_retries() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::builder(address)
        .deadline(Duration::from_millis(50))
        .build()
        .unwrap();
    let error = client.whoami().await.unwrap_err();
    assert!(error.to_string().ends_with(": timed out"), "{error}");
}

#[test]
fn addresses_of_another_form_are_refused_and_keys_are_not_shown() {
    for address in [
        "localhost:7880",
        "https://example.com",
        "http://x?y",
        "ftp://x",
        "",
    ] {
        assert!(Client::builder(address).build().is_err(), "{address}");
    }
    let builder = Client::builder("http://x").api_key("tsk_secret");
    assert!(!format!("{builder:?} {:?}", builder.clone().build().unwrap()).contains("tsk_secret"));
}
