//! What the other codec reads in a packet of MQTT 3.1 and 3.1.1.

use rmqtt_codec::v3::{self, SubscribeReturnCode};
use tessera_mqtt::{ConnAck, Connect, MqttString, Packet, Publish, ReasonCode};

pub(crate) fn check(ours: &Packet, theirs: &v3::Packet) {
    use v3::Packet as Theirs;
    match (ours, theirs) {
        (Packet::Connect(ours), Theirs::Connect(theirs)) => check_connect(ours, theirs),
        (Packet::ConnAck(ours), Theirs::ConnectAck(theirs)) => check_connack(ours, theirs),
        (Packet::Publish(ours), Theirs::Publish(theirs)) => check_publish(ours, theirs),
        (Packet::PubAck(ours), Theirs::PublishAck { packet_id })
        | (Packet::PubRec(ours), Theirs::PublishReceived { packet_id })
        | (Packet::PubRel(ours), Theirs::PublishRelease { packet_id })
        | (Packet::PubComp(ours), Theirs::PublishComplete { packet_id }) => {
            assert_eq!(ours.packet_id.get(), packet_id.get());
        }
        (Packet::UnsubAck(ours), Theirs::UnsubscribeAck { packet_id }) => {
            assert_eq!(ours.packet_id.get(), packet_id.get());
        }
        (
            Packet::Subscribe(ours),
            Theirs::Subscribe {
                packet_id,
                topic_filters,
            },
        ) => {
            assert_eq!(ours.packet_id.get(), packet_id.get());
            assert_eq!(ours.filters.len() + ours.excess, topic_filters.len());
            for (ours, (text, qos)) in ours.filters.iter().zip(topic_filters) {
                assert_eq!(ours.text().as_str(), &**text);
                assert_eq!(ours.options.qos.as_u8(), qos.value());
            }
        }
        (Packet::SubAck(ours), Theirs::SubscribeAck { packet_id, status }) => {
            assert_eq!(ours.packet_id.get(), packet_id.get());
            let theirs = status.iter().map(|status| match status {
                SubscribeReturnCode::Success(qos) => qos.value(),
                SubscribeReturnCode::Failure => 0x80,
            });
            assert!(ours.codes.iter().map(|code| code.as_u8()).eq(theirs));
        }
        (
            Packet::Unsubscribe(ours),
            Theirs::Unsubscribe {
                packet_id,
                topic_filters,
            },
        ) => {
            assert_eq!(ours.packet_id.get(), packet_id.get());
            assert_eq!(ours.filters.len() + ours.excess, topic_filters.len());
            for (ours, text) in ours.filters.iter().zip(topic_filters) {
                assert_eq!(ours.text().as_str(), &**text);
            }
        }
        (Packet::PingReq, Theirs::PingRequest) | (Packet::PingResp, Theirs::PingResponse) => {}
        (Packet::Disconnect(ours), Theirs::Disconnect) => {
            assert_eq!(ours.reason, ReasonCode::Success);
        }
        _ => panic!("another type: {ours:?}, {theirs:?}"),
    }
}

fn check_connect(ours: &Connect, theirs: &v3::Connect) {
    assert_eq!(
        (
            ours.version.level(),
            ours.clean_start,
            ours.keep_alive_seconds,
            ours.client_id.as_ref().map_or("", |id| id.as_str()),
            ours.username.as_ref().map(MqttString::as_str),
            ours.password.as_ref().map(|password| password.as_bytes()),
        ),
        (
            theirs.protocol.level(),
            theirs.clean_session,
            theirs.keep_alive,
            &*theirs.client_id,
            theirs.username.as_deref(),
            theirs.password.as_deref(),
        )
    );
    let ours = ours.will.as_ref().map(|will| {
        let message = &will.message;
        let payload = &*message.payload;
        let (qos, retain) = (message.qos.as_u8(), message.retain);
        (message.topic.as_str(), payload, qos, retain)
    });
    let theirs = theirs.last_will.as_ref();
    let theirs = theirs.map(|will| (&*will.topic, &*will.message, will.qos.value(), will.retain));
    assert_eq!(ours, theirs);
}

fn check_connack(ours: &ConnAck, theirs: &v3::ConnectAck) {
    assert_eq!(ours.session_present, theirs.session_present);
    assert_eq!(
        ours.reason.connect_return_code().map(|code| code.as_u8()),
        Some(u8::from(theirs.return_code))
    );
}

fn check_publish(ours: &Publish, theirs: &rmqtt_codec::types::Publish) {
    assert_eq!(
        (
            ours.topic.name().map(|name| name.as_str()),
            &ours.payload,
            ours.qos.as_u8(),
            (ours.retain, ours.dup),
            ours.packet_id.map(|id| id.get()),
        ),
        (
            Some(&*theirs.topic),
            &theirs.payload,
            theirs.qos.value(),
            (theirs.retain, theirs.dup),
            theirs.packet_id.map(|id| id.get()),
        )
    );
    assert!(theirs.properties.is_none());
}
