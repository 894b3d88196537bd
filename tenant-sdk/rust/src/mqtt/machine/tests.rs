use super::*;
use tessera_mqtt::{DecodeLimits, Decoder, SubAck, SubscriptionOptions, TopicName};

const GRANTED: Granted = Granted {
    version: ProtocolVersion::V5,
    receive_maximum: 2,
    packet_bytes_max: 100,
};

fn message(qos: Qos) -> Message {
    let mut message = Message::new(TopicName::try_from("a/b").unwrap(), "x");
    message.qos = qos;
    message
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn refusal(number: u16, reason: ReasonCode) -> Ack {
    Ack {
        reason,
        ..Ack::new(id(number))
    }
}

/// What the machine wrote, as a server reads it.
fn written(out: &mut BytesMut) -> Vec<Packet> {
    let mut connect = BytesMut::new();
    let hello = tessera_mqtt::Connect::new(ProtocolVersion::V5, None);
    encode(
        &Packet::Connect(Box::new(hello)),
        ProtocolVersion::V5,
        &mut connect,
    )
    .unwrap();
    connect.extend_from_slice(&std::mem::take(out));
    let mut decoder = Decoder::server(DecodeLimits::default());
    std::iter::from_fn(|| decoder.decode(&mut connect).unwrap())
        .skip(1)
        .collect()
}

fn success(codes: Vec<ReasonCode>) -> Answer {
    Answer { codes, text: None }
}

#[test]
fn qos_0_is_answered_at_once_and_qos_1_by_its_puback() {
    let (mut machine, mut out) = (Machine::new(GRANTED), BytesMut::new());
    assert_eq!(
        machine
            .publish(message(Qos::AtMostOnce), 1, &mut out)
            .unwrap(),
        Some(1)
    );
    assert_eq!(
        machine
            .publish(message(Qos::AtLeastOnce), 2, &mut out)
            .unwrap(),
        None
    );
    assert_eq!(written(&mut out).len(), 2);
    let ack = refusal(1, ReasonCode::NoMatchingSubscribers);
    let effect = machine
        .handle_packet(Packet::PubAck(ack), &mut out)
        .unwrap();
    assert_eq!(
        effect,
        Effect::Answered(2, success(vec![ReasonCode::NoMatchingSubscribers]))
    );
}

#[test]
fn qos_2_goes_through_its_four_packets_and_keeps_the_first_answer() {
    let (mut machine, mut out) = (Machine::new(GRANTED), BytesMut::new());
    machine
        .publish(message(Qos::ExactlyOnce), 1, &mut out)
        .unwrap();
    out.clear();
    let received = refusal(1, ReasonCode::NoMatchingSubscribers);
    for _repeated in 0..2 {
        let effect = machine
            .handle_packet(Packet::PubRec(received.clone()), &mut out)
            .unwrap();
        assert_eq!(effect, Effect::Nothing);
        assert_eq!(written(&mut out), [Packet::PubRel(Ack::new(id(1)))]);
    }
    let effect = machine
        .handle_packet(Packet::PubComp(Ack::new(id(1))), &mut out)
        .unwrap();
    assert_eq!(
        effect,
        Effect::Answered(1, success(vec![ReasonCode::NoMatchingSubscribers]))
    );
}

#[test]
fn a_refused_qos_2_is_not_released() {
    let (mut machine, mut out) = (Machine::new(GRANTED), BytesMut::new());
    machine
        .publish(message(Qos::ExactlyOnce), 1, &mut out)
        .unwrap();
    out.clear();
    let mut refused = refusal(1, ReasonCode::QuotaExceeded);
    refused.reason_string = Some(MqttString::try_from("why").unwrap());
    let effect = machine
        .handle_packet(Packet::PubRec(refused), &mut out)
        .unwrap();
    let answer = Answer {
        codes: vec![ReasonCode::QuotaExceeded],
        text: Some("why".into()),
    };
    assert_eq!(effect, Effect::Answered(1, answer));
    assert!(out.is_empty());
    assert!(machine.has_room());
}

#[test]
fn the_window_closes_at_the_receive_maximum_and_opens_with_an_answer() {
    let (mut machine, mut out) = (Machine::new(GRANTED), BytesMut::new());
    machine
        .publish(message(Qos::AtLeastOnce), 1, &mut out)
        .unwrap();
    assert!(machine.has_room());
    machine
        .publish(message(Qos::ExactlyOnce), 2, &mut out)
        .unwrap();
    assert!(!machine.has_room());
    machine
        .handle_packet(Packet::PubAck(Ack::new(id(1))), &mut out)
        .unwrap();
    assert!(machine.has_room());
}

#[test]
fn an_arriving_qos_2_message_is_handed_out_once() {
    let (mut machine, mut out) = (Machine::<u32>::new(GRANTED), BytesMut::new());
    let mut publish = Publish::new(message(Qos::ExactlyOnce), Some(id(7)));
    let mut handed_out = 0;
    for dup in [false, true] {
        publish.dup = dup;
        let packet = Packet::Publish(publish.clone());
        match machine.handle_packet(packet, &mut out).unwrap() {
            Effect::Deliver(received) => {
                assert_eq!(received.message, message(Qos::ExactlyOnce));
                handed_out += 1;
            }
            Effect::Nothing => {}
            effect @ (Effect::Answered(..) | Effect::Pong | Effect::Ended(_)) => {
                panic!("{effect:?}")
            }
        }
    }
    assert_eq!(handed_out, 1);
    machine
        .handle_packet(Packet::PubRel(Ack::new(id(7))), &mut out)
        .unwrap();
    let answers = written(&mut out);
    let expected = [
        Packet::PubRec(Ack::new(id(7))),
        Packet::PubRec(Ack::new(id(7))),
        Packet::PubComp(Ack::new(id(7))),
    ];
    assert_eq!(answers, expected);
    // Released: the identifier names a new message from now on.
    let again = machine
        .handle_packet(Packet::Publish(publish), &mut out)
        .unwrap();
    assert!(matches!(again, Effect::Deliver(_)));
}

#[test]
fn a_release_of_a_former_connection_is_completed() {
    let (mut machine, mut out) = (Machine::<u32>::new(GRANTED), BytesMut::new());
    machine
        .handle_packet(Packet::PubRel(Ack::new(id(9))), &mut out)
        .unwrap();
    let completed = refusal(9, ReasonCode::PacketIdentifierNotFound);
    assert_eq!(written(&mut out), [Packet::PubComp(completed)]);
}

#[test]
fn subscriptions_get_their_codes() {
    let (mut machine, mut out) = (Machine::new(GRANTED), BytesMut::new());
    let filter = SubscribeFilter::new("a/#".try_into().unwrap(), SubscriptionOptions::default());
    machine.subscribe(vec![filter], 1, &mut out).unwrap();
    let codes = vec![ReasonCode::GrantedQos1];
    let suback = SubAck {
        packet_id: id(1),
        codes: codes.clone(),
        reason_string: None,
        user_properties: tessera_mqtt::UserProperties::EMPTY,
    };
    let effect = machine
        .handle_packet(Packet::SubAck(suback), &mut out)
        .unwrap();
    assert_eq!(effect, Effect::Answered(1, success(codes)));
}

#[test]
fn answers_to_nothing_and_packets_of_clients_break_the_protocol() {
    for packet in [
        Packet::PubAck(Ack::new(id(1))),
        Packet::PubRec(Ack::new(id(1))),
        Packet::PubComp(Ack::new(id(1))),
        Packet::PingReq,
    ] {
        let mut machine = Machine::<u32>::new(GRANTED);
        let broken = machine.handle_packet(packet, &mut BytesMut::new());
        assert!(matches!(broken, Err(Closed::Protocol(_))), "{broken:?}");
    }
    // An answer of the wrong kind.
    let (mut machine, mut out) = (Machine::new(GRANTED), BytesMut::new());
    machine
        .publish(message(Qos::ExactlyOnce), 1, &mut out)
        .unwrap();
    assert!(
        machine
            .handle_packet(Packet::PubAck(Ack::new(id(1))), &mut out)
            .is_err()
    );
}

#[test]
fn a_packet_that_the_server_does_not_take_is_not_sent() {
    let (mut machine, mut out) = (Machine::new(GRANTED), BytesMut::new());
    let mut large = message(Qos::AtLeastOnce);
    large.payload = vec![0; 200].into();
    assert!(machine.publish(large, 1, &mut out).is_err());
    assert!(out.is_empty());
    assert!(machine.has_room());
}

#[test]
fn identifiers_in_use_are_passed_over_when_the_numbers_begin_anew() {
    let granted = Granted {
        receive_maximum: u16::MAX,
        ..GRANTED
    };
    let (mut machine, mut out) = (Machine::new(granted), BytesMut::new());
    machine
        .publish(message(Qos::AtLeastOnce), 0, &mut out)
        .unwrap();
    for round in 1..=u32::from(u16::MAX) {
        assert!(
            machine
                .publish(message(Qos::AtLeastOnce), round, &mut out)
                .is_ok()
        );
        out.clear();
        let used = machine.last_id;
        assert_ne!(used, if round > 1 { 1 } else { 0 }, "still waiting");
        machine
            .handle_packet(Packet::PubAck(Ack::new(id(used))), &mut out)
            .unwrap();
    }
}
