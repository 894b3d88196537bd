//! Messages in, messages out.

use tessera_inbox::{
    InsertError, InsertOutcome, OverflowPolicy, QueueBound, QueueBounds, SessionIncarnation,
};
use tessera_mqtt::{ClientId, Qos};

use crate::node::{HOUR, Node, id, insert_request, target, target_of, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_is_woken_once_a_message_is_readable() {
    let node = Node::start().await;
    let owner = node.attach(tenant(1), "c", HOUR).await;
    let request = insert_request("m", vec![target(owner.session(), Qos::AtLeastOnce)]);
    let stored = node.inbox().submit_insert(tenant(1), &request).unwrap();
    owner.told.available().await;
    assert_eq!(node.payloads(&owner), ["m"]);
    stored.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_stored_in_the_order_of_the_calls_and_wakes_less_than_once_a_message() {
    let node = Node::start().await;
    let owner = node.attach(tenant(1), "c", HOUR).await;
    let mut waits = Vec::new();
    for at in 0..500 {
        let payload = at.to_string();
        let request = insert_request(&payload, vec![target(owner.session(), Qos::AtLeastOnce)]);
        waits.push(node.inbox().submit_insert(tenant(1), &request).unwrap());
    }
    for wait in waits {
        assert_eq!(wait.await.unwrap(), [InsertOutcome::Stored]);
    }
    let expected: Vec<String> = (0..500).map(|at: u32| at.to_string()).collect();
    assert_eq!(node.payloads(&owner), expected);
    assert!(owner.told.wakes() < 500, "{} wakes", owner.told.wakes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_drops_as_its_policy_says() {
    let node = Node::start().await;
    let owner = node.attach(tenant(1), "c", HOUR).await;
    let insert = async |payload: &str, overflow| {
        let mut request = insert_request(payload, vec![target(owner.session(), Qos::AtLeastOnce)]);
        request.bounds = QueueBounds {
            messages_max: 2,
            overflow,
            ..QueueBounds::default()
        };
        node.inbox()
            .submit_insert(tenant(1), &request)
            .unwrap()
            .await
            .unwrap()[0]
    };
    for payload in ["1", "2"] {
        assert_eq!(
            insert(payload, OverflowPolicy::DropOldest).await,
            InsertOutcome::Stored
        );
    }
    let newest = insert("3", OverflowPolicy::DropNewest).await;
    assert_eq!(
        newest,
        InsertOutcome::Overflowed {
            dropped: 1,
            stored: false
        }
    );
    assert_eq!(node.payloads(&owner), ["1", "2"]);
    let oldest = insert("4", OverflowPolicy::DropOldest).await;
    assert_eq!(
        oldest,
        InsertOutcome::Overflowed {
            dropped: 1,
            stored: true
        }
    );
    assert_eq!(node.payloads(&owner), ["2", "4"]);
    let refused = insert("5", OverflowPolicy::RefusePublisher).await;
    let full = QueueBound::Messages;
    assert_eq!(refused, InsertOutcome::Refused { full });
    assert_eq!(node.payloads(&owner), ["2", "4"]);
    assert_eq!(node.inbox().figures(tenant(1)).unwrap().queue_messages, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_fan_out_reaches_all_and_a_repeat_none() {
    let node = Node::start().await;
    let publisher = node.attach(tenant(1), "p", HOUR).await;
    let mut targets = Vec::new();
    let mut owners = Vec::new();
    for at in 0..40 {
        let owner = node.attach(tenant(1), &format!("c{at}"), HOUR).await;
        targets.push(target(owner.session(), Qos::ExactlyOnce));
        owners.push(owner);
    }
    // Strangers make it more than one command.
    for at in 0..700 {
        let stranger = ClientId::try_from(&format!("s{at}")[..]).unwrap();
        targets.push(target_of(
            &stranger,
            SessionIncarnation(1),
            Qos::ExactlyOnce,
        ));
    }
    targets.rotate_left(20);
    let mut request = insert_request("m", targets);
    let origin = node
        .inbox()
        .qos2_publishing(publisher.session(), id(1))
        .await
        .unwrap();
    request.origin = Some(origin);
    let count = |outcomes: &[InsertOutcome], wanted| {
        outcomes
            .iter()
            .filter(|outcome| **outcome == wanted)
            .count()
    };
    let first = node
        .inbox()
        .submit_insert(tenant(1), &request)
        .unwrap()
        .await
        .unwrap();
    assert_eq!(count(&first, InsertOutcome::Stored), 40);
    assert_eq!(
        first[0],
        InsertOutcome::Stored,
        "outcomes stand where their targets do"
    );
    assert_eq!(first[30], InsertOutcome::NoSubscription);
    assert_eq!(first[739], InsertOutcome::Stored);
    let second = node
        .inbox()
        .submit_insert(tenant(1), &request)
        .unwrap()
        .await
        .unwrap();
    assert_eq!(count(&second, InsertOutcome::Duplicate), 740);
    for owner in &owners {
        assert_eq!(node.payloads(owner), ["m"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledgements_of_many_callers_are_committed_together() {
    let node = Node::start().await;
    let owner = node.attach(tenant(1), "c", HOUR).await;
    for at in 0..50 {
        node.insert(owner.session(), &at.to_string()).await;
    }
    let mut waits = Vec::new();
    for below in 1..=50 {
        let (inbox, session) = (node.inbox().clone(), owner.session().clone());
        waits.push(tokio::spawn(async move {
            inbox.acknowledge(&session, below).await
        }));
    }
    for wait in waits {
        wait.await.unwrap().unwrap();
    }
    assert!(node.payloads(&owner).is_empty());
    node.inbox().acknowledge(owner.session(), 3).await.unwrap();
    assert_eq!(node.inbox().figures(tenant(1)).unwrap().queue_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_queue_cannot_take_is_refused_before_anything_is_logged() {
    let node = Node::start().await;
    let owner = node.attach(tenant(1), "c", HOUR).await;
    let request = insert_request("m", vec![target(owner.session(), Qos::AtMostOnce)]);
    let refused = node.inbox().submit_insert(tenant(1), &request).err();
    assert_eq!(
        refused,
        Some(InsertError::Qos {
            qos: Qos::AtMostOnce
        })
    );
}
