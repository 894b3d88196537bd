//! A decoded PUBLISH lies in the read buffer.

use bytes::BytesMut;
use tessera_mqtt::{
    ForwardedProperties, ForwardedProperty, Message, Packet, PayloadFormat, PropertyError,
    ProtocolVersion, Publish, PublishTopic,
};

use crate::harness::{hex, open_server};

fn publish(bytes: &str) -> (Publish, std::ops::Range<usize>) {
    let mut buf = BytesMut::from(hex(bytes).as_slice());
    let start = buf.as_ptr().addr();
    let range = start..start + buf.len();
    match open_server(ProtocolVersion::V5).decode(&mut buf) {
        Ok(Some(Packet::Publish(publish))) => (publish, range),
        other => panic!("{other:?}"),
    }
}

fn message(publish: Publish) -> Message {
    let named = |topic| match topic {
        PublishTopic::Name(name) | PublishTopic::Define { name, .. } => Ok(name),
        PublishTopic::Alias(alias) => Err(alias),
    };
    publish.into_message(named).unwrap()
}

fn assert_in_buffer(message: &Message, buffer: &std::ops::Range<usize>) {
    for part in [
        message.topic.as_bytes(),
        &message.payload,
        message.properties.as_bytes(),
    ] {
        assert!(buffer.contains(&part.as_ptr().addr()), "{part:?}");
    }
}

#[test]
fn topic_payload_and_properties_are_slices_of_the_read_buffer() {
    let (publish, buffer) = publish("30 0f 0001 61 09 23 0001 03 0003 612f62 6869");
    let message = message(publish);
    assert_in_buffer(&message, &buffer);
    assert_eq!(message.properties.as_bytes(), hex("03 0003 612f62"));
}

#[test]
fn forwarded_properties_come_together_inside_the_buffer() {
    let (publish, buffer) = publish(
        "30 26 0001 61 20 \
         01 01 02 0000003c 26 0001 6b 0001 76 23 0005 08 0001 72 26 0001 6b 0001 77 03 0001 74 6869",
    );
    assert_eq!(publish.expiry_seconds, Some(60));
    assert_eq!(publish.topic.alias().map(|alias| alias.get()), Some(5));
    let message = message(publish);
    assert_in_buffer(&message, &buffer);
    assert_eq!(&*message.payload, b"hi");
    let expected = [
        ForwardedProperty::PayloadFormat(PayloadFormat::Utf8),
        ForwardedProperty::User("k", "v"),
        ForwardedProperty::ResponseTopic("r"),
        ForwardedProperty::User("k", "w"),
        ForwardedProperty::ContentType("t"),
    ];
    assert!(message.properties.iter().eq(expected));
    assert!(message.payload_fits_format());
}

#[test]
fn a_detached_message_is_equal_and_lies_elsewhere() {
    let (publish, buffer) = publish("30 0f 0001 61 09 23 0001 03 0003 612f62 6869");
    let message = message(publish);
    let detached = message.detached();
    assert_eq!(detached, message);
    assert!(!buffer.contains(&detached.payload.as_ptr().addr()));
    assert_eq!(message.body_bytes(), 1 + 2 + 6);
}

#[test]
fn an_empty_payload_does_not_hold_the_buffer() {
    let (publish, buffer) = publish("30 04 0001 61 00");
    assert!(!buffer.contains(&publish.payload.as_ptr().addr()));
}

#[test]
fn stored_properties_are_checked_again() {
    let stored = |text: &str| ForwardedProperties::from_stored(hex(text).into());
    assert!(stored("").unwrap().is_empty());
    assert_eq!(
        stored("01 01 26 0001 6b 0001 76").unwrap().iter().count(),
        2
    );
    for bad in [
        "02 0000003c",
        "01 01 02 0000003c",
        "02 0000003c 01 01",
        "23 0001",
        "0b 01",
        "18 00000001",
        "01 02",
        "01 01 01 01",
        "03 0002 61",
        "7f 00",
        "08 0001 2b",
    ] {
        assert!(
            matches!(stored(bad), Err(PropertyError::Invalid(_))),
            "{bad}"
        );
    }
}

#[test]
fn properties_of_a_client_are_checked_as_they_are_made() {
    let make = |property| ForwardedProperties::from_properties([property]);
    assert!(make(ForwardedProperty::ContentType("t")).is_ok());
    assert!(make(ForwardedProperty::ContentType("\0")).is_err());
    assert!(make(ForwardedProperty::ResponseTopic("a/#")).is_err());
    assert!(make(ForwardedProperty::User("a\0", "")).is_err());
    assert!(make(ForwardedProperty::CorrelationData(&[0; 65_536])).is_err());
    let twice = [ForwardedProperty::ContentType("t"); 2];
    assert!(ForwardedProperties::from_properties(twice).is_err());
}
