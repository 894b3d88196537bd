//! Strategies for every packet that a version can carry.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tessera_mqtt::{
    Ack, Auth, ClientId, ConnAck, Connect, Disconnect, ForwardedProperties, ForwardedProperty,
    Message, MqttString, Packet, PacketId, PacketType, Password, PayloadFormat, ProtocolVersion,
    Publish, PublishTopic, Qos, ReasonCode, RetainHandling, SubAck, Subscribe, SubscribeFilter,
    SubscriptionId, SubscriptionOptions, TopicAlias, TopicName, UnsubAck, Unsubscribe,
    UnsubscribeFilter, UserProperties, Will,
};

use ProtocolVersion::{V5, V31, V311};

pub(crate) fn versions() -> impl Strategy<Value = ProtocolVersion> {
    proptest::sample::select(vec![V31, V311, V5])
}

/// What a client sends after CONNECT.
pub(crate) fn client_packets(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    let mut all = vec![
        publishes(version, false).prop_map(Packet::Publish).boxed(),
        acks(version),
        subscribes(version).prop_map(Packet::Subscribe).boxed(),
        unsubscribes(version).prop_map(Packet::Unsubscribe).boxed(),
        Just(Packet::PingReq).boxed(),
        disconnects(version, true)
            .prop_map(Packet::Disconnect)
            .boxed(),
    ];
    if version == V5 {
        all.push(auths().prop_map(Packet::Auth).boxed());
    }
    proptest::strategy::Union::new(all).boxed()
}

/// What a server sends.
pub(crate) fn server_packets(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    let mut all = vec![
        connacks(version)
            .prop_map(|p| Packet::ConnAck(Box::new(p)))
            .boxed(),
        publishes(version, true).prop_map(Packet::Publish).boxed(),
        acks(version),
        subacks(version).prop_map(Packet::SubAck).boxed(),
        unsubacks(version).prop_map(Packet::UnsubAck).boxed(),
        Just(Packet::PingResp).boxed(),
    ];
    if version == V5 {
        all.push(auths().prop_map(Packet::Auth).boxed());
        all.push(
            disconnects(version, false)
                .prop_map(Packet::Disconnect)
                .boxed(),
        );
    }
    proptest::strategy::Union::new(all).boxed()
}

fn texts() -> impl Strategy<Value = MqttString> {
    prop_oneof![
        "[a-z/]{0,12}",
        "[\\PC\u{1}\u{1F600}\u{FEFF}]{0,12}",
        "x{120,140}"
    ]
    .prop_map(|text: String| MqttString::try_from(text).unwrap())
}

fn client_ids() -> impl Strategy<Value = ClientId> {
    "[\\PC]{1,30}".prop_map(|text| ClientId::try_from(&*text).unwrap())
}

fn topics() -> impl Strategy<Value = TopicName> {
    prop_oneof!["[a-z/$]{1,40}", "[a-zäß\u{1F600}/]{1,40}"]
        .prop_map(|text: String| TopicName::try_from(&*text).unwrap())
}

fn binaries() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn packet_ids() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|number| PacketId::new(number).unwrap())
}

fn qualities() -> impl Strategy<Value = Qos> {
    proptest::sample::select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
}

fn subscription_ids() -> impl Strategy<Value = SubscriptionId> {
    (1..=SubscriptionId::MAX).prop_map(|number| SubscriptionId::new(number).unwrap())
}

/// What only MQTT 5 carries: nothing in the others.
fn if_v5<T: Clone + std::fmt::Debug + 'static>(
    version: ProtocolVersion,
    default: T,
    values: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<T> {
    match version {
        V5 => values.boxed(),
        V31 | V311 => Just(default).boxed(),
    }
}

type Words = (Option<MqttString>, UserProperties);

fn words(version: ProtocolVersion) -> BoxedStrategy<Words> {
    let words = (option::of(texts()), user_properties());
    if_v5(version, (None, UserProperties::EMPTY), words)
}

fn user_properties() -> impl Strategy<Value = UserProperties> {
    vec((texts(), texts()), 0..4).prop_map(|pairs| {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        UserProperties::from_pairs(pairs).unwrap()
    })
}

fn forwarded() -> impl Strategy<Value = ForwardedProperties> {
    let user = vec((texts(), texts()), 0..4);
    let parts = (
        option::of(any::<bool>()),
        option::of(texts()),
        option::of(topics()),
        option::of(binaries()),
        user,
    );
    parts.prop_map(|(format, content_type, response, correlation, user)| {
        let mut all = Vec::new();
        all.extend(format.map(|utf8| match utf8 {
            true => ForwardedProperty::PayloadFormat(PayloadFormat::Utf8),
            false => ForwardedProperty::PayloadFormat(PayloadFormat::Unspecified),
        }));
        let user = user.iter();
        all.extend(
            user.map(|(name, value)| ForwardedProperty::User(name.as_str(), value.as_str())),
        );
        all.extend(
            content_type
                .as_ref()
                .map(|text| ForwardedProperty::ContentType(text.as_str())),
        );
        all.extend(
            response
                .as_ref()
                .map(|topic| ForwardedProperty::ResponseTopic(topic.as_str())),
        );
        all.extend(
            correlation
                .as_ref()
                .map(|data| ForwardedProperty::CorrelationData(data)),
        );
        let properties = ForwardedProperties::from_properties(all.iter().copied()).unwrap();
        assert!(properties.iter().eq(all));
        properties
    })
}

fn messages(version: ProtocolVersion) -> impl Strategy<Value = Message> {
    (
        topics(),
        binaries(),
        qualities(),
        any::<bool>(),
        if_v5(version, None, any::<Option<u32>>()),
        if_v5(version, ForwardedProperties::EMPTY, forwarded()),
    )
        .prop_map(
            |(topic, payload, qos, retain, expiry_seconds, properties)| Message {
                topic,
                payload,
                qos,
                retain,
                expiry_seconds,
                properties,
            },
        )
}

fn publishes(version: ProtocolVersion, to_client: bool) -> impl Strategy<Value = Publish> {
    let aliases = option::of((1..=u16::MAX, any::<bool>()));
    let ids_max = if to_client { 6 } else { 1 };
    (
        messages(version),
        packet_ids(),
        any::<bool>(),
        if_v5(version, None, aliases),
        if_v5(version, Vec::new(), vec(subscription_ids(), 0..ids_max)),
    )
        .prop_map(|(message, id, dup, alias, ids)| {
            let acknowledged = message.qos > Qos::AtMostOnce;
            let name = message.topic.clone();
            let mut publish = Publish::new(message, acknowledged.then_some(id));
            publish.dup = dup && acknowledged;
            publish.subscription_ids = ids.into_iter().collect();
            if let Some((alias, with_topic)) = alias {
                let alias = TopicAlias::new(alias).unwrap();
                publish.topic = match with_topic {
                    true => PublishTopic::Define { name, alias },
                    false => PublishTopic::Alias(alias),
                };
            }
            publish
        })
}

fn reasons(packet: PacketType) -> impl Strategy<Value = ReasonCode> {
    let all = ReasonCode::ALL.iter().copied();
    proptest::sample::select(
        all.filter(|code| code.is_listed_for(packet))
            .collect::<Vec<_>>(),
    )
}

fn acks(version: ProtocolVersion) -> BoxedStrategy<Packet> {
    type Make = fn(Ack) -> Packet;
    let kinds: Vec<(PacketType, Make)> = vec![
        (PacketType::PubAck, Packet::PubAck),
        (PacketType::PubRec, Packet::PubRec),
        (PacketType::PubRel, Packet::PubRel),
        (PacketType::PubComp, Packet::PubComp),
    ];
    proptest::sample::select(kinds)
        .prop_flat_map(move |(packet, make)| {
            let reason = if_v5(version, ReasonCode::Success, reasons(packet));
            (Just(make), packet_ids(), reason, words(version))
        })
        .prop_map(
            |(make, packet_id, reason, (reason_string, user_properties))| {
                make(Ack {
                    packet_id,
                    reason,
                    reason_string,
                    user_properties,
                })
            },
        )
        .boxed()
}

fn options(version: ProtocolVersion) -> impl Strategy<Value = SubscriptionOptions> {
    use RetainHandling::{DoNotSend, Send, SendIfNew};
    let handling = proptest::sample::select(vec![Send, SendIfNew, DoNotSend]);
    let v5_only = if_v5(version, (false, Send), (any::<bool>(), handling));
    (qualities(), v5_only).prop_map(|(qos, (retain_as_published, retain_handling))| {
        SubscriptionOptions {
            qos,
            no_local: retain_as_published,
            retain_as_published,
            retain_handling,
        }
    })
}

/// Filters good and bad; none shared, which do not go with no local.
fn filters() -> impl Strategy<Value = MqttString> {
    "[ab+#/]{0,12}".prop_map(|text| MqttString::try_from(text).unwrap())
}

fn subscribes(version: ProtocolVersion) -> impl Strategy<Value = Subscribe> {
    (
        packet_ids(),
        if_v5(version, None, option::of(subscription_ids())),
        vec((filters(), options(version)), 1..6),
        if_v5(version, UserProperties::EMPTY, user_properties()),
    )
        .prop_map(|(packet_id, subscription_id, filters, user_properties)| {
            let filters = filters.into_iter();
            let filters = filters.map(|(text, options)| SubscribeFilter::new(text, options));
            let mut subscribe = Subscribe::new(packet_id, filters.collect());
            subscribe.subscription_id = subscription_id;
            subscribe.user_properties = user_properties;
            subscribe
        })
}

fn subacks(version: ProtocolVersion) -> impl Strategy<Value = SubAck> {
    let allowed: Vec<ReasonCode> = ReasonCode::ALL
        .iter()
        .copied()
        .filter(|code| match version {
            V5 => code.is_listed_for(PacketType::SubAck),
            V311 => matches!(code.as_u8(), 0..=2 | 0x80),
            V31 => code.as_u8() <= 2,
        })
        .collect();
    let codes = vec(proptest::sample::select(allowed), 1..6);
    (packet_ids(), codes, words(version)).prop_map(|(id, codes, words)| {
        let mut suback = SubAck::new(id, codes);
        (suback.reason_string, suback.user_properties) = words;
        suback
    })
}

fn unsubscribes(version: ProtocolVersion) -> impl Strategy<Value = Unsubscribe> {
    let user = if_v5(version, UserProperties::EMPTY, user_properties());
    (packet_ids(), vec(filters(), 1..6), user).prop_map(|(id, filters, user_properties)| {
        let filters = filters.into_iter().map(UnsubscribeFilter::new);
        let mut unsubscribe = Unsubscribe::new(id, filters.collect());
        unsubscribe.user_properties = user_properties;
        unsubscribe
    })
}

fn unsubacks(version: ProtocolVersion) -> impl Strategy<Value = UnsubAck> {
    let codes = if_v5(
        version,
        Vec::new(),
        vec(reasons(PacketType::UnsubAck), 1..6),
    );
    (packet_ids(), codes, words(version)).prop_map(|(id, codes, words)| {
        let mut unsuback = UnsubAck::new(id, codes);
        (unsuback.reason_string, unsuback.user_properties) = words;
        unsuback
    })
}

fn disconnects(version: ProtocolVersion, from_client: bool) -> impl Strategy<Value = Disconnect> {
    let reason =
        reasons(PacketType::Disconnect).prop_filter(
            "its own side's",
            move |code| match from_client {
                true => code.client_may_disconnect_with(),
                false => code.server_may_disconnect_with(),
            },
        );
    (
        if_v5(version, ReasonCode::Success, reason),
        if_v5(version, None, any::<Option<u32>>()),
        if_v5(version, None, option::of(texts())),
        words(version),
    )
        .prop_map(move |(reason, expiry, reference, words)| {
            let mut disconnect = Disconnect::new(reason);
            (disconnect.reason_string, disconnect.user_properties) = words;
            if from_client {
                disconnect.session_expiry_seconds = expiry;
            } else {
                disconnect.server_reference = reference;
            }
            disconnect
        })
}

fn auths() -> impl Strategy<Value = Auth> {
    let parts = (
        reasons(PacketType::Auth),
        texts(),
        option::of(binaries()),
        words(V5),
    );
    parts.prop_map(|(reason, method, data, words)| {
        let mut auth = Auth::new(reason, method, data);
        (auth.reason_string, auth.user_properties) = words;
        auth
    })
}

fn wills(version: ProtocolVersion) -> impl Strategy<Value = Will> {
    (messages(version), if_v5(version, 0, any::<u32>())).prop_map(|(message, delay_seconds)| Will {
        message,
        delay_seconds,
    })
}

pub(crate) fn connects(version: ProtocolVersion) -> impl Strategy<Value = Connect> {
    let session = (
        any::<bool>(),
        any::<u16>(),
        option::of(client_ids()),
        option::of(wills(version)),
    );
    let login = (option::of(texts()), option::of(binaries()));
    let v5_only = (
        any::<(u32, Option<NonZeroU32>, u16, bool, bool)>(),
        any::<NonZeroU16>(),
        option::of((texts(), option::of(binaries()))),
        user_properties(),
    );
    (session, login, v5_only).prop_map(move |(session, login, v5_only)| {
        let mut connect = Connect::new(version, None);
        (
            connect.clean_start,
            connect.keep_alive_seconds,
            connect.client_id,
            connect.will,
        ) = session;
        connect.username = login.0;
        let password_allowed = version == V5 || connect.username.is_some();
        connect.password = login.1.filter(|_| password_allowed).map(Password::new);
        if connect.client_id.is_none() && version != V5 {
            connect.clean_start = true;
            if version == V31 {
                connect.client_id = Some("c".try_into().unwrap());
            }
        }
        if version == V5 {
            let (numbers, receive_maximum, method, user_properties) = v5_only;
            connect.session_expiry_seconds = numbers.0;
            connect.packet_bytes_max = numbers.1;
            connect.topic_alias_maximum = numbers.2;
            connect.request_response_information = numbers.3;
            connect.request_problem_information = numbers.4;
            connect.receive_maximum = receive_maximum;
            connect.user_properties = user_properties;
            if let Some((method, data)) = method {
                connect.authentication_method = Some(method);
                connect.authentication_data = data;
            }
        }
        connect
    })
}

fn connacks(version: ProtocolVersion) -> impl Strategy<Value = ConnAck> {
    let reason = reasons(PacketType::ConnAck).prop_map(move |code| match version {
        V5 => code,
        V31 | V311 => code
            .connect_return_code()
            .map_or(ReasonCode::Success, tessera_mqtt::ConnectReturnCode::reason),
    });
    let numbers = any::<(Option<u32>, Option<NonZeroU32>, u16, Option<u16>)>();
    let texts = (
        option::of(client_ids()),
        option::of(texts()),
        option::of(texts()),
        option::of((texts(), option::of(binaries()))),
    );
    let v5_only = (
        numbers,
        any::<NonZeroU16>(),
        qualities(),
        any::<[bool; 4]>(),
        texts,
    );
    (reason, any::<bool>(), v5_only, words(version)).prop_map(
        move |(reason, session_present, v5_only, words)| {
            let mut connack = ConnAck::new(reason);
            connack.session_present =
                session_present && reason == ReasonCode::Success && version != V31;
            (connack.reason_string, connack.user_properties) = words;
            if version == V5 {
                let (numbers, receive_maximum, maximum_qos, abilities, texts) = v5_only;
                connack.session_expiry_seconds = numbers.0;
                connack.packet_bytes_max = numbers.1;
                connack.topic_alias_maximum = numbers.2;
                connack.server_keep_alive_seconds = numbers.3;
                connack.receive_maximum = receive_maximum;
                connack.maximum_qos = maximum_qos;
                [
                    connack.retain_available,
                    connack.wildcard_subscription_available,
                    connack.subscription_ids_available,
                    connack.shared_subscription_available,
                ] = abilities;
                connack.assigned_client_id = texts.0;
                connack.response_information = texts.1;
                connack.server_reference = texts.2;
                if let Some((method, data)) = texts.3 {
                    connack.authentication_method = Some(method);
                    connack.authentication_data = data;
                }
            }
            connack
        },
    )
}
