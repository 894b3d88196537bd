//! What nodes are told, and `?wait=applied`.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use reqwest::Method;
use serde_json::json;
use tessera_tenancy::{
    Change, ChangeBody, Frame, LimitCode, PushEnvelope, Revision, SecretKind, ServerKey,
    TenantStatus, TimelineId,
};

use crate::rig::{Answer, Rig};

const NONCE: &str = "00112233445566778899aabbccddeeff";
const SIGNATURE: &str = "x-tessera-signature";

/// A node's side of a stream.
pub(crate) struct Node {
    lines: futures_util::stream::BoxStream<'static, Vec<u8>>,
    buffer: Vec<u8>,
    number: u64,
    timeline: Option<TimelineId>,
}

impl Node {
    pub(crate) async fn open(
        rig: &Rig,
        node: u64,
        timeline: Option<TimelineId>,
        after: u64,
    ) -> Self {
        let response = request(rig, node, timeline, after).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        let lines = response
            .bytes_stream()
            .map(|part| part.unwrap().to_vec())
            .boxed();
        Self {
            lines,
            buffer: Vec::new(),
            number: 0,
            timeline,
        }
    }

    /// The next frame, its signature, nonce and number verified.
    async fn frame(&mut self) -> Frame {
        let end = loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                break end;
            }
            let part = tokio::time::timeout(Duration::from_secs(5), self.lines.next()).await;
            self.buffer.extend(
                part.expect("a stream shows that it lives")
                    .expect("it goes on"),
            );
        };
        let line: Vec<u8> = self.buffer.drain(..=end).take(end).collect();
        let PushEnvelope {
            nonce,
            number,
            frame,
        } = Rig::push_key()
            .open(std::str::from_utf8(&line).unwrap())
            .unwrap();
        assert_eq!((nonce.as_str(), number), (NONCE, self.number));
        self.number += 1;
        if let Frame::Hello { timeline, .. } = frame {
            self.timeline = Some(timeline);
        }
        frame
    }

    /// The next frame that is not a heartbeat.
    async fn news(&mut self) -> Frame {
        loop {
            match self.frame().await {
                Frame::Heartbeat { .. } => {}
                frame => return frame,
            }
        }
    }

    pub(crate) async fn change(&mut self) -> Change {
        match self.news().await {
            Frame::Changes { mut changes } => {
                assert_eq!(changes.len(), 1);
                changes.remove(0)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Reads hello and snapshot; returns its revision and entries.
    pub(crate) async fn snapshot(&mut self) -> (Revision, Vec<Change>) {
        assert!(matches!(self.frame().await, Frame::Hello { .. }));
        let Frame::SnapshotBegin { revision } = self.frame().await else {
            panic!("a snapshot begins");
        };
        let mut all = Vec::new();
        loop {
            match self.frame().await {
                Frame::Changes { changes } => all.extend(changes),
                Frame::SnapshotEnd { revision: end } => {
                    assert_eq!(end, revision);
                    return (revision, all);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fn request(
    rig: &Rig,
    node: u64,
    timeline: Option<TimelineId>,
    after: u64,
) -> reqwest::RequestBuilder {
    let timeline = timeline
        .map(|timeline| timeline.to_string())
        .unwrap_or_default();
    let target = format!(
        "/internal/v1/push?node={node}&incarnation=1&nonce={NONCE}&timeline={timeline}&after={after}"
    );
    let signature = Rig::push_key().sign(format!("GET {target}").as_bytes());
    rig.client
        .get(format!("{}{target}", rig.url))
        .header(SIGNATURE, signature)
}

async fn report(rig: &Rig, node: u64, timeline: TimelineId, revision: Revision) -> Answer {
    let body = json!({"node": node, "incarnation": 1, "timeline": timeline.to_string(),
        "revision": revision.0})
    .to_string();
    let signature = Rig::push_key().sign(body.as_bytes());
    let call = rig
        .call(Method::POST, "/internal/v1/push/applied")
        .header(SIGNATURE, &signature);
    call.raw("application/json", body).send().await
}

#[tokio::test]
async fn a_quota_change_takes_a_revision_and_reaches_the_node_at_once() {
    let rig = Rig::start().await;
    let tenant = rig.tenant("acme").await;
    let mut node = Node::open(&rig, 7, None, 0).await;
    let (revision, entries) = node.snapshot().await;
    assert_eq!((revision, entries.len()), (Revision(1), 1));

    let quotas = "/v1/platform/tenants/acme/quotas";
    let body = json!({"quotas": {"publishes_per_second": {"limit": 5}}});
    let started = Instant::now();
    let patched = rig
        .patch(quotas, &body)
        .header("if-match", "*")
        .expect(200)
        .await;
    let change = node.change().await;
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(change.revision.0, patched.number("/config_revision"));
    assert_eq!(change.tenant.to_string(), tenant.id);
    let ChangeBody::Tenant(record) = change.body else {
        panic!("a tenant is told whole");
    };
    assert_eq!(record.limits.get(LimitCode::PublishesPerSecond), Some(5));
    assert_eq!(record.limits.get(LimitCode::Connections), Some(100));
}

#[tokio::test]
async fn every_kind_of_change_is_told_in_order() {
    let rig = Rig::start().await;
    let mut node = Node::open(&rig, 7, None, 0).await;
    let (head, entries) = node.snapshot().await;
    assert_eq!((head, entries), (Revision(0), vec![]));
    let mut expected = head;
    let mut next = async |node: &mut Node| {
        expected = expected.next();
        let change = node.change().await;
        assert_eq!(change.revision, expected);
        change.body
    };

    rig.tenant("acme").await;
    assert!(matches!(next(&mut node).await, ChangeBody::Tenant(_)));
    let credentials = "/v1/tenants/acme/credentials";
    let created = rig
        .post(credentials, &json!({"username": "sensor"}))
        .expect(201)
        .await;
    let ChangeBody::Credential { id, record } = next(&mut node).await else {
        panic!("a credential");
    };
    assert_eq!(id.to_string(), created.field("/id"));
    let server = ServerKey::from_bytes([0x22; 32]);
    let digest = server.digest(created.field("/secret").as_bytes());
    assert!(
        record.secrets[0].digest.matches(&digest),
        "a node can verify the secret"
    );
    assert!(
        created
            .field("/secret")
            .starts_with(SecretKind::Device.prefix())
    );

    rig.post(&format!("{credentials}/sensor/rotate"), &json!({}))
        .expect(200)
        .await;
    let ChangeBody::Credential { record, .. } = next(&mut node).await else {
        panic!("a credential");
    };
    assert_eq!(record.secrets.len(), 2);
    assert!(record.secrets[1].digest.matches(&digest));

    rig.post("/v1/tenants/acme/suspend", &json!({}))
        .expect(200)
        .await;
    let ChangeBody::Tenant(record) = next(&mut node).await else {
        panic!("a tenant");
    };
    assert_eq!(record.status, TenantStatus::Suspended);
    rig.delete(&format!("{credentials}/sensor"))
        .expect(204)
        .await;
    assert_eq!(next(&mut node).await, ChangeBody::CredentialRemoved { id });
    rig.delete("/v1/tenants/acme").expect(204).await;
    assert_eq!(next(&mut node).await, ChangeBody::TenantRemoved);
}

#[tokio::test]
async fn a_node_goes_on_where_it_was() {
    let mut rig = Rig::start().await;
    rig.tenant("acme").await;
    let mut node = Node::open(&rig, 7, None, 0).await;
    let (revision, _) = node.snapshot().await;
    let timeline = node.timeline.unwrap();
    drop(node);
    rig.restart().await;
    rig.tenant("beta").await;
    let mut node = Node::open(&rig, 7, Some(timeline), revision.0).await;
    let head = Frame::Hello {
        timeline,
        head: Revision(2),
    };
    assert_eq!(node.frame().await, head);
    assert_eq!(node.change().await.revision, Revision(2));
    assert!(matches!(
        node.frame().await,
        Frame::Heartbeat { head: Revision(2) }
    ));

    let ahead = request(&rig, 7, Some(timeline), 3).send().await.unwrap();
    assert_eq!(
        ahead.status().as_u16(),
        409,
        "it knows what this history does not have"
    );
    let mut elsewhere = Node::open(&rig, 8, Some(TimelineId::from_bytes([5; 16])), 99).await;
    assert_eq!(
        elsewhere.snapshot().await.1.len(),
        2,
        "another history: all of this one"
    );
}

#[tokio::test]
async fn a_snapshot_holds_all_in_pages() {
    let rig = Rig::start().await;
    rig.tenant("acme").await;
    let mut owner = rig.database.owner().await;
    // More than two pages of credentials, as REST would have left them.
    sqlx::query(
        "insert into credentials (tenant_id, credential_id, username)
        select tenant_id, decode(lpad(to_hex(n), 32, '0'), 'hex'), 'c' || n
        from tenants, generate_series(1, 700) n",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    sqlx::query(
        "insert into credential_secrets (key_id, tenant_id, credential_id, digest, generation)
        select lpad(to_hex(row_number() over ()), 8, '0'), tenant_id, credential_id,
            decode(repeat('ab', 32), 'hex'), 1 from credentials",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    let mut node = Node::open(&rig, 7, None, 0).await;
    let (revision, entries) = node.snapshot().await;
    assert_eq!(entries.len(), 701);
    assert!(entries.iter().all(|entry| entry.revision == revision));
    let mut ids: Vec<_> = entries
        .iter()
        .filter_map(|entry| match &entry.body {
            ChangeBody::Credential { id, record } => {
                assert_eq!(record.secrets.len(), 1);
                Some(id)
            }
            ChangeBody::Tenant(_)
            | ChangeBody::TenantRemoved
            | ChangeBody::CredentialRemoved { .. } => None,
        })
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 700);
}

#[tokio::test]
async fn waiting_ends_when_the_live_nodes_have_applied() {
    let rig = Rig::start().await;
    let tenant = rig.tenant("acme").await;
    let nobody = rig.patch("/v1/tenants/acme?wait=applied", &json!({"plan": "pro"}));
    let nobody = nobody.expect(200).await;
    assert_eq!(
        nobody.json()["applied"],
        json!({"nodes": 0, "of": 0}),
        "there is no node"
    );

    let mut node = Node::open(&rig, 7, None, 0).await;
    let (revision, _) = node.snapshot().await;
    let timeline = node.timeline.unwrap();
    assert_eq!(report(&rig, 7, timeline, revision).await.status, 204);
    let applying = async {
        let change = node.change().await;
        assert_eq!(report(&rig, 7, timeline, change.revision).await.status, 204);
    };
    let waiting = rig.post(
        &format!("/v1/tenants/{}/suspend?wait=applied", tenant.id),
        &json!({}),
    );
    let (answer, ()) = tokio::join!(waiting.expect(200), applying);
    assert_eq!(answer.json()["applied"], json!({"nodes": 1, "of": 1}));

    let nodes = rig.get("/v1/platform/nodes").expect(200).await;
    assert_eq!(nodes.field("/data/0/id"), "7");
    assert_eq!(nodes.field("/data/0/live"), "true");
    assert_eq!(
        nodes.number("/data/0/applied_revision"),
        answer.number("/config_revision")
    );
}

#[tokio::test]
async fn waiting_for_a_node_that_does_not_apply_is_accepted_after_five_seconds() {
    let rig = Rig::start().await;
    rig.tenant("acme").await;
    let mut node = Node::open(&rig, 7, None, 0).await;
    node.snapshot().await;
    let started = Instant::now();
    let suspend = rig.post("/v1/tenants/acme/suspend?wait=applied", &json!({}));
    let delete = rig.delete("/v1/tenants/acme?wait=applied");
    let accepted = suspend.expect(202).await;
    assert!((5..8).contains(&started.elapsed().as_secs()));
    assert_eq!(accepted.json()["applied"], json!({"nodes": 0, "of": 1}));
    assert_eq!(
        accepted.field("/status"),
        "suspended",
        "it is committed all the same"
    );
    let gone = delete.expect(202).await;
    assert_eq!(gone.json()["applied"], json!({"nodes": 0, "of": 1}));
    rig.get("/v1/tenants/acme").refused(404, "not_found").await;
}

#[tokio::test]
async fn what_nodes_reported_outlives_the_control_plane() {
    let mut rig = Rig::start().await;
    rig.tenant("acme").await;
    let mut node = Node::open(&rig, u64::MAX, None, 0).await;
    let (revision, _) = node.snapshot().await;
    report(&rig, u64::MAX, node.timeline.unwrap(), revision).await;
    let mut owner = rig.database.owner().await;
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let saved: Option<i64> = sqlx::query_scalar("select max(applied_revision) from nodes")
            .fetch_one(&mut owner)
            .await
            .unwrap();
        if saved == Some(1) {
            break;
        }
        assert!(Instant::now() < deadline, "reports are saved");
        assert!(matches!(node.frame().await, Frame::Heartbeat { .. }));
    }
    drop(node);
    rig.restart().await;
    let nodes = rig.get("/v1/platform/nodes").expect(200).await;
    assert_eq!(nodes.field("/data/0/id"), u64::MAX.to_string());
    assert_eq!(nodes.number("/data/0/applied_revision"), 1);
}

#[tokio::test]
async fn unsigned_and_malformed_requests_of_nodes_are_refused() {
    let rig = Rig::start().await;
    let good = format!("/internal/v1/push?node=7&incarnation=1&nonce={NONCE}&timeline=&after=0");
    rig.call(Method::GET, &good)
        .refused(401, "unauthenticated")
        .await;
    rig.get(&good).refused(401, "unauthenticated").await;
    let signature = Rig::push_key().sign(format!("GET {good}").as_bytes());
    let other = good.replace("node=7", "node=8");
    rig.call(Method::GET, &other)
        .header(SIGNATURE, &signature)
        .refused(401, "unauthenticated")
        .await;
    for bad in [
        good.replace("after=0", "after=-1"),
        good.replace(NONCE, "short"),
        good.replace("timeline=", "timeline=xyz"),
        good.replace("&after=0", ""),
        format!("{good}&more=1"),
    ] {
        let signature = Rig::push_key().sign(format!("GET {bad}").as_bytes());
        let call = rig.call(Method::GET, &bad).header(SIGNATURE, &signature);
        call.refused(400, "invalid_parameter").await;
    }
    let path = "/internal/v1/push/applied";
    rig.call(Method::POST, path)
        .raw("application/json", "{}")
        .refused(401, "unauthenticated")
        .await;
    let signature = Rig::push_key().sign(b"{}");
    let empty = rig.call(Method::POST, path).header(SIGNATURE, &signature);
    empty
        .raw("application/json", "{}")
        .refused(422, "validation_failed")
        .await;
    let head = rig.get("/v1/platform/config-revisions").expect(200).await;
    let bytes = tessera_tenancy::decode_hex(&head.field("/timeline")).unwrap();
    let timeline = TimelineId::from_bytes(bytes.try_into().unwrap());
    assert_eq!(report(&rig, 7, timeline, Revision(99)).await.status, 409);
}

#[tokio::test]
async fn another_control_plane_tells_its_nodes_as_well() {
    let mut rig = Rig::start().await;
    let (first_url, database_url) = (rig.url.clone(), rig.database.url());
    let database = std::mem::replace(&mut rig.database, crate::postgres::Database::create().await);
    let second = Rig::start_at(database, database_url).await;
    let mut node = Node::open(&second, 7, None, 0).await;
    node.snapshot().await;
    assert_eq!(rig.url, first_url);
    rig.post("/v1/tenants", &json!({"slug": "acme", "plan": "free"}))
        .expect(201)
        .await;
    assert_eq!(node.change().await.revision, Revision(1));
}

#[tokio::test]
async fn a_restored_database_begins_another_timeline() {
    let mut rig = Rig::start().await;
    let timeline = async |rig: &Rig| {
        rig.get("/v1/platform/config-revisions")
            .expect(200)
            .await
            .field("/timeline")
    };
    let before = timeline(&rig).await;
    rig.restart().await;
    assert_eq!(timeline(&rig).await, before);
    let mut owner = rig.database.owner().await;
    sqlx::query("update config_head set lineage = 'elsewhere'")
        .execute(&mut owner)
        .await
        .unwrap();
    rig.restart().await;
    assert_ne!(timeline(&rig).await, before);
}
