//! A device that says exactly what a test wants and shows every packet that comes back.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::BytesMut;
use tessera_mqtt::{
    Ack, ClientId, ConnAck, Connect, DecodeLimits, Decoder, Disconnect, Message, MqttString,
    Packet, PacketId, Password, ProtocolVersion, Publish, Qos, ReasonCode, SubAck, Subscribe,
    SubscribeFilter, SubscriptionId, SubscriptionOptions, TopicName, Unsubscribe,
    UnsubscribeFilter, Will, encode,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{password, username};

/// Longest wait for something that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Topic and payload of the will that tells that a connection has ended altogether.
const LEFT: &str = "left";

/// One device's side of a connection.
pub(crate) struct Device {
    stream: TcpStream,
    decoder: Decoder,
    buffer: BytesMut,
    version: ProtocolVersion,
}

/// How a device connects. Everything else is at its default.
#[derive(Clone)]
pub(crate) struct Hello {
    pub(crate) tenant: u8,
    pub(crate) name: &'static str,
    pub(crate) client: &'static str,
    pub(crate) version: ProtocolVersion,
    pub(crate) clean: bool,
    pub(crate) expiry: u32,
    pub(crate) keep_alive: u16,
    pub(crate) receive_maximum: u16,
    pub(crate) will: Option<(&'static str, &'static str)>,
    pub(crate) will_delay: u32,
}

impl Hello {
    /// Version 5, clean, transient.
    pub(crate) fn new(tenant: u8, client: &'static str) -> Self {
        Self {
            tenant,
            name: "one",
            client,
            version: ProtocolVersion::V5,
            clean: true,
            expiry: 0,
            keep_alive: 60,
            receive_maximum: 65_535,
            will: None,
            will_delay: 0,
        }
    }

    /// Version 5, resumes, lives an hour.
    pub(crate) fn persistent(tenant: u8, client: &'static str) -> Self {
        Self {
            clean: false,
            expiry: 3_600,
            ..Self::new(tenant, client)
        }
    }

    /// The same with another credential.
    pub(crate) fn by(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// MQTT 3.1.1 and 5, each with a session that ends with its connection and with one that is
    /// kept.
    pub(crate) fn of_every_kind(tenant: u8, client: &'static str) -> [Self; 4] {
        let old = |clean| Self {
            version: ProtocolVersion::V311,
            clean,
            ..Self::new(tenant, client)
        };
        let (new, kept) = (Self::new(tenant, client), Self::persistent(tenant, client));
        [old(true), old(false), new, kept]
    }

    /// MQTT 3.1.1 and 5, with a session that is kept.
    pub(crate) fn of_every_kept_kind(tenant: u8, client: &'static str) -> [Self; 2] {
        let [_, old, _, new] = Self::of_every_kind(tenant, client);
        [old, new]
    }

    /// The same with a will for those who wait for its end.
    pub(crate) fn watched(&self) -> Self {
        Self {
            will: Some((LEFT, LEFT)),
            ..self.clone()
        }
    }

    /// The same under another client identifier.
    pub(crate) fn named(&self, client: &'static str) -> Self {
        Self {
            client,
            ..self.clone()
        }
    }

    fn packet(&self) -> Connect {
        let client = ClientId::try_from(self.client).unwrap();
        let mut connect = Connect::new(self.version, Some(client));
        connect.clean_start = self.clean;
        connect.session_expiry_seconds = self.expiry;
        connect.keep_alive_seconds = self.keep_alive;
        connect.receive_maximum = NonZeroU16::new(self.receive_maximum).unwrap();
        connect.username = Some(text(&username(self.tenant, self.name)));
        connect.password = Some(Password::new(password(self.tenant, self.name)));
        connect.will = self.will.map(|(topic, payload)| Will {
            message: message(topic, payload, Qos::AtMostOnce),
            delay_seconds: self.will_delay,
        });
        connect
    }
}

impl Device {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            decoder: Decoder::client(ProtocolVersion::V5, DecodeLimits::default()),
            buffer: BytesMut::new(),
            version: ProtocolVersion::V5,
        }
    }

    /// CONNECT and its answer, whatever it is.
    pub(crate) async fn hello(&mut self, hello: &Hello) -> ConnAck {
        self.hello_with(hello, |_| {}).await
    }

    /// CONNECT with something changed, and its answer.
    pub(crate) async fn hello_with(
        &mut self,
        hello: &Hello,
        change: impl FnOnce(&mut Connect),
    ) -> ConnAck {
        self.speak(hello.version);
        let mut connect = hello.packet();
        change(&mut connect);
        self.send(&Packet::Connect(Box::new(connect))).await;
        let Packet::ConnAck(answer) = self.next().await else {
            panic!("CONNACK comes first")
        };
        *answer
    }

    /// CONNECT with another password than the right one.
    pub(crate) async fn hello_with_password(&mut self, hello: &Hello, password: &str) -> ConnAck {
        let mut connect = hello.packet();
        connect.password = Some(Password::new(password.to_owned()));
        self.send(&Packet::Connect(Box::new(connect))).await;
        let Packet::ConnAck(answer) = self.next().await else {
            panic!("CONNACK comes first")
        };
        *answer
    }

    /// CONNECT and what follows it in one piece.
    pub(crate) async fn hello_and(&mut self, hello: &Hello, then: &[Packet]) -> ConnAck {
        let mut out = BytesMut::new();
        encode(
            &Packet::Connect(Box::new(hello.packet())),
            self.version,
            &mut out,
        )
        .unwrap();
        for packet in then {
            encode(packet, self.version, &mut out).unwrap();
        }
        self.stream.write_all(&out).await.unwrap();
        let Packet::ConnAck(answer) = self.next().await else {
            panic!("CONNACK comes first")
        };
        *answer
    }

    pub(crate) async fn send(&mut self, packet: &Packet) {
        let mut out = BytesMut::new();
        encode(packet, self.version, &mut out).unwrap();
        self.stream.write_all(&out).await.unwrap();
    }

    /// CONNECT; whether it was accepted. The connection may be closed meanwhile.
    pub(crate) async fn try_hello(&mut self, hello: &Hello) -> bool {
        self.speak(hello.version);
        self.send(&Packet::Connect(Box::new(hello.packet()))).await;
        match self.next_or_end().await {
            Some(Packet::ConnAck(answer)) => answer.reason == ReasonCode::Success,
            Some(_) | None => false,
        }
    }

    /// Whether the server still answers here.
    pub(crate) async fn is_served(&mut self) -> bool {
        let mut out = BytesMut::new();
        encode(&Packet::PingReq, self.version, &mut out).unwrap();
        if self.stream.write_all(&out).await.is_err() {
            return false;
        }
        loop {
            match self.next_or_end().await {
                Some(Packet::PingResp) => return true,
                Some(Packet::Disconnect(_)) | None => return false,
                Some(_) => {}
            }
        }
    }

    /// Sends a message and waits for nothing.
    pub(crate) async fn send_publish(&mut self, message: Message) {
        let packet_id = (message.qos > Qos::AtMostOnce).then(|| id(80));
        self.send(&Packet::Publish(Publish::new(message, packet_id)))
            .await;
    }

    /// The next packet.
    pub(crate) async fn next(&mut self) -> Packet {
        self.next_or_end()
            .await
            .expect("a packet, not the end of the connection")
    }

    /// The next packet; `None` when the server has closed.
    pub(crate) async fn next_or_end(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.buffer).unwrap() {
                return Some(packet);
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.buffer));
            match read.await.expect("an answer in time") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub(crate) async fn subscribe(&mut self, filter: &str, qos: Qos) -> Vec<ReasonCode> {
        self.subscribe_with(filter, SubscriptionOptions::new(qos), None)
            .await
    }

    pub(crate) async fn subscribe_with(
        &mut self,
        filter: &str,
        options: SubscriptionOptions,
        number: Option<u32>,
    ) -> Vec<ReasonCode> {
        self.send(&subscription(filter, options, number)).await;
        let Packet::SubAck(SubAck { codes, .. }) = self.next().await else {
            panic!("SUBACK comes next")
        };
        codes
    }

    /// The codes, of which version 3 has none.
    pub(crate) async fn unsubscribe(&mut self, filter: &str) -> Vec<ReasonCode> {
        let filters = vec![UnsubscribeFilter::new(text(filter))];
        self.send(&Packet::Unsubscribe(Unsubscribe::new(id(2), filters)))
            .await;
        let Packet::UnsubAck(unsuback) = self.next().await else {
            panic!("UNSUBACK comes next")
        };
        assert_eq!(unsuback.packet_id, id(2));
        unsuback.codes
    }

    /// Sends a message and, if its QoS has one, goes through its handshake.
    pub(crate) async fn publish_message(&mut self, message: Message) {
        let qos = message.qos;
        let packet_id = (qos > Qos::AtMostOnce).then(|| id(79));
        self.send(&Packet::Publish(Publish::new(message, packet_id)))
            .await;
        match qos {
            Qos::AtMostOnce => {}
            Qos::AtLeastOnce => assert!(matches!(self.next().await, Packet::PubAck(_))),
            Qos::ExactlyOnce => {
                assert!(matches!(self.next().await, Packet::PubRec(_)));
                self.send(&Packet::PubRel(Ack::new(id(79)))).await;
                assert!(matches!(self.next().await, Packet::PubComp(_)));
            }
        }
    }

    /// So many messages, each through its handshake, in the order in which they came.
    pub(crate) async fn receive_all(&mut self, count: usize) -> Vec<Publish> {
        let mut received = Vec::new();
        let mut open = 0;
        while received.len() < count || open > 0 {
            match self.next().await {
                Packet::Publish(publish) => {
                    let packet_id = publish.packet_id;
                    match publish.qos {
                        Qos::AtMostOnce => {}
                        Qos::AtLeastOnce => {
                            self.send(&Packet::PubAck(Ack::new(packet_id.unwrap())))
                                .await;
                        }
                        Qos::ExactlyOnce => {
                            open += 1;
                            self.send(&Packet::PubRec(Ack::new(packet_id.unwrap())))
                                .await;
                        }
                    }
                    received.push(publish);
                }
                Packet::PubRel(ack) => {
                    open -= 1;
                    self.send(&Packet::PubComp(Ack::new(ack.packet_id))).await;
                }
                other => panic!("PUBLISH or PUBREL comes next, not {other:?}"),
            }
        }
        received
    }

    /// The version of what is sent and read from here on.
    pub(crate) fn speak(&mut self, version: ProtocolVersion) {
        self.version = version;
        self.decoder = Decoder::client(version, DecodeLimits::default());
    }

    /// Sends bytes as they are.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends a message without waiting for anything.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &str, qos: Qos, number: u16) {
        let packet_id = (qos > Qos::AtMostOnce).then(|| id(number));
        let publish = Publish::new(message(topic, payload, qos), packet_id);
        self.send(&Packet::Publish(publish)).await;
    }

    /// Sends a QoS 1 message and waits for its PUBACK.
    pub(crate) async fn publish_acknowledged(&mut self, topic: &str, payload: &str) -> Ack {
        self.publish(topic, payload, Qos::AtLeastOnce, 77).await;
        let Packet::PubAck(ack) = self.next().await else {
            panic!("PUBACK comes next")
        };
        ack
    }

    pub(crate) async fn retain(&mut self, topic: &str, payload: &str) {
        let mut message = message(topic, payload, Qos::AtLeastOnce);
        message.retain = true;
        self.send(&Packet::Publish(Publish::new(message, Some(id(78)))))
            .await;
        let Packet::PubAck(ack) = self.next().await else {
            panic!("PUBACK comes next")
        };
        assert!(!ack.reason.is_failure(), "{ack:?}");
    }

    /// The next packet, which must be a PUBLISH; a QoS 1 one is acknowledged.
    pub(crate) async fn receive(&mut self) -> Publish {
        let Packet::Publish(publish) = self.next().await else {
            panic!("PUBLISH comes next")
        };
        if publish.qos == Qos::AtLeastOnce {
            self.send(&Packet::PubAck(Ack::new(publish.packet_id.unwrap())))
                .await;
        }
        publish
    }

    /// What the next PUBLISH carries.
    pub(crate) async fn receive_payload(&mut self) -> String {
        String::from_utf8(self.receive().await.payload.to_vec()).unwrap()
    }

    /// Receives until nothing more was on its way. How many there were.
    pub(crate) async fn drain(&mut self) -> u16 {
        self.send(&Packet::PingReq).await;
        let mut count = 0;
        loop {
            match self.next().await {
                Packet::PingResp => return count,
                Packet::Publish(publish) => {
                    let ack = Ack::new(publish.packet_id.unwrap());
                    self.send(&Packet::PubAck(ack)).await;
                    count += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Nothing was on its way: the answer to a PINGREQ comes first.
    pub(crate) async fn expect_nothing(&mut self) {
        self.send(&Packet::PingReq).await;
        let next = self.next().await;
        assert!(matches!(next, Packet::PingResp), "{next:?}");
    }

    /// Ends without a word and waits for its will: by then the server has seen to everything that
    /// the end of a connection brings.
    pub(crate) async fn hang_up_before(self, watcher: &mut Self) {
        self.hang_up().await;
        assert_eq!(watcher.receive_payload().await, LEFT);
    }

    /// Ends without a word, once the server has read everything and closed its side too.
    pub(crate) async fn hang_up(mut self) {
        self.stream.shutdown().await.unwrap();
        while self.next_or_end().await.is_some() {}
    }

    pub(crate) async fn farewell(mut self) {
        self.send(&Packet::Disconnect(Disconnect::new(ReasonCode::Success)))
            .await;
        assert!(self.next_or_end().await.is_none());
    }

    /// The reason of the DISCONNECT that must come next.
    pub(crate) async fn ended_with(&mut self) -> ReasonCode {
        loop {
            match self.next_or_end().await {
                Some(Packet::Disconnect(disconnect)) => return disconnect.reason,
                Some(_) => {}
                None => panic!("closed without DISCONNECT"),
            }
        }
    }
}

/// SUBSCRIBE 1 of one filter.
pub(crate) fn subscription(
    filter: &str,
    options: SubscriptionOptions,
    number: Option<u32>,
) -> Packet {
    let filter = SubscribeFilter::new(text(filter), options);
    let mut subscribe = Subscribe::new(id(1), vec![filter]);
    subscribe.subscription_id = number.and_then(SubscriptionId::new);
    Packet::Subscribe(subscribe)
}

pub(crate) fn text(text: &str) -> MqttString {
    MqttString::try_from(text).unwrap()
}

pub(crate) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

pub(crate) fn message(topic: &str, payload: &str, qos: Qos) -> Message {
    let mut message = Message::new(TopicName::try_from(topic).unwrap(), payload.to_owned());
    message.qos = qos;
    message
}
