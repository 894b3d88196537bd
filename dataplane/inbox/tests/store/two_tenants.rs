//! Two tenants with the same names.

use tessera_inbox::InsertOutcome;
use tessera_mqtt::Qos;

use crate::node::{HOUR, Node, insert_request, target, tenant};

#[tokio::test(flavor = "multi_thread")]
async fn they_never_see_each_other() {
    let mut node = Node::start().await;
    // One byte apart, so that they share a range, and far apart, so that they do not.
    for (one, other) in [(tenant(1), tenant(2)), (tenant(3), tenant(0xF0))] {
        let a = node.attach(one, "same", HOUR).await;
        let b = node.attach(other, "same", HOUR).await;
        assert!(!a.told.is_taken_over() && !b.attached.session_present);
        node.subscribe(a.session(), "same/#").await;
        node.insert(a.session(), "for one").await;
        assert!(node.payloads(&b).is_empty());
        node.insert(b.session(), "for other").await;
        let crossed = insert_request("m", vec![target(a.session(), Qos::AtLeastOnce)]);
        let outcomes = node
            .inbox()
            .submit_insert(other, &crossed)
            .unwrap()
            .await
            .unwrap();
        assert_eq!(
            outcomes,
            [InsertOutcome::Stored],
            "the name is the other tenant's own"
        );
        node.inbox().acknowledge(b.session(), 2).await.unwrap();
        assert_eq!(node.payloads(&a), ["for one"]);
        node.restart().await;
        let a = node.attach(one, "same", HOUR).await;
        assert_eq!(node.payloads(&a), ["for one"]);
        assert_eq!(a.attached.subscriptions.len(), 1);
        let b = node.attach(other, "same", HOUR).await;
        assert!(b.attached.subscriptions.is_empty() && node.payloads(&b).is_empty());
        let clean = node.connect(other, "same", HOUR, true).await;
        assert!(clean.attached.discarded.is_empty());
        assert!(!a.told.is_taken_over());
        assert_eq!(
            node.payloads(&a),
            ["for one"],
            "a discard of one is not felt by the other"
        );
    }
}
