//! A disk that is full.

use std::time::Duration;

use tessera_inbox::{InsertError, QueueBounds, SessionError, SessionKind, SessionRef, WillEnd};
use tessera_mqtt::{Qos, SubscriptionOptions};
use tessera_shard::{Capacity, DiskState, ProposeError};

use crate::node::{Connection, HOUR, Node, filter, insert_request, target, tenant};

const FULL: ProposeError = ProposeError::DiskFull;
const QOS: Qos = Qos::AtLeastOnce;

/// Fills the sessions' queues in turn until the disk is full; how many messages each has at least.
async fn fill(node: &Node, sessions: &[&SessionRef]) -> u64 {
    let payload = "x".repeat(20_000);
    for round in 0.. {
        for session in sessions {
            let mut request = insert_request(&payload, vec![target(session, QOS)]);
            request.bounds = QueueBounds {
                messages_max: 1 << 20,
                bytes_max: 1 << 30,
                ..QueueBounds::default()
            };
            match node.inbox().submit_insert(tenant(1), &request) {
                Ok(stored) => drop(stored.await.unwrap()),
                Err(error) => {
                    assert_eq!(error, InsertError::Propose(FULL));
                    return round;
                }
            }
        }
    }
    unreachable!("a disk of so few bytes is full after a while")
}

async fn subscribe(node: &Node, session: &SessionRef, text: &str) -> Result<bool, SessionError> {
    let options = SubscriptionOptions::new(QOS);
    let filter = filter(text);
    node.inbox()
        .subscribe(session, &filter, options, None)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_takes_what_ends_and_what_is_acknowledged_and_has_room_soon_after() {
    let node = Node::start_on(Capacity::Bytes(6 << 20)).await;
    let soon = SessionKind::Persistent { expiry_seconds: 60 };
    let stays = node.attach(tenant(1), "stays", HOUR).await;
    let leaves = node.attach(tenant(1), "leaves", HOUR).await;
    let expires = node.attach(tenant(1), "expires", soon).await;
    node.subscribe(stays.session(), "a/b").await;
    let sessions = [&stays, &leaves, &expires].map(Connection::session);
    let inserted = fill(&node, &sessions).await;
    let mut state = node.disk_state();
    assert_eq!(*state.borrow(), DiskState::Full);
    let (inbox, session) = (node.inbox(), stays.session());
    let refused = subscribe(&node, session, "c").await;
    assert_eq!(refused, Err(SessionError::Propose(FULL)));
    assert!(
        inserted > 1 && !node.payloads(&stays).is_empty(),
        "it is read"
    );

    let from = stays.attached.cursor;
    let queued = inbox.fetch(session, from, 1 << 20, 1 << 30, node.now_ms());
    inbox
        .acknowledge(session, queued.unwrap().next)
        .await
        .unwrap();
    assert!(inbox.unsubscribe(session, &filter("a/b")).await.unwrap());
    inbox.confirm(session, &filter("a/b")).await.unwrap();
    inbox
        .detach(leaves.session(), Some(0), WillEnd::Dropped)
        .await
        .unwrap();
    inbox
        .detach(expires.session(), None, WillEnd::Dropped)
        .await
        .unwrap();
    node.wait(61_000);
    assert_eq!(node.expire().await.0, 1);

    let roomy = state.wait_for(|state| *state == DiskState::Roomy);
    let waited = tokio::time::timeout(Duration::from_secs(10), roomy).await;
    assert!(waited.is_ok_and(|state| state.is_ok()));
    assert!(!subscribe(&node, session, "c").await.unwrap());
}
