//! Exact bounds and counts, and what is said at them.

use tessera_mqtt::{
    Connect, Packet, ProtocolVersion, Qos, ReasonCode, Subscribe, SubscribeFilter,
    SubscriptionOptions, UserProperties,
};
use tessera_session::{
    Accepted, Delivery, Detail, Event, Refusal, ServerLimits, SubscribeRequest, Violation,
};

use crate::pair::{ALL, Pair, V3S, client_id, connect, id, puback, string};

const V5: ProtocolVersion = ProtocolVersion::V5;

/// A connection whose client takes one QoS 1 message at a time.
fn narrow() -> Pair {
    Pair::online_with(V5, ServerLimits::default(), |connect| {
        connect.receive_maximum = std::num::NonZeroU16::MIN;
    })
}

#[test]
fn flush_leaves_a_full_buffer_alone() {
    let mut pair = Pair::new(V5);
    pair.bounds.buffer_bytes_max = 20;
    pair.connect(connect(V5));
    pair.accept(Accepted::default());
    assert_eq!(
        pair.deliver_text("longer than twenty bytes", Qos::AtLeastOnce),
        Delivery::Written
    );
    assert_eq!(
        pair.deliver_text("waits", Qos::AtLeastOnce),
        Delivery::Queued
    );
    let flush = |pair: &mut Pair| pair.with_outbound(|outbound, now, out| outbound.flush(now, out));
    assert_eq!(flush(&mut pair), 0);
    assert_eq!(
        &*pair.receive_publish().payload,
        b"longer than twenty bytes"
    );
    assert_eq!(flush(&mut pair), 1);
    assert_eq!(&*pair.receive_publish().payload, b"waits");
}

#[test]
fn what_waits_is_counted_until_it_leaves() {
    let mut pair = narrow();
    let waiting = |pair: &mut Pair| {
        pair.with_outbound(|outbound, _, _| (outbound.queued_messages(), outbound.queued_bytes()))
    };
    assert_eq!(waiting(&mut pair), (0, 0));
    for payload in ["first", "second", "third"] {
        pair.deliver_text(payload, Qos::AtLeastOnce);
    }
    let (messages, bytes) = waiting(&mut pair);
    assert_eq!(messages, 2);
    pair.receive_publish();
    pair.acknowledge(puback(1));
    let (left, left_bytes) = waiting(&mut pair);
    assert_eq!(left, 1);
    assert!(0 < left_bytes && left_bytes < bytes, "{left_bytes} {bytes}");
    pair.receive_publish();
    pair.acknowledge(puback(2));
    assert_eq!(waiting(&mut pair), (0, 0));
}

#[test]
fn what_expires_while_it_waits_is_counted_once() {
    let mut pair = narrow();
    pair.deliver_text("holds the window", Qos::AtLeastOnce);
    for expiry in [1, 1, 100] {
        let mut grant = crate::pair::grant(Qos::AtLeastOnce);
        grant.expiry_seconds = Some(expiry);
        let message = crate::pair::message("t", "waits");
        assert_eq!(pair.deliver(&message, &grant), Delivery::Queued);
    }
    let dropped =
        |pair: &mut Pair| pair.with_outbound(|outbound, _, _| outbound.take_dropped_while_queued());
    assert_eq!(dropped(&mut pair), 0);
    pair.now += std::time::Duration::from_secs(2);
    pair.receive_publish();
    pair.acknowledge(puback(1));
    assert_eq!(dropped(&mut pair), 2);
    assert_eq!(dropped(&mut pair), 0);
    pair.receive_publish();
}

#[test]
fn a_client_identifier_of_exactly_the_bound_is_taken() {
    let limits = || ServerLimits {
        client_id_bytes_max: 10,
        ..ServerLimits::default()
    };
    for version in ALL {
        let mut pair = Pair::with_limits(version, limits());
        pair.connect(Connect::new(version, Some(client_id("0123456789"))));
        let mut pair = Pair::with_limits(version, limits());
        let over = Connect::new(version, Some(client_id("0123456789a")));
        let refusal = pair.send_bad(Packet::Connect(Box::new(over)));
        assert_eq!(refusal.reason, ReasonCode::ClientIdentifierNotValid);
    }
}

#[test]
fn acknowledgements_that_leave_are_counted() {
    let mut pair = Pair::online(V5);
    let write =
        |pair: &mut Pair| pair.with_inbound(|inbound, out| inbound.write_acknowledgements(out));
    let tickets: Vec<_> = (1..=3)
        .map(|number| pair.publish(1, number).ticket.unwrap())
        .collect();
    assert_eq!(write(&mut pair), 0);
    for ticket in tickets {
        pair.with_inbound(|inbound, _| inbound.complete_publish(ticket, ReasonCode::Success, None))
            .unwrap();
    }
    assert_eq!(write(&mut pair), 3);
    assert_eq!(pair.receive().len(), 3);
    assert_eq!(write(&mut pair), 0);
}

#[test]
fn a_refused_connect_is_told_everything_that_the_refusal_says() {
    let mut pair = Pair::new(V5);
    pair.connect(connect(V5));
    let detail = Detail {
        text: Some("too many".into()),
        user_properties: UserProperties::from_pairs([("limit", "connections")]).unwrap(),
    };
    pair.close(Refusal {
        detail: detail.clone(),
        ..Refusal::new(ReasonCode::QuotaExceeded, "")
    });
    let connack = pair.receive_connack();
    assert_eq!(connack.reason, ReasonCode::QuotaExceeded);
    assert_eq!(connack.reason_string.unwrap().as_str(), "too many");
    assert_eq!(connack.user_properties, detail.user_properties);
}

#[test]
fn a_refusal_that_is_none_closes_version_3_without_a_word() {
    for version in V3S {
        let mut pair = Pair::new(version);
        pair.connect(connect(version));
        pair.close(Refusal::new(ReasonCode::Success, "done"));
        assert!(pair.receive_bytes().is_empty());
    }
}

/// A SUBSCRIBE as the decoder gives it to the machine.
fn subscribe(pair: &mut Pair, filter: &str, excess: usize) -> SubscribeRequest {
    let options = SubscriptionOptions::new(Qos::AtMostOnce);
    let mut subscribe = Subscribe::new(id(1), vec![SubscribeFilter::new(string(filter), options)]);
    subscribe.excess = excess;
    let packet = Packet::Subscribe(subscribe);
    match pair.with_inbound(|inbound, out| inbound.handle_packet(packet, out)) {
        Ok(Event::Subscribe(request)) => request,
        other => panic!("expected SUBSCRIBE, got {other:?}"),
    }
}

#[test]
fn a_filter_of_exactly_the_bound_of_bytes_is_taken() {
    for version in ALL {
        let limits = ServerLimits {
            topic_bytes_max: 10,
            ..ServerLimits::default()
        };
        let mut pair = Pair::online_with(version, limits, |_| {});
        let mut target = |filter| subscribe(&mut pair, filter, 0).entries.remove(0).target;
        assert!(target("0123456789").is_ok());
        assert_eq!(target("0123456789a"), Err(ReasonCode::TopicFilterInvalid));
    }
}

#[test]
fn filters_past_the_decoders_bound_are_refused_as_each_version_can() {
    let answer = |version| -> (Result<(), Violation>, Vec<Packet>) {
        let mut pair = Pair::online(version);
        let request = subscribe(&mut pair, "t", 2);
        let granted = [Ok(Qos::AtMostOnce)];
        let result = pair
            .with_inbound(|inbound, out| inbound.write_suback(request.token, &granted, None, out));
        (result, pair.receive())
    };
    for (version, refusal) in [
        (V5, ReasonCode::QuotaExceeded),
        (ProtocolVersion::V311, ReasonCode::UnspecifiedError),
    ] {
        let (result, packets) = answer(version);
        assert_eq!(result, Ok(()));
        match &packets[..] {
            [Packet::SubAck(suback)] => {
                let granted = ReasonCode::granted(Qos::AtMostOnce);
                assert_eq!(suback.codes, [granted, refusal, refusal]);
            }
            other => panic!("expected SUBACK, got {other:?}"),
        }
    }
    let (result, packets) = answer(ProtocolVersion::V31);
    assert_eq!(result.unwrap_err().reason, ReasonCode::QuotaExceeded);
    assert!(packets.is_empty(), "3.1 cannot say it");
}
