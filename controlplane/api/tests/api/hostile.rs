//! Requests that nobody should send: refused with a problem, nothing changed, nothing told.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::Rig;

/// Sends bodies as JSON that are all refused the same way.
async fn refused(rig: &Rig, status: u16, code: &str, bodies: &[&[u8]]) {
    for body in bodies {
        let call = rig.call(Method::POST, "/v1/tenants").by(&rig.admin);
        let call = call.raw("application/json", body.to_vec());
        call.refused(status, code).await;
    }
}

#[tokio::test]
async fn bodies_that_are_not_what_they_must_be() {
    let rig = Rig::start().await;
    let deep = "[".repeat(50_000);
    let malformed: [&[u8]; 8] = [
        br#"{"slug":"a","plan"#,
        b"",
        b"\xef\xbb\xbf{\"slug\":\"a\",\"plan\":\"free\"}",
        b"{\"slug\":\"\xff\",\"plan\":\"free\"}",
        br#"{"slug":"\ud800","plan":"free"}"#,
        br#"{"slug":"a","slug":"b","plan":"free"}"#,
        br#"{"slug":"a","plan":"free"} {}"#,
        deep.as_bytes(),
    ];
    refused(&rig, 400, "malformed_json", &malformed).await;
    let wide = format!(r#"{{"slug":"{}","plan":"free"}}"#, "a".repeat(70_000));
    refused(&rig, 413, "body_too_large", &[wide.as_bytes()]).await;
    let mistaken: [&[u8]; 4] = [
        br#"{"slug":"a","plan":"free","admin":true}"#,
        br#"[{"slug":"a","plan":"free"}]"#,
        br#"["a","free",null,{}]"#,
        br#"{"slug":{"$ne":null},"plan":"free"}"#,
    ];
    refused(&rig, 422, "validation_failed", &mistaken).await;
}

#[tokio::test]
async fn media_types_that_are_not_json() {
    let rig = Rig::start().await;
    let fine = r#"{"slug":"acme","plan":"free"}"#;
    let call = || rig.call(Method::POST, "/v1/tenants").by(&rig.admin);
    for media_type in [
        "text/plain",
        "application/json; charset=latin1",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "",
    ] {
        let call = call().raw(media_type, fine);
        call.refused(415, "unsupported_media_type").await;
    }
    call().refused(415, "unsupported_media_type").await;
    let zipped = call()
        .raw("application/json", fine)
        .header("content-encoding", "gzip");
    zipped.refused(415, "unsupported_media_type").await;
    call()
        .raw("Application/JSON; charset=UTF-8", fine)
        .expect(201)
        .await;
}

#[tokio::test]
async fn names_that_are_none() {
    let rig = Rig::start().await;
    let long = "a".repeat(10_240);
    for slug in [
        "",
        " ",
        "a\0b",
        "a\r\nb",
        "\u{202e}a",
        "😀",
        "__proto__",
        "Acme",
        "a.b",
        "-a",
        "admin",
        &long,
        "'; drop table tenants; --",
    ] {
        let body = json!({"slug": slug, "plan": "free"});
        let refused = rig
            .post("/v1/tenants", &body)
            .refused(422, "validation_failed")
            .await;
        assert_eq!(refused.field("/errors/0/pointer"), "/slug", "{slug:?}");
        assert!(refused.text.len() < 2_000, "what was sent is not sent back");
    }
    rig.tenant("acme").await;
    for username in ["", "a/b", "#", "+", "a b", "a\0", "ü", &long] {
        let body = json!({"username": username});
        let path = "/v1/tenants/acme/credentials";
        rig.post(path, &body)
            .refused(422, "validation_failed")
            .await;
    }
    let labels: serde_json::Map<_, _> = (0..33).map(|at| (format!("k{at}"), json!("v"))).collect();
    for labels in [
        json!(labels),
        json!({"__proto__": "x"}),
        json!({"a": "b\u{0}"}),
        json!({"a": 1}),
    ] {
        let body = json!({"slug": "b", "plan": "free", "labels": labels});
        rig.post("/v1/tenants", &body)
            .refused(422, "validation_failed")
            .await;
    }
    let patch = rig.patch("/v1/tenants/acme", &json!({"plan": null}));
    patch.refused(422, "validation_failed").await;
    let key = json!({"name": "\u{202e}key", "role": "tenant-admin"});
    rig.post("/v1/tenants/acme/api-keys", &key)
        .refused(422, "validation_failed")
        .await;
}

#[tokio::test]
async fn paths_that_lead_nowhere() {
    let rig = Rig::start().await;
    rig.tenant("acme").await;
    for path in [
        "/v1/tenants/%00",
        "/v1/tenants/acme%2fcredentials",
        "/v1/tenants/ACME",
        "/v1/tenants/ten_",
        "/v1/tenants/%7Bacme%7D",
        "/v1/tenants/'%20or%201=1",
        "/v1/tenants/acme/credentials/%00",
        "/v1/tenants/acme/credentials/crd_zzzzzzzzzzzzzzzzzzzzzzzzzz",
        "/v1/tenants/acme/api-keys/KEY_00000000000000000000000000",
        "/v1/nothing",
        "/v1/tenants/acme/",
        "//v1/tenants",
    ] {
        rig.get(path).refused(404, "not_found").await;
    }
    rig.get("/v1/tenants/%ff")
        .refused(400, "malformed_request")
        .await;
    for (method, path) in [
        (Method::TRACE, "/v1/tenants"),
        (Method::DELETE, "/v1/plans"),
        (Method::from_bytes(b"BREW").unwrap(), "/healthz"),
    ] {
        let refused = rig.call(method, path).by(&rig.admin);
        let refused = refused.refused(405, "method_not_allowed").await;
        assert!(refused.header("allow").contains("GET"));
    }
}

#[tokio::test]
async fn parameters_and_cursors_that_are_none() {
    let rig = Rig::start().await;
    let tenant = rig.tenant("acme").await;
    rig.tenant("beta").await;
    for query in [
        "limit=0",
        "limit=-1",
        "limit=501",
        "limit=1000000000",
        "limit=1.5",
        "limit=",
        "limit=x",
        "limit=1&limit=2",
        "order=slug",
        "status=gone",
        "status='; select pg_sleep(9); --",
        "sort=pg_sleep(9)",
        "search=(a%2B)%2B$",
    ] {
        rig.get(&format!("/v1/tenants?{query}"))
            .refused(400, "invalid_parameter")
            .await;
    }
    rig.post("/v1/tenants?wait=forever", &json!({}))
        .refused(400, "invalid_parameter")
        .await;

    let cursor = rig
        .get("/v1/tenants?limit=1")
        .expect(200)
        .await
        .field("/next_cursor");
    let mut flipped = cursor.clone().into_bytes();
    flipped[30] ^= 1;
    let flipped = String::from_utf8(flipped).unwrap();
    for query in [
        format!("cursor={flipped}"),
        format!("cursor={}", cursor.to_uppercase()),
        format!("cursor={cursor}&status=active"),
        "cursor=".to_owned(),
        "cursor=%00".to_owned(),
        format!("cursor={}", "ab".repeat(2_000)),
    ] {
        rig.get(&format!("/v1/tenants?{query}"))
            .refused(400, "invalid_cursor")
            .await;
    }
    let foreign = rig
        .call(Method::GET, &format!("/v1/tenants?cursor={cursor}"))
        .by(&tenant.admin);
    foreign.refused(400, "invalid_cursor").await;
    let elsewhere = rig.get(&format!("/v1/organizations?cursor={cursor}"));
    elsewhere.refused(400, "invalid_cursor").await;
}

#[tokio::test]
async fn headers_that_are_ambiguous() {
    let rig = Rig::start().await;
    let twice = rig
        .get("/v1/whoami")
        .header("authorization", "Bearer tsk_x");
    twice.refused(400, "malformed_request").await;
    for header in [
        "Basic YTpi",
        "Bearer",
        "tsk_",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
    ] {
        let call = rig
            .call(Method::GET, "/v1/whoami")
            .header("authorization", header);
        call.refused(401, "unauthenticated").await;
    }
    let huge = format!("Bearer {}", "a".repeat(16_000));
    let call = rig
        .call(Method::GET, "/v1/whoami")
        .header("authorization", &huge);
    call.refused(401, "unauthenticated").await;
    let given = rig
        .get("/v1/whoami")
        .header("x-request-id", "trace-1")
        .expect(200)
        .await;
    assert_eq!(given.header("x-request-id"), "trace-1");
    let given = rig
        .get("/v1/whoami")
        .header("x-request-id", "a\"b<script>")
        .expect(200)
        .await;
    assert!(given.header("x-request-id").starts_with("req_"));
    assert_eq!(given.header("cache-control"), "no-store");
}

#[tokio::test]
async fn heads_that_smuggle_or_flood() {
    let rig = Rig::start().await;
    let head = |lines: &str| format!("POST /v1/tenants HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
    let many: String = (0..200).map(|at| format!("x-{at}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(64 * 1024));
    for (lines, statuses) in [
        ("Content-Length: 4\r\nContent-Length: 5\r\n", [400, 400]),
        (
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            [400, 401],
        ),
        ("Content-Length : 4\r\n", [400, 400]),
        (" folded: 4\r\n", [400, 400]),
        (many.as_str(), [431, 431]),
        (long.as_str(), [431, 431]),
    ] {
        let status = raw_status(&rig, &head(lines)).await;
        assert!(
            statuses.contains(&status),
            "{status} for {}",
            &lines[..lines.len().min(60)]
        );
    }
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_refused_unread() {
    let rig = Rig::start().await;
    let head = format!(
        "POST /v1/tenants HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nContent-Length: 100000000\r\n\r\n",
        rig.admin
    );
    assert_eq!(raw_status(&rig, &head).await, 413);
}

#[tokio::test]
async fn errors_are_explained_where_their_type_leads() {
    let rig = Rig::start().await;
    let refused = rig.get("/v1/tenants/none").refused(404, "not_found").await;
    let page = rig
        .call(Method::GET, &refused.field("/type"))
        .expect(200)
        .await;
    assert!(page.text.starts_with("404 not_found"));
    rig.call(Method::GET, "/errors/unheard_of")
        .refused(404, "not_found")
        .await;
}

async fn raw_status(rig: &Rig, head: &str) -> u16 {
    let address = rig.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may answer and close before all of it is written.
    drop(stream.write_all(head.as_bytes()).await);
    let mut answer = vec![0; 12];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut answer)).await;
    read.unwrap().unwrap();
    String::from_utf8(answer).unwrap()[9..12].parse().unwrap()
}
