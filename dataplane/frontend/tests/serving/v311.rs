//! The statements of MQTT 3.1.1 over real sockets, a matter per file. The client here says bytes
//! and compares bytes; nothing is acknowledged for it.

mod hostile;
mod life;
mod order;
mod resumption;
mod retained;
mod sessions;
mod subscriptions;
mod v31;
mod wills;

use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tessera_mqtt::{
    Ack, ClientId, Connect, DecodeLimits, Decoder, Message, Packet, Password, ProtocolVersion,
    Publish, Qos, Will, encode,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::client::{id, message, text};
use crate::harness::{ACME, Harness, password, username};

/// Longest wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

const AT_MOST_ONCE: Qos = Qos::AtMostOnce;
const AT_LEAST_ONCE: Qos = Qos::AtLeastOnce;
const EXACTLY_ONCE: Qos = Qos::ExactlyOnce;

const DISCONNECT: [u8; 2] = [0xE0, 0];
const PINGREQ: [u8; 2] = [0xC0, 0];
const PINGRESP: [u8; 2] = [0xD0, 0];

/// CONNECT of 3.1.1 with a clean session.
fn clean(client: &str) -> Connect {
    let client = ClientId::try_from(client).ok();
    let mut connect = Connect::new(ProtocolVersion::V311, client);
    connect.username = Some(text(&username(ACME, "one")));
    connect.password = Some(Password::new(password(ACME, "one")));
    connect
}

/// CONNECT of 3.1.1 without clean session.
fn kept(client: &str) -> Connect {
    Connect {
        clean_start: false,
        ..clean(client)
    }
}

/// The same CONNECT with a will.
fn with_will(connect: Connect, message: Message) -> Connect {
    let will = Will {
        message,
        delay_seconds: 0,
    };
    Connect {
        will: Some(will),
        ..connect
    }
}

fn retained(topic: &str, payload: &str, qos: Qos) -> Message {
    Message {
        retain: true,
        ..message(topic, payload, qos)
    }
}

fn bytes_of(packet: &Packet, version: ProtocolVersion) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(packet, version, &mut bytes).unwrap();
    bytes
}

/// One client's side of a connection.
struct Client {
    stream: TcpStream,
    decoder: Decoder,
    received: BytesMut,
    version: ProtocolVersion,
}

impl Client {
    /// A connection that has said nothing yet.
    async fn open(harness: &Harness, version: ProtocolVersion) -> Self {
        let stream = TcpStream::connect(harness.frontend.address()).await;
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            decoder: Decoder::client(version, DecodeLimits::default()),
            received: BytesMut::new(),
            version,
        }
    }

    /// A connection whose CONNECT is on its way.
    async fn calling(harness: &Harness, connect: Connect) -> Self {
        let mut client = Self::open(harness, connect.version).await;
        client.send(&Packet::Connect(Box::new(connect))).await;
        client
    }

    /// A connection that was accepted with that Session Present.
    async fn online(harness: &Harness, connect: Connect, session_present: bool) -> Self {
        let mut client = Self::calling(harness, connect).await;
        client
            .expect(&[0x20, 2, u8::from(session_present), 0])
            .await;
        client
    }

    async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn send(&mut self, packet: &Packet) {
        let bytes = bytes_of(packet, self.version);
        self.send_bytes(&bytes).await;
    }

    /// What comes next is exactly that.
    async fn expect(&mut self, bytes: &[u8]) {
        while self.received.len() < bytes.len() {
            let came = self.read().await;
            assert!(came, "{:02X?} of {bytes:02X?}, then the end", self.received);
        }
        assert_eq!(&self.received[..bytes.len()], bytes);
        self.received.advance(bytes.len());
    }

    /// The server closes without another word.
    async fn expect_end(&mut self) {
        while self.received.is_empty() && self.read().await {}
        let word = &self.received;
        assert!(word.is_empty(), "a word before the end: {word:02X?}");
    }

    /// Nothing was on its way: the answer to a PINGREQ comes first.
    async fn expect_nothing(&mut self) {
        self.send_bytes(&PINGREQ).await;
        self.expect(&PINGRESP).await;
    }

    async fn next(&mut self) -> Packet {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.received).unwrap() {
                return packet;
            }
            assert!(self.read().await, "a packet, not the end");
        }
    }

    /// The next packet, which must be a PUBLISH.
    async fn receive(&mut self) -> Publish {
        let next = self.next().await;
        let Packet::Publish(publish) = next else {
            panic!("PUBLISH comes next, not {next:?}")
        };
        publish
    }

    /// The payload of the next PUBLISH, which is acknowledged to the end.
    async fn take(&mut self) -> String {
        let publish = self.receive().await;
        self.finish(&publish).await;
        payload_of(&publish)
    }

    /// The client's part of a delivery.
    async fn finish(&mut self, publish: &Publish) {
        match (publish.qos, publish.packet_id) {
            (Qos::AtLeastOnce, Some(packet_id)) => {
                self.send(&Packet::PubAck(Ack::new(packet_id))).await;
            }
            (Qos::ExactlyOnce, Some(packet_id)) => {
                self.send(&Packet::PubRec(Ack::new(packet_id))).await;
                let expected = bytes_of(&Packet::PubRel(Ack::new(packet_id)), self.version);
                self.expect(&expected).await;
                self.send(&Packet::PubComp(Ack::new(packet_id))).await;
            }
            (Qos::AtMostOnce | Qos::AtLeastOnce | Qos::ExactlyOnce, _) => {}
        }
    }

    /// SUBSCRIBE to one filter; the code that SUBACK gives.
    async fn subscribe(&mut self, filter: &str, qos: Qos) -> u8 {
        let mut body = vec![0, 10];
        body.extend(field(filter));
        body.push(qos.as_u8());
        self.send_bytes(&framed(0x82, &body)).await;
        self.expect(&[0x90, 3, 0, 10]).await;
        while self.received.is_empty() {
            assert!(self.read().await, "a return code, not the end");
        }
        self.received.get_u8()
    }

    async fn unsubscribe(&mut self, filters: &[&str]) {
        let mut body = vec![0, 11];
        body.extend(filters.iter().flat_map(|filter| field(filter)));
        self.send_bytes(&framed(0xA2, &body)).await;
        self.expect(&[0xB0, 2, 0, 11]).await;
    }

    /// Publishes a message and runs its handshake to the end.
    async fn publish(&mut self, message: Message) {
        match message.qos {
            Qos::AtMostOnce => {
                self.send(&Packet::Publish(Publish::new(message, None)))
                    .await;
                self.expect_nothing().await;
            }
            Qos::AtLeastOnce => {
                self.send(&Packet::Publish(Publish::new(message, Some(id(20)))))
                    .await;
                self.expect(&[0x40, 2, 0, 20]).await;
            }
            Qos::ExactlyOnce => {
                self.send(&Packet::Publish(Publish::new(message, Some(id(21)))))
                    .await;
                self.expect(&[0x50, 2, 0, 21]).await;
                self.send_bytes(&[0x62, 2, 0, 21]).await;
                self.expect(&[0x70, 2, 0, 21]).await;
            }
        }
    }

    /// Publishes a QoS 1 message.
    async fn say(&mut self, topic: &str, payload: &str) {
        self.publish(message(topic, payload, AT_LEAST_ONCE)).await;
    }

    /// DISCONNECT, and the end of the connection.
    async fn leave(mut self) {
        self.send_bytes(&DISCONNECT).await;
        self.expect_end().await;
    }

    /// The end of the connection without DISCONNECT, once the server has read everything.
    async fn vanish(mut self) {
        self.stream.shutdown().await.unwrap();
        while self.read().await {}
    }

    /// `false` when the server has closed.
    async fn read(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.received);
        let read = tokio::time::timeout(PATIENCE, read).await;
        matches!(read.expect("in time"), Ok(1..))
    }
}

/// A packet of fewer than 128 bytes.
fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let len = u8::try_from(body.len()).unwrap();
    assert!(len < 128);
    [&[first, len][..], body].concat()
}

/// Text behind its length.
fn field(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).unwrap();
    [&len.to_be_bytes()[..], text.as_bytes()].concat()
}

fn payload_of(publish: &Publish) -> String {
    String::from_utf8(publish.payload.to_vec()).unwrap()
}

fn topic_of(publish: &Publish) -> &str {
    publish.topic.name().unwrap().as_str()
}
