//! What the values of packets say of themselves, and what their writers refuse.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use tessera_mqtt::{
    ClientId, Connect, EncodeError, MqttString, Packet, PacketId, Password, ProtocolVersion, Qos,
    StringError, Subscribe, SubscribeFilter, SubscriptionOptions, UserProperties, encode,
};

use crate::harness::{feed, open_server};

use ProtocolVersion::{V5, V31, V311};

#[test]
fn user_properties_are_found_listed_and_printed_in_their_order() {
    let pairs = [("b", "1"), ("a", "2"), ("b", "3"), ("", "")];
    let properties = UserProperties::from_pairs(pairs).unwrap();
    assert!(properties.iter().eq(pairs));
    let found = ["a", "b", "", "c"].map(|name| properties.get(name));
    assert_eq!(found, [Some("2"), Some("1"), Some(""), None]);
    let printed = r#"[("b", "1"), ("a", "2"), ("b", "3"), ("", "")]"#;
    assert_eq!(format!("{properties:?}"), printed);
    assert_eq!(UserProperties::EMPTY.get("a"), None);
}

#[test]
fn a_user_property_may_be_as_long_as_two_bytes_can_say() {
    let (longest, longer) = ("x".repeat(65_535), "x".repeat(65_536));
    assert!(UserProperties::from_pairs([(&*longest, &*longest)]).is_ok());
    for pair in [(&*longer, "v"), ("n", &*longer)] {
        let refused = UserProperties::from_pairs([pair]);
        assert_eq!(refused.err(), Some(StringError::TooLong { len: 65_536 }));
    }
}

#[test]
fn a_subscribe_keeps_its_user_properties_without_an_identifier() {
    let filter = SubscribeFilter::new(text("a"), SubscriptionOptions::new(Qos::AtMostOnce));
    let mut subscribe = Subscribe::new(PacketId::new(1).unwrap(), vec![filter]);
    subscribe.user_properties = UserProperties::from_pairs([("a", "b")]).unwrap();
    let packet = Packet::Subscribe(subscribe);
    let mut out = BytesMut::new();
    encode(&packet, V5, &mut out).unwrap();
    assert_eq!(feed(&open_server(V5), &out), (vec![packet], None));
}

#[test]
fn a_string_is_its_bytes_however_it_is_asked_for() {
    let string = text("grün");
    assert_eq!(
        <MqttString as AsRef<[u8]>>::as_ref(&string),
        "grün".as_bytes()
    );
    assert_eq!(format!("{string} {string:?}"), "grün \"grün\"");
    let known = BTreeMap::from([(string.clone(), 1)]);
    assert_eq!(known.get("grün".as_bytes()), Some(&1));
    assert_eq!(known.get(&b"gr"[..]), None);
    let borrowed: &[u8] = string.borrow();
    assert_eq!(borrowed, "grün".as_bytes());
    assert_eq!(Bytes::from(string), "grün".as_bytes());
}

#[test]
fn versions_and_levels_are_called_as_people_call_them() {
    assert_eq!(
        [V31, V311, V5].map(|version| version.to_string()),
        ["3.1", "3.1.1", "5"]
    );
    let levels = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
    assert_eq!(levels.map(u8::from), [0, 1, 2]);
}

#[test]
fn a_connect_that_contradicts_itself_or_its_version_is_not_written() {
    let named = |version| Connect::new(version, Some(ClientId::try_from("c").unwrap()));
    let refused = |connect: Connect, version| {
        let mut out = BytesMut::new();
        let refused = encode(&Packet::Connect(Box::new(connect)), version, &mut out);
        assert_eq!(out.is_empty(), refused.is_err());
        refused.err()
    };
    assert_eq!(refused(named(V311), V311), None);
    let other = refused(named(V311), V5);
    assert!(
        matches!(other, Some(EncodeError::Contradiction(_))),
        "{other:?}"
    );
    for (version, is_refused) in [(V31, true), (V311, true), (V5, false)] {
        let mut connect = named(version);
        connect.password = Some(Password::new("p"));
        assert_eq!(refused(connect, version).is_some(), is_refused, "{version}");
    }
    for (version, clean_start, is_refused) in [
        (V31, true, true),
        (V311, true, false),
        (V311, false, true),
        (V5, false, false),
    ] {
        let mut connect = Connect::new(version, None);
        connect.clean_start = clean_start;
        assert_eq!(refused(connect, version).is_some(), is_refused, "{version}");
    }
    let mut data = named(V5);
    data.authentication_data = Some(Bytes::from_static(b"d"));
    let alone = refused(data, V5);
    assert!(
        matches!(alone, Some(EncodeError::Contradiction(_))),
        "{alone:?}"
    );
}

fn text(text: &str) -> MqttString {
    MqttString::try_from(text).unwrap()
}
