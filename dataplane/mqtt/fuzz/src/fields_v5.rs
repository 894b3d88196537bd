//! What the other codec reads in a packet of MQTT 5.

use std::num::NonZeroU16;

use rmqtt_codec::types::Publish as TheirPublish;
use rmqtt_codec::v5;
use tessera_mqtt::{
    Ack, Auth, ConnAck, Connect, Disconnect, ForwardedProperties, ForwardedProperty, MqttString,
    Packet, PayloadFormat, Publish, ReasonCode, SubAck, Subscribe, UnsubAck, Unsubscribe,
    UserProperties, Will,
};

pub(crate) fn check(ours: &Packet, theirs: &v5::Packet) {
    use v5::Packet as Theirs;
    match (ours, theirs) {
        (Packet::Connect(ours), Theirs::Connect(theirs)) => check_connect(ours, theirs),
        (Packet::ConnAck(ours), Theirs::ConnectAck(theirs)) => check_connack(ours, theirs),
        (Packet::Publish(ours), Theirs::Publish(theirs)) => check_publish(ours, theirs),
        (Packet::PubAck(ours), Theirs::PublishAck(theirs))
        | (Packet::PubRec(ours), Theirs::PublishReceived(theirs)) => {
            check_ack(ours, theirs.packet_id, theirs.reason_code.into());
            check_words(&ours.reason_string, theirs.reason_string.as_deref());
            check_user(&ours.user_properties, &theirs.properties);
        }
        (Packet::PubRel(ours), Theirs::PublishRelease(theirs))
        | (Packet::PubComp(ours), Theirs::PublishComplete(theirs)) => {
            check_ack(ours, theirs.packet_id, theirs.reason_code.into());
            check_words(&ours.reason_string, theirs.reason_string.as_deref());
            check_user(&ours.user_properties, &theirs.properties);
        }
        (Packet::Subscribe(ours), Theirs::Subscribe(theirs)) => check_subscribe(ours, theirs),
        (Packet::SubAck(ours), Theirs::SubscribeAck(theirs)) => check_suback(ours, theirs),
        (Packet::Unsubscribe(ours), Theirs::Unsubscribe(theirs)) => {
            check_unsubscribe(ours, theirs);
        }
        (Packet::UnsubAck(ours), Theirs::UnsubscribeAck(theirs)) => check_unsuback(ours, theirs),
        (Packet::PingReq, Theirs::PingRequest) | (Packet::PingResp, Theirs::PingResponse) => {}
        (Packet::Disconnect(ours), Theirs::Disconnect(theirs)) => check_disconnect(ours, theirs),
        (Packet::Auth(ours), Theirs::Auth(theirs)) => check_auth(ours, theirs),
        _ => panic!("another type: {ours:?}, {theirs:?}"),
    }
}

fn check_connect(ours: &Connect, theirs: &v5::Connect) {
    assert_eq!(
        (
            ours.clean_start,
            ours.keep_alive_seconds,
            ours.client_id.as_ref().map_or("", |id| id.as_str()),
            ours.username.as_ref().map(MqttString::as_str),
            ours.password.as_ref().map(|password| password.as_bytes()),
            ours.session_expiry_seconds,
        ),
        (
            theirs.clean_start,
            theirs.keep_alive,
            &*theirs.client_id,
            theirs.username.as_deref(),
            theirs.password.as_deref(),
            theirs.session_expiry_interval_secs,
        )
    );
    assert_eq!(
        (
            ours.receive_maximum,
            ours.packet_bytes_max,
            ours.topic_alias_maximum,
            ours.request_response_information,
            ours.request_problem_information,
            ours.authentication_data.as_deref(),
        ),
        (
            theirs.receive_max.unwrap_or(NonZeroU16::MAX),
            theirs.max_packet_size,
            theirs.topic_alias_max,
            theirs.request_response_info,
            theirs.request_problem_info,
            theirs.auth_data.as_deref(),
        )
    );
    check_words(&ours.authentication_method, theirs.auth_method.as_deref());
    check_user(&ours.user_properties, &theirs.user_properties);
    match (&ours.will, &theirs.last_will) {
        (Some(ours), Some(theirs)) => check_will(ours, theirs),
        (None, None) => {}
        _ => panic!("a will that one does not see"),
    }
}

fn check_will(ours: &Will, theirs: &v5::LastWill) {
    let message = &ours.message;
    assert_eq!(
        (
            message.topic.as_str(),
            &message.payload,
            (message.qos.as_u8(), message.retain),
            message.expiry_seconds,
            ours.delay_seconds,
        ),
        (
            &*theirs.topic,
            &theirs.message,
            (theirs.qos.value(), theirs.retain),
            theirs.message_expiry_interval.map(|seconds| seconds.get()),
            theirs.will_delay_interval_sec.unwrap_or(0),
        )
    );
    let theirs = Forwarded {
        is_utf8: theirs.is_utf8_payload.unwrap_or(false),
        content_type: theirs.content_type.as_deref(),
        response_topic: theirs.response_topic.as_deref(),
        correlation_data: theirs.correlation_data.as_deref(),
        user: pairs(&theirs.user_properties).collect(),
    };
    assert_eq!(Forwarded::of(&message.properties), theirs);
}

fn check_connack(ours: &ConnAck, theirs: &v5::ConnectAck) {
    assert_eq!(
        (
            ours.session_present,
            ours.reason.as_u8(),
            ours.session_expiry_seconds,
            ours.receive_maximum,
            ours.maximum_qos.as_u8(),
            ours.packet_bytes_max.map(|bytes| bytes.get()),
            ours.assigned_client_id.as_ref().map(|id| id.as_str()),
            ours.topic_alias_maximum,
            ours.server_keep_alive_seconds,
        ),
        (
            theirs.session_present,
            u8::from(theirs.reason_code),
            theirs.session_expiry_interval_secs,
            theirs.receive_max,
            theirs.max_qos.value(),
            theirs.max_packet_size,
            theirs.assigned_client_id.as_deref(),
            theirs.topic_alias_max,
            theirs.server_keepalive_sec,
        )
    );
    assert_eq!(
        [
            ours.retain_available,
            ours.wildcard_subscription_available,
            ours.subscription_ids_available,
            ours.shared_subscription_available,
        ],
        [
            theirs.retain_available,
            theirs.wildcard_subscription_available,
            theirs.subscription_identifiers_available,
            theirs.shared_subscription_available,
        ]
    );
    check_words(&ours.reason_string, theirs.reason_string.as_deref());
    check_words(&ours.response_information, theirs.response_info.as_deref());
    check_words(&ours.server_reference, theirs.server_reference.as_deref());
    check_words(&ours.authentication_method, theirs.auth_method.as_deref());
    assert_eq!(ours.authentication_data, theirs.auth_data);
    check_user(&ours.user_properties, &theirs.user_properties);
}

fn check_publish(ours: &Publish, theirs: &TheirPublish) {
    let Some(properties) = &theirs.properties else {
        panic!("the other sees no properties")
    };
    assert_eq!(
        (
            ours.topic.name().map_or("", |name| name.as_str()),
            &ours.payload,
            (ours.qos.as_u8(), ours.retain, ours.dup),
            ours.packet_id.map(|id| id.get()),
            ours.topic.alias().map(|alias| alias.get()),
            ours.expiry_seconds,
        ),
        (
            &*theirs.topic,
            &theirs.payload,
            (theirs.qos.value(), theirs.retain, theirs.dup),
            theirs.packet_id.map(|id| id.get()),
            properties.topic_alias.map(|alias| alias.get()),
            properties
                .message_expiry_interval
                .map(|seconds| seconds.get()),
        )
    );
    let ids = ours.subscription_ids.iter().map(|id| id.get());
    assert!(ids.eq(properties.subscription_ids.iter().map(|id| id.get())));
    let theirs = Forwarded {
        is_utf8: properties.is_utf8_payload,
        content_type: properties.content_type.as_deref(),
        response_topic: properties.response_topic.as_deref(),
        correlation_data: properties.correlation_data.as_deref(),
        user: pairs(&properties.user_properties).collect(),
    };
    assert_eq!(Forwarded::of(&ours.properties), theirs);
}

fn check_ack(ours: &Ack, packet_id: NonZeroU16, reason: u8) {
    assert_eq!(
        (ours.packet_id.get(), ours.reason.as_u8()),
        (packet_id.get(), reason)
    );
}

fn check_subscribe(ours: &Subscribe, theirs: &v5::Subscribe) {
    assert_eq!(ours.packet_id.get(), theirs.packet_id.get());
    assert_eq!(
        ours.subscription_id.map(|id| id.get()),
        theirs.id.map(|id| id.get())
    );
    assert_eq!(ours.filters.len() + ours.excess, theirs.topic_filters.len());
    for (ours, (text, options)) in ours.filters.iter().zip(&theirs.topic_filters) {
        assert_eq!(ours.text().as_str(), &**text);
        assert_eq!(
            (
                ours.options.qos.as_u8(),
                ours.options.no_local,
                ours.options.retain_as_published,
                ours.options.retain_handling.as_u8(),
            ),
            (
                options.qos.value(),
                options.no_local,
                options.retain_as_published,
                u8::from(options.retain_handling),
            )
        );
    }
    check_user(&ours.user_properties, &theirs.user_properties);
}

fn check_suback(ours: &SubAck, theirs: &v5::SubscribeAck) {
    assert_eq!(ours.packet_id.get(), theirs.packet_id.get());
    check_codes(&ours.codes, &theirs.status);
    check_words(&ours.reason_string, theirs.reason_string.as_deref());
    check_user(&ours.user_properties, &theirs.properties);
}

fn check_unsubscribe(ours: &Unsubscribe, theirs: &v5::Unsubscribe) {
    assert_eq!(ours.packet_id.get(), theirs.packet_id.get());
    assert_eq!(ours.filters.len() + ours.excess, theirs.topic_filters.len());
    for (ours, text) in ours.filters.iter().zip(&theirs.topic_filters) {
        assert_eq!(ours.text().as_str(), &**text);
    }
    check_user(&ours.user_properties, &theirs.user_properties);
}

fn check_unsuback(ours: &UnsubAck, theirs: &v5::UnsubscribeAck) {
    assert_eq!(ours.packet_id.get(), theirs.packet_id.get());
    check_codes(&ours.codes, &theirs.status);
    check_words(&ours.reason_string, theirs.reason_string.as_deref());
    check_user(&ours.user_properties, &theirs.properties);
}

fn check_disconnect(ours: &Disconnect, theirs: &v5::Disconnect) {
    assert_eq!(
        (ours.reason.as_u8(), ours.session_expiry_seconds),
        (
            u8::from(theirs.reason_code),
            theirs.session_expiry_interval_secs
        )
    );
    check_words(&ours.server_reference, theirs.server_reference.as_deref());
    check_words(&ours.reason_string, theirs.reason_string.as_deref());
    check_user(&ours.user_properties, &theirs.user_properties);
}

fn check_auth(ours: &Auth, theirs: &v5::Auth) {
    assert_eq!(ours.reason.as_u8(), u8::from(theirs.reason_code));
    assert_eq!(ours.data, theirs.auth_data);
    check_words(&ours.method, theirs.auth_method.as_deref());
    check_words(&ours.reason_string, theirs.reason_string.as_deref());
    check_user(&ours.user_properties, &theirs.user_properties);
}

/// The properties that are forwarded.
#[derive(Debug, Default, PartialEq, Eq)]
struct Forwarded<'a> {
    is_utf8: bool,
    content_type: Option<&'a str>,
    response_topic: Option<&'a str>,
    correlation_data: Option<&'a [u8]>,
    user: Vec<(&'a str, &'a str)>,
}

impl<'a> Forwarded<'a> {
    fn of(properties: &'a ForwardedProperties) -> Self {
        let mut all = Self::default();
        for property in properties {
            match property {
                ForwardedProperty::PayloadFormat(format) => {
                    all.is_utf8 = format == PayloadFormat::Utf8;
                }
                ForwardedProperty::ContentType(text) => all.content_type = Some(text),
                ForwardedProperty::ResponseTopic(text) => all.response_topic = Some(text),
                ForwardedProperty::CorrelationData(data) => all.correlation_data = Some(data),
                ForwardedProperty::User(name, value) => all.user.push((name, value)),
            }
        }
        all
    }
}

fn check_codes<T: Copy + Into<u8>>(ours: &[ReasonCode], theirs: &[T]) {
    let theirs = theirs.iter().map(|code| (*code).into());
    assert!(ours.iter().map(|code| code.as_u8()).eq(theirs));
}

fn check_words(ours: &Option<MqttString>, theirs: Option<&str>) {
    assert_eq!(ours.as_ref().map(MqttString::as_str), theirs);
}

fn check_user(ours: &UserProperties, theirs: &v5::UserProperties) {
    assert!(ours.iter().eq(pairs(theirs)), "{ours:?}, {theirs:?}");
}

fn pairs(theirs: &v5::UserProperties) -> impl Iterator<Item = (&str, &str)> {
    theirs.iter().map(|(name, value)| (&**name, &**value))
}
