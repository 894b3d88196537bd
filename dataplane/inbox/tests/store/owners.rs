//! One owner at a time.

use std::sync::Arc;

use tessera_inbox::{AttachError, LiveGrant, LiveOutcome, SessionError, SessionKind, WillEnd};
use tessera_mqtt::{ClientId, Qos, SubscriptionOptions};

use crate::node::{
    HOUR, Node, OTHER, OWN, Told, filter, id, insert_request, request, target, tenant,
};

const TRANSIENT: SessionKind = SessionKind::Transient;

#[tokio::test(flavor = "multi_thread")]
async fn a_takeover_tells_and_fences_the_former_owner() {
    let node = Node::start().await;
    let former = node.attach(tenant(1), "c", HOUR).await;
    node.insert(former.session(), "m").await;
    let owner = node.attach(tenant(1), "c", HOUR).await;
    assert!(owner.attached.took_over && owner.attached.session_present);
    assert!(former.told.is_taken_over() && !owner.told.is_taken_over());
    let (inbox, session) = (node.inbox(), former.session());
    let options = SubscriptionOptions::new(Qos::AtMostOnce);
    let stale = Some(SessionError::Stale);
    assert_eq!(inbox.fetch(session, 0, 1, 1, 0).err(), stale);
    assert_eq!(inbox.acknowledge(session, 1).await.err(), stale);
    assert_eq!(inbox.received(session, 0).await.err(), stale);
    assert_eq!(inbox.completed(session, 0).await.err(), stale);
    assert_eq!(
        inbox
            .subscribe(session, &filter("x"), options, None)
            .await
            .err(),
        stale
    );
    assert_eq!(inbox.unsubscribe(session, &filter("x")).await.err(), stale);
    assert_eq!(inbox.confirm(session, &filter("x")).await.err(), stale);
    assert_eq!(inbox.qos2_publishing(session, id(1)).await.err(), stale);
    assert_eq!(inbox.qos2_received(session, id(1)).await.err(), stale);
    assert_eq!(inbox.qos2_released(session, id(1)).await.err(), stale);
    assert_eq!(
        inbox.detach(session, Some(0), WillEnd::Dropped).await.err(),
        stale
    );
    assert_eq!(node.payloads(&owner), ["m"]);
    assert!(inbox.is_online(tenant(1), &owner.session().client));
}

#[tokio::test(flavor = "multi_thread")]
async fn transient_and_persistent_owners_replace_each_other() {
    let node = Node::start().await;
    let first = node.attach(tenant(1), "c", TRANSIENT).await;
    let second = node.attach(tenant(1), "c", TRANSIENT).await;
    assert!(first.told.is_taken_over() && second.attached.took_over);
    assert_eq!(
        node.inbox()
            .detach(first.session(), None, WillEnd::Dropped)
            .await,
        Err(SessionError::Stale)
    );
    let stored = node.attach(tenant(1), "c", HOUR).await;
    assert!(second.told.is_taken_over() && !stored.attached.session_present);
    node.insert(stored.session(), "m").await;
    let resumed = node.attach(tenant(1), "c", TRANSIENT).await;
    assert!(
        resumed.attached.session_present,
        "without clean start the stored session goes on"
    );
    assert_eq!(
        resumed.session().kind,
        SessionKind::Persistent { expiry_seconds: 0 }
    );
    assert_eq!(node.payloads(&resumed), ["m"]);
    node.inbox()
        .detach(resumed.session(), None, WillEnd::Dropped)
        .await
        .unwrap();
    assert_eq!(
        node.inbox().figures(tenant(1)).unwrap().sessions,
        0,
        "and ends with this owner"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_identifier_belongs_to_its_principal() {
    let node = Node::start().await;
    let owner = node.attach(tenant(1), "stored", HOUR).await;
    let live = node.attach(tenant(1), "live", TRANSIENT).await;
    for client in ["stored", "live"] {
        for clean_start in [false, true] {
            for kind in [HOUR, TRANSIENT] {
                let told = Arc::new(Told::default());
                let thief = request(tenant(1), client, OTHER, kind, clean_start, &told);
                let refused = node.inbox().attach(thief).await;
                assert_eq!(refused.err(), Some(AttachError::OtherPrincipal));
            }
        }
    }
    assert!(!owner.told.is_taken_over() && !live.told.is_taken_over());
    node.inbox()
        .detach(owner.session(), None, WillEnd::Dropped)
        .await
        .unwrap();
    let told = Arc::new(Told::default());
    let thief = request(tenant(1), "stored", OTHER, TRANSIENT, true, &told);
    assert_eq!(
        node.inbox().attach(thief).await.err(),
        Some(AttachError::OtherPrincipal)
    );
    node.inbox()
        .detach(live.session(), None, WillEnd::Dropped)
        .await
        .unwrap();
    let other = request(tenant(1), "live", OTHER, TRANSIENT, true, &told);
    assert!(
        node.inbox().attach(other).await.is_ok(),
        "a transient binding ends with its session"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_start_discards_and_reports_the_routes() {
    let node = Node::start().await;
    for kind in [HOUR, TRANSIENT] {
        let old = node.attach(tenant(1), "c", HOUR).await;
        node.subscribe(old.session(), "x/#").await;
        node.insert(old.session(), "gone").await;
        let new = node.connect(tenant(1), "c", kind, true).await;
        assert!(!new.attached.session_present && old.told.is_taken_over());
        let [route] = &new.attached.discarded[..] else {
            panic!("{:?}", new.attached.discarded)
        };
        assert_eq!(route.filter, filter("x/#"));
        assert_eq!(route.incarnation, old.session().incarnation);
        assert_ne!(new.session().incarnation, old.session().incarnation);
        let figures = node.inbox().figures(tenant(1)).unwrap();
        assert_eq!((figures.subscriptions, figures.queue_messages), (0, 0));
        node.inbox()
            .detach(new.session(), Some(0), WillEnd::Dropped)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_session_is_discarded_whole() {
    let node = Node::start().await;
    let old = node.attach(tenant(1), "c", HOUR).await;
    for at in 0..900 {
        let options = SubscriptionOptions::new(Qos::AtMostOnce);
        let text = format!("f/{at}");
        node.inbox()
            .subscribe(old.session(), &filter(&text), options, None)
            .await
            .unwrap();
    }
    let new = node.connect(tenant(1), "c", TRANSIENT, true).await;
    assert_eq!(new.attached.discarded.len(), 900);
    let again = node.attach(tenant(1), "c", HOUR).await;
    assert!(!again.attached.session_present);
    node.inbox()
        .detach(again.session(), Some(0), WillEnd::Dropped)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_race_for_a_name_one_has_it() {
    let node = Node::start().await;
    let mut racers = Vec::new();
    for _ in 0..12 {
        let inbox = node.inbox().clone();
        let told = Arc::new(Told::default());
        let request = request(tenant(1), "c", OWN, HOUR, false, &told);
        racers.push(tokio::spawn(async move {
            (inbox.attach(request).await.unwrap(), told)
        }));
    }
    let mut raced = Vec::new();
    for racer in racers {
        raced.push(racer.await.unwrap());
    }
    let mut owners = Vec::new();
    for (attached, told) in raced {
        let owns = node.inbox().fetch(&attached.session, 0, 1, 1, 0).is_ok();
        assert_eq!(owns, !told.is_taken_over());
        owners.extend(owns.then_some(attached.session.epoch));
    }
    assert_eq!(owners.len(), 1);
    assert_eq!(owners[0].0, 12, "each was the owner in its turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attach_that_is_given_up_leaves_no_owner() {
    let node = Node::start().await;
    let second = SessionKind::Persistent { expiry_seconds: 1 };
    for _ in 0..20 {
        let told = Arc::new(Told::default());
        let attach = node
            .inbox()
            .attach(request(tenant(1), "c", OWN, second, false, &told));
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            _ = attach => {}
        }
        let held = node
            .inbox()
            .is_online(tenant(1), &ClientId::try_from("c").unwrap());
        if held {
            // The attach was faster than the one who gave it up.
            return;
        }
    }
    assert_eq!(node.expire().await.0, 0);
    node.wait(1_000);
    assert_eq!(node.expire().await.0, 1);
    assert_eq!(node.inbox().figures(tenant(1)).unwrap().sessions, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn live_messages_reach_the_owner_of_that_session_only() {
    let node = Node::start().await;
    let owner = node.attach(tenant(1), "c", HOUR).await;
    let session = owner.session().clone();
    let message = insert_request("live", Vec::new()).message;
    let grant = LiveGrant {
        retain: false,
        subscription_ids: &[],
    };
    let deliver = |incarnation| {
        node.inbox()
            .deliver_live(tenant(1), &session.client, incarnation, &message, &grant)
    };
    assert_eq!(deliver(session.incarnation), LiveOutcome::Delivered);
    let other = tessera_inbox::SessionIncarnation(session.incarnation.0 + 1);
    assert_eq!(deliver(other), LiveOutcome::NoSubscription);
    assert_eq!(owner.told.live(), 1);
    node.inbox()
        .detach(&session, None, WillEnd::Dropped)
        .await
        .unwrap();
    assert_eq!(deliver(session.incarnation), LiveOutcome::Offline);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_session_keeps_its_queue_until_it_expires() {
    let node = Node::start().await;
    let second = SessionKind::Persistent { expiry_seconds: 9 };
    let owner = node.attach(tenant(1), "c", second).await;
    node.subscribe(owner.session(), "x").await;
    let left = node
        .inbox()
        .detach(owner.session(), Some(1), WillEnd::Dropped)
        .await
        .unwrap();
    assert!(left.discarded.is_empty());
    let request = insert_request("m", vec![target(owner.session(), Qos::AtLeastOnce)]);
    node.inbox()
        .submit_insert(tenant(1), &request)
        .unwrap()
        .await
        .unwrap();
    assert_eq!(node.expire().await, (0, 0));
    node.wait(1_000);
    assert_eq!(node.expire().await, (1, 1));
    assert!(
        !node
            .attach(tenant(1), "c", second)
            .await
            .attached
            .session_present
    );
}
