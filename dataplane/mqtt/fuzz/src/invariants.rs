//! What an accepted packet promises, asked of each field.

use tessera_mqtt::{
    Ack, Auth, ClientId, ConnAck, Connect, DecodeLimits, Disconnect, FilterSpec,
    ForwardedProperties, ForwardedProperty, Message, MqttString, Packet, PacketType,
    ProtocolVersion, Publish, PublishTopic, Qos, ReasonCode, SubAck, Subscribe,
    SubscriptionOptions, TopicName, UnsubAck, Unsubscribe, UserProperties, Will,
};

use super::model::{is_filter, is_text, is_topic_name, split_share};

/// Where a packet came from.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) version: ProtocolVersion,
    pub(crate) to_server: bool,
    pub(crate) limits: DecodeLimits,
}

pub(crate) fn check(packet: &Packet, origin: &Origin) {
    let packet_type = packet.packet_type();
    assert!(may_come(packet_type, origin), "{packet:?} from {origin:?}");
    match packet {
        Packet::Connect(connect) => check_connect(connect, origin),
        Packet::ConnAck(connack) => check_connack(connack, origin),
        Packet::Publish(publish) => check_publish(publish, origin),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            check_ack(packet_type, ack, origin);
        }
        Packet::Subscribe(subscribe) => check_subscribe(subscribe, origin),
        Packet::SubAck(suback) => check_suback(suback, origin),
        Packet::Unsubscribe(unsubscribe) => check_unsubscribe(unsubscribe, origin),
        Packet::UnsubAck(unsuback) => check_unsuback(unsuback, origin),
        Packet::PingReq | Packet::PingResp => {}
        Packet::Disconnect(disconnect) => check_disconnect(disconnect, origin),
        Packet::Auth(auth) => check_auth(auth, origin),
    }
}

fn may_come(packet: PacketType, origin: &Origin) -> bool {
    match packet {
        PacketType::Connect
        | PacketType::Subscribe
        | PacketType::Unsubscribe
        | PacketType::PingReq => origin.to_server,
        PacketType::ConnAck | PacketType::SubAck | PacketType::UnsubAck | PacketType::PingResp => {
            !origin.to_server
        }
        PacketType::Publish
        | PacketType::PubAck
        | PacketType::PubRec
        | PacketType::PubRel
        | PacketType::PubComp => true,
        PacketType::Disconnect => origin.to_server || origin.version.is_v5(),
        PacketType::Auth => origin.version.is_v5(),
    }
}

fn check_connect(connect: &Connect, origin: &Origin) {
    assert_eq!(connect.version, origin.version);
    let id_may_be_empty = match connect.version {
        ProtocolVersion::V31 => false,
        ProtocolVersion::V311 => connect.clean_start,
        ProtocolVersion::V5 => true,
    };
    assert!(connect.client_id.is_some() || id_may_be_empty);
    if let Some(id) = &connect.client_id {
        check_client_id(id);
        assert!(id.as_bytes().len() <= origin.limits.client_id_bytes_max);
    }
    check_texts([&connect.username, &connect.authentication_method]);
    check_user_properties(&connect.user_properties, origin);
    assert!(connect.authentication_method.is_some() || connect.authentication_data.is_none());
    if let Some(Will { message, .. }) = &connect.will {
        check_topic(&message.topic, origin);
        check_forwarded(&message.properties, origin);
        check_message(message);
    }
    if !origin.version.is_v5() {
        assert!(connect.password.is_none() || connect.username.is_some());
        let mut plain = Connect::new(connect.version, connect.client_id.clone());
        plain.clean_start = connect.clean_start;
        plain.keep_alive_seconds = connect.keep_alive_seconds;
        plain.username.clone_from(&connect.username);
        plain.password.clone_from(&connect.password);
        plain.will = connect.will.as_ref().map(|will| Will {
            message: without_properties(&will.message),
            delay_seconds: 0,
        });
        assert_eq!(*connect, plain, "what 3.x does not have is at its default");
    }
}

fn check_connack(connack: &ConnAck, origin: &Origin) {
    let is_success = connack.reason == ReasonCode::Success;
    assert!(connack.reason.is_listed_for(PacketType::ConnAck));
    assert!(is_success || !connack.session_present);
    if let Some(id) = &connack.assigned_client_id {
        check_client_id(id);
    }
    check_texts([
        &connack.reason_string,
        &connack.response_information,
        &connack.server_reference,
        &connack.authentication_method,
    ]);
    check_user_properties(&connack.user_properties, origin);
    if !origin.version.is_v5() {
        let mut plain = ConnAck::new(connack.reason);
        plain.session_present = connack.session_present && origin.version == ProtocolVersion::V311;
        assert_eq!(*connack, plain, "what 3.x does not have is at its default");
        assert!(connack.reason.connect_return_code().is_some());
    }
}

fn check_publish(publish: &Publish, origin: &Origin) {
    let acknowledged = publish.qos != Qos::AtMostOnce;
    assert_eq!(publish.packet_id.is_some(), acknowledged);
    assert!(acknowledged || !publish.dup);
    if let Some(name) = publish.topic.name() {
        check_topic(name, origin);
    }
    check_forwarded(&publish.properties, origin);
    assert!(publish.subscription_ids.is_empty() || !origin.to_server);
    if !origin.version.is_v5() {
        assert!(matches!(publish.topic, PublishTopic::Name(_)));
        assert!(publish.properties.is_empty() && publish.subscription_ids.is_empty());
        assert_eq!(publish.expiry_seconds, None);
    }
    let message = publish.clone().into_message(|topic| match topic {
        PublishTopic::Name(name) | PublishTopic::Define { name, .. } => Ok(name),
        PublishTopic::Alias(alias) => Err(alias),
    });
    if let Ok(message) = message {
        check_message(&message);
    }
}

fn check_ack(packet: PacketType, ack: &Ack, origin: &Origin) {
    assert!(ack.reason.is_listed_for(packet));
    check_texts([&ack.reason_string]);
    check_user_properties(&ack.user_properties, origin);
    if !origin.version.is_v5() {
        assert_eq!(*ack, Ack::new(ack.packet_id));
    }
}

fn check_subscribe(subscribe: &Subscribe, origin: &Origin) {
    check_count(subscribe.filters.len(), subscribe.excess, origin);
    for filter in &subscribe.filters {
        check_filter(filter.text(), filter.spec().ok(), origin);
        let options = filter.options;
        let is_shared = filter.spec().is_ok_and(FilterSpec::is_shared);
        assert!(!(is_shared && options.no_local));
        assert!(origin.version.is_v5() || options == SubscriptionOptions::new(options.qos));
    }
    check_user_properties(&subscribe.user_properties, origin);
    assert!(origin.version.is_v5() || subscribe.subscription_id.is_none());
}

fn check_suback(suback: &SubAck, origin: &Origin) {
    let is_listed = |code: &ReasonCode| match origin.version {
        ProtocolVersion::V31 => code.as_u8() <= 2,
        ProtocolVersion::V311 => matches!(code.as_u8(), 0..=2 | 0x80),
        ProtocolVersion::V5 => code.is_listed_for(PacketType::SubAck),
    };
    assert!(!suback.codes.is_empty() && suback.codes.iter().all(is_listed));
    check_texts([&suback.reason_string]);
    check_user_properties(&suback.user_properties, origin);
}

fn check_unsubscribe(unsubscribe: &Unsubscribe, origin: &Origin) {
    check_count(unsubscribe.filters.len(), unsubscribe.excess, origin);
    for filter in &unsubscribe.filters {
        check_filter(filter.text(), filter.spec().ok(), origin);
    }
    check_user_properties(&unsubscribe.user_properties, origin);
}

fn check_unsuback(unsuback: &UnsubAck, origin: &Origin) {
    assert_eq!(unsuback.codes.is_empty(), !origin.version.is_v5());
    let is_listed = |code: &ReasonCode| code.is_listed_for(PacketType::UnsubAck);
    assert!(unsuback.codes.iter().all(is_listed));
    check_texts([&unsuback.reason_string]);
    check_user_properties(&unsuback.user_properties, origin);
}

fn check_disconnect(disconnect: &Disconnect, origin: &Origin) {
    let reason = disconnect.reason;
    assert!(match origin.to_server {
        true => reason.client_may_disconnect_with() && disconnect.server_reference.is_none(),
        false => reason.server_may_disconnect_with() && disconnect.session_expiry_seconds.is_none(),
    });
    check_texts([&disconnect.reason_string, &disconnect.server_reference]);
    check_user_properties(&disconnect.user_properties, origin);
    if !origin.version.is_v5() {
        assert_eq!(*disconnect, Disconnect::new(ReasonCode::Success));
    }
}

fn check_auth(auth: &Auth, origin: &Origin) {
    assert!(auth.reason.is_listed_for(PacketType::Auth));
    check_texts([&auth.method, &auth.reason_string]);
    check_user_properties(&auth.user_properties, origin);
    if auth.method.is_none() {
        assert_eq!(auth.reason, ReasonCode::Success);
        assert!(auth.data.is_none() && auth.reason_string.is_none());
        assert!(auth.user_properties.is_empty());
    }
}

fn check_texts<const N: usize>(texts: [&Option<MqttString>; N]) {
    for text in texts.into_iter().flatten() {
        assert!(is_text(text.as_bytes()), "{text:?}");
    }
}

fn check_client_id(id: &ClientId) {
    assert!(is_text(id.as_bytes()) && !id.as_bytes().is_empty());
}

fn check_topic(topic: &TopicName, origin: &Origin) {
    assert!(is_text(topic.as_bytes()));
    assert!(is_topic_name(
        topic.as_str(),
        origin.limits.topic_levels_max
    ));
    assert!(
        topic
            .levels()
            .eq(topic.as_str().split('/').map(str::as_bytes))
    );
}

/// The walk over user properties sees every byte of them.
fn check_user_properties(properties: &UserProperties, origin: &Origin) {
    let mut bytes = 0;
    let mut count = 0;
    for (name, value) in properties {
        assert!(is_text(name.as_bytes()) && is_text(value.as_bytes()));
        bytes += 5 + name.len() + value.len();
        count += 1;
    }
    assert_eq!(bytes, properties.as_bytes().len());
    assert!(count <= origin.limits.user_properties_max);
    assert!(count == 0 || origin.version.is_v5());
}

/// The walk over forwarded properties sees every byte of them, and none twice.
fn check_forwarded(properties: &ForwardedProperties, origin: &Origin) {
    let mut bytes = 0;
    let mut user = 0;
    let mut seen = [0_u8; 4];
    for property in properties {
        let (len, kind) = match property {
            ForwardedProperty::PayloadFormat(_) => (2, Some(0)),
            ForwardedProperty::ContentType(text) => (check_text(text), Some(1)),
            ForwardedProperty::ResponseTopic(text) => {
                assert!(!text.is_empty() && !text.contains(['+', '#']));
                (check_text(text), Some(2))
            }
            ForwardedProperty::CorrelationData(data) => (3 + data.len(), Some(3)),
            ForwardedProperty::User(name, value) => {
                user += 1;
                (check_text(name) + check_text(value) - 1, None)
            }
        };
        bytes += len;
        if let Some(kind) = kind {
            seen[kind] += 1;
        }
    }
    assert_eq!(bytes, properties.as_bytes().len());
    assert!(user <= origin.limits.user_properties_max);
    assert!(seen.iter().all(|times| *times <= 1));
    assert!(bytes == 0 || origin.version.is_v5());
}

/// Bytes of a property that is this text.
fn check_text(text: &str) -> usize {
    assert!(is_text(text.as_bytes()));
    3 + text.len()
}

/// A message is the same in memory of its own.
fn check_message(message: &Message) {
    assert_eq!(message.detached(), *message);
    let stored = message.detached().properties;
    let again = ForwardedProperties::from_stored(stored.as_bytes().to_vec().into());
    assert_eq!(again.as_ref(), Ok(&message.properties));
    let says_utf8 = message
        .properties
        .iter()
        .any(|property| matches!(property, ForwardedProperty::PayloadFormat(format) if format != tessera_mqtt::PayloadFormat::Unspecified));
    let is_utf8 = std::str::from_utf8(&message.payload).is_ok();
    assert_eq!(message.payload_fits_format(), is_utf8 || !says_utf8);
}

fn check_count(filters: usize, excess: usize, origin: &Origin) {
    let max = origin.limits.filters_max;
    assert!(filters > 0 && filters <= max);
    assert!(excess == 0 || filters == max);
}

/// A filter says something exactly if it is well formed, and is read from its text alone.
fn check_filter(text: &MqttString, spec: Option<&FilterSpec>, origin: &Origin) {
    assert!(is_text(text.as_bytes()));
    let text = text.as_str();
    let levels_max = origin.limits.topic_levels_max;
    assert_eq!(spec.is_some(), is_filter(text, levels_max), "{text:?}");
    if let Some(spec) = spec {
        assert_eq!(spec.is_shared(), split_share(text).is_some());
        assert_eq!(spec.to_string(), text);
        assert_eq!(FilterSpec::try_from(text).as_ref(), Ok(spec));
    }
}

fn without_properties(message: &Message) -> Message {
    let mut plain = Message::new(message.topic.clone(), message.payload.clone());
    plain.qos = message.qos;
    plain.retain = message.retain;
    plain
}
