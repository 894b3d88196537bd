//! What a process leaves to the next one.

use tessera_inbox::{
    InsertOutcome, SessionError, SessionKind, SubscriptionState, TenantFigures, WillEnd,
};
use tessera_mqtt::{Qos, SubscriptionOptions};

use crate::node::{HOUR, Node, filter, id, insert_request, target, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn sessions_queues_and_subscriptions_survive() {
    let mut node = Node::start().await;
    let before = node.attach(tenant(1), "c", HOUR).await;
    assert!(!before.attached.session_present);
    node.subscribe(before.session(), "x/#").await;
    node.subscribe(before.session(), "$share/g/y").await;
    let options = SubscriptionOptions::new(Qos::ExactlyOnce);
    node.inbox()
        .subscribe(before.session(), &filter("z"), options, None)
        .await
        .unwrap();
    for payload in ["one", "two"] {
        assert_eq!(
            node.insert(before.session(), payload).await,
            InsertOutcome::Stored
        );
    }
    node.restart().await;
    let after = node.attach(tenant(1), "c", HOUR).await;
    assert!(after.attached.session_present);
    assert_eq!(after.session().incarnation, before.session().incarnation);
    assert!(after.session().epoch > before.session().epoch);
    let mut stored: Vec<_> = after
        .attached
        .subscriptions
        .iter()
        .map(|stored| (stored.filter.to_string(), stored.state))
        .collect();
    stored.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        stored,
        [
            ("$share/g/y".to_owned(), SubscriptionState::Confirmed),
            ("x/#".to_owned(), SubscriptionState::Confirmed),
            ("z".to_owned(), SubscriptionState::Intended),
        ]
    );
    assert_eq!(node.payloads(&after), ["one", "two"]);
    let figures = node.inbox().figures(tenant(1)).unwrap();
    assert_eq!(
        (
            figures.sessions,
            figures.subscriptions,
            figures.queue_messages
        ),
        (1, 3, 2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_messages_are_gone() {
    let mut node = Node::start().await;
    let before = node.attach(tenant(1), "c", HOUR).await;
    for payload in ["one", "two", "three"] {
        node.insert(before.session(), payload).await;
    }
    node.inbox().acknowledge(before.session(), 2).await.unwrap();
    node.restart().await;
    let after = node.attach(tenant(1), "c", HOUR).await;
    assert_eq!(after.attached.cursor, 2);
    assert_eq!(node.payloads(&after), ["three"]);
    node.insert(after.session(), "four").await;
    let fetched = node
        .inbox()
        .fetch(after.session(), 3, 10, 1_000, 0)
        .unwrap();
    assert_eq!(fetched.messages[0].sequence, 3, "sequences go on");
    node.inbox().acknowledge(after.session(), 4).await.unwrap();
    let figures = node.inbox().figures(tenant(1)).unwrap();
    assert_eq!(
        figures,
        TenantFigures {
            sessions: 1,
            ..TenantFigures::default()
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn qos_2_handshakes_survive_in_both_directions() {
    let mut node = Node::start().await;
    let before = node.attach(tenant(1), "c", HOUR).await;
    let session = before.session();
    let targets = vec![target(session, Qos::ExactlyOnce)];
    for payload in ["released", "completed", "sent"] {
        let request = insert_request(payload, targets.clone());
        node.inbox()
            .submit_insert(tenant(1), &request)
            .unwrap()
            .await
            .unwrap();
    }
    node.inbox().received(session, 0).await.unwrap();
    node.inbox().received(session, 1).await.unwrap();
    node.inbox().completed(session, 1).await.unwrap();
    let origin = node.inbox().qos2_publishing(session, id(7)).await.unwrap();
    node.inbox().qos2_publishing(session, id(8)).await.unwrap();
    node.inbox().qos2_received(session, id(8)).await.unwrap();
    node.restart().await;
    let after = node.attach(tenant(1), "c", HOUR).await;
    assert_eq!(after.attached.released, [0]);
    assert_eq!(after.attached.received_qos2, [id(8)]);
    assert_eq!(node.payloads(&after), ["sent"]);
    let again = node
        .inbox()
        .qos2_publishing(after.session(), id(7))
        .await
        .unwrap();
    assert_eq!(
        again, origin,
        "the number of a publish outlives its process"
    );
    node.inbox()
        .qos2_released(after.session(), id(8))
        .await
        .unwrap();
    let unknown = node.inbox().qos2_received(after.session(), id(8)).await;
    assert_eq!(unknown, Err(SessionError::Unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_tried_again_by_the_next_process_is_stored_once() {
    let mut node = Node::start().await;
    let publisher = node.attach(tenant(1), "p", HOUR).await;
    let receiver = node.attach(tenant(1), "r", HOUR).await;
    let mut request = insert_request("m", vec![target(receiver.session(), Qos::ExactlyOnce)]);
    let origin = node
        .inbox()
        .qos2_publishing(publisher.session(), id(1))
        .await
        .unwrap();
    request.origin = Some(origin);
    let first = node
        .inbox()
        .submit_insert(tenant(1), &request)
        .unwrap()
        .await
        .unwrap();
    assert_eq!(first, [InsertOutcome::Stored]);
    node.restart().await;
    let publisher = node.attach(tenant(1), "p", HOUR).await;
    assert!(
        publisher.attached.received_qos2.is_empty(),
        "to be routed again"
    );
    let origin = node
        .inbox()
        .qos2_publishing(publisher.session(), id(1))
        .await
        .unwrap();
    request.origin = Some(origin);
    let second = node
        .inbox()
        .submit_insert(tenant(1), &request)
        .unwrap()
        .await
        .unwrap();
    assert_eq!(second, [InsertOutcome::Duplicate]);
    let receiver = node.attach(tenant(1), "r", HOUR).await;
    assert_eq!(node.payloads(&receiver), ["m"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_a_process_left_online_expire() {
    let mut node = Node::start().await;
    let second = SessionKind::Persistent { expiry_seconds: 1 };
    let gone = node.attach(tenant(1), "gone", second).await;
    node.subscribe(gone.session(), "x").await;
    node.attach(tenant(2), "kept", second).await;
    node.restart().await;
    let kept = node.attach(tenant(2), "kept", second).await;
    assert_eq!(
        node.expire().await,
        (0, 0),
        "offline from now on, not expired yet"
    );
    node.wait(1_000);
    assert_eq!(node.expire().await, (1, 1));
    assert_eq!(
        node.inbox().figures(tenant(1)).unwrap(),
        TenantFigures::default()
    );
    assert!(
        !node
            .attach(tenant(1), "gone", second)
            .await
            .attached
            .session_present
    );
    assert_eq!(
        node.insert(kept.session(), "m").await,
        InsertOutcome::Stored
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transient_session_leaves_nothing() {
    let mut node = Node::start().await;
    let transient = SessionKind::Transient;
    let before = node.attach(tenant(1), "c", transient).await;
    let acknowledged = node.inbox().acknowledge(before.session(), 1).await;
    assert_eq!(acknowledged, Err(SessionError::Transient));
    assert_eq!(
        node.inbox().figures(tenant(1)).unwrap(),
        TenantFigures::default()
    );
    node.restart().await;
    assert!(
        !node
            .attach(tenant(1), "c", transient)
            .await
            .attached
            .session_present
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_outlives_the_process_of_its_connection_and_is_forgotten_for_good() {
    for kind in [HOUR, SessionKind::Transient] {
        let mut node = Node::start().await;
        let attached = node.attach_with_will(tenant(1), "c", kind, "bye").await;
        assert!(attached.session().will.is_some());
        node.restart().await;
        assert_eq!(node.inbox().next_will_due(), None, "not looked for yet");
        node.expire().await;
        let due_ms = node.inbox().next_will_due().unwrap();
        assert!(due_ms > node.now_ms(), "the client may be back");
        node.wait(due_ms - node.now_ms());
        assert_eq!(node.due_wills(tenant(1)).await, ["bye"], "{kind:?}");
        node.restart().await;
        node.expire().await;
        assert_eq!(node.inbox().next_will_due(), None);
        let other = node.attach(tenant(1), "c", kind).await;
        assert_eq!(other.session().will, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_will_that_waits_is_told_to_whoever_publishes_wills() {
    let node = Node::start().await;
    let inbox = node.inbox();
    let attached = node
        .attach_with_will(tenant(1), "c", SessionKind::Transient, "bye")
        .await;
    let told = inbox.next_will_due_changed();
    inbox
        .detach(attached.session(), None, WillEnd::Published)
        .await
        .unwrap();
    told.await;
    assert_eq!(inbox.next_will_due(), Some(node.now_ms()));
    assert_eq!(node.due_wills(tenant(2)).await, [""; 0]);
    assert_eq!(inbox.take_tenants_with_wills(node.now_ms()), [tenant(1)]);
    assert_eq!(inbox.next_will_due(), None, "it is the taker's now");
    inbox.look_for_wills(tenant(1), node.now_ms() + 7).unwrap();
    assert_eq!(inbox.next_will_due(), Some(node.now_ms() + 7));
    assert_eq!(node.due_wills(tenant(1)).await, ["bye"]);
    inbox.look_for_wills(tenant(1), 0).unwrap();
}
