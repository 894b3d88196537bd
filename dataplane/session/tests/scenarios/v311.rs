//! The statements of MQTT 3.1.1 and the rules of 3.1, a matter per file: the client's bytes in, the
//! server's bytes out, and what stays of connection and session.

mod close;
mod connack;
mod connect;
mod deliver;
mod flags;
mod publish;
mod subscribe;
mod text;
mod v31;

use tessera_mqtt::{Packet, ProtocolVersion, Qos, Will};
use tessera_session::{Delivery, Event, Refusal, ServerLimits};

use crate::pair::{Pair, message};

const V311: ProtocolVersion = ProtocolVersion::V311;

/// Connect flags (3.1.1, 3.1.2.3).
const CLEAN: u8 = 0b0000_0010;
const WILL: u8 = 0b0000_0100;
const WILL_QOS_1: u8 = 0b0000_1000;
const WILL_RETAIN: u8 = 0b0010_0000;
const PASSWORD: u8 = 0b0100_0000;
const USERNAME: u8 = 0b1000_0000;

const PINGREQ: [u8; 2] = [0xC0, 0];
const PINGRESP: [u8; 2] = [0xD0, 0];

/// An accepted connection whose client left a will.
fn online() -> Pair {
    Pair::online_with(V311, ServerLimits::default(), |connect| {
        connect.will = Some(Will {
            message: message("will", "gone"),
            delay_seconds: 0,
        });
    })
}

/// A packet of that first byte and body.
fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        let low = u8::try_from(rest % 128).unwrap();
        rest /= 128;
        packet.push(if rest > 0 { low | 128 } else { low });
        if rest == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// Bytes behind their length.
fn field(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap();
    [&len.to_be_bytes()[..], bytes].concat()
}

/// CONNECT with a keep alive of 60 s and these fields as its payload.
fn connect_as(name: &[u8], level: u8, flags: u8, fields: &[&[u8]]) -> Vec<u8> {
    let mut body = field(name);
    body.extend([level, flags, 0, 60]);
    body.extend(fields.iter().flat_map(|bytes| field(bytes)));
    framed(0x10, &body)
}

/// CONNECT of 3.1.1.
fn connect_of(flags: u8, fields: &[&[u8]]) -> Vec<u8> {
    connect_as(b"MQTT", 4, flags, fields)
}

/// PUBLISH; the identifier is left out for QoS 0.
fn publish_of(first: u8, topic: &[u8], number: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = field(topic);
    if first & 0b0110 != 0 {
        body.extend(number.to_be_bytes());
    }
    body.extend_from_slice(payload);
    framed(first, &body)
}

/// SUBSCRIBE of these filters, each with its options byte.
fn subscribe_of(number: u16, filters: &[(&[u8], u8)]) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    for (filter, options) in filters {
        body.extend(field(filter));
        body.push(*options);
    }
    framed(0x82, &body)
}

/// UNSUBSCRIBE of these filters.
fn unsubscribe_of(number: u16, filters: &[&[u8]]) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.extend(filters.iter().flat_map(|filter| field(filter)));
    framed(0xA2, &body)
}

/// Bytes of one packet that must be in order.
fn send(pair: &mut Pair, bytes: &[u8]) -> Event {
    let mut events = pair.send_bytes(bytes).expect("in order");
    assert_eq!(events.len(), 1, "{bytes:02X?}");
    events.remove(0)
}

/// The bytes end the connection without a word; the will of an accepted client stays to be
/// published.
fn closes(pair: &mut Pair, bytes: &[u8]) -> Refusal {
    refuses(pair, bytes, &[])
}

/// The bytes end the connection with that answer.
fn refuses(pair: &mut Pair, bytes: &[u8], answer: &[u8]) -> Refusal {
    let will = pair.inbound.will().cloned();
    let refusal = match pair.send_bytes(bytes) {
        Ok(events) => panic!("{bytes:02X?}: {events:?}"),
        Err(refusal) => refusal,
    };
    assert_eq!(pair.receive_bytes(), answer, "{bytes:02X?}");
    assert_eq!(pair.inbound.will().cloned(), will, "{bytes:02X?}");
    is_over(pair);
    refusal
}

/// Nothing is read, awaited, handled, answered or delivered any more.
fn is_over(pair: &mut Pair) {
    hears_no_more(pair);
    if pair.outbound.is_some() {
        let delivery = pair.deliver_text("late", Qos::AtMostOnce);
        assert_eq!(delivery, Delivery::Closed);
    }
    assert!(pair.receive_bytes().is_empty());
}

/// Nothing is read, awaited, handled or answered any more.
fn hears_no_more(pair: &mut Pair) {
    assert!(!pair.inbound.wants_packets());
    assert_eq!(pair.inbound.poll_timeout(), None);
    let event = pair.with_inbound(|inbound, out| inbound.handle_packet(Packet::PingReq, out));
    assert!(matches!(event, Ok(Event::Nothing)), "{event:?}");
    assert!(pair.receive_bytes().is_empty());
}

/// The next packets are answered as ever.
fn is_alive(pair: &mut Pair) {
    assert!(pair.inbound.wants_packets());
    assert!(matches!(send(pair, &PINGREQ), Event::Nothing));
    assert_eq!(pair.receive_bytes(), PINGRESP);
}
