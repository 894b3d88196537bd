//! Client against a scripted server over a real socket.

use std::time::Duration;

use bytes::BytesMut;
use tessera_mqtt::{
    Ack, ConnAck, Connect, DecodeLimits, Decoder, Disconnect, Message, MqttString, Packet,
    ProtocolVersion, Publish, Qos, ReasonCode, TopicName, encode,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::mqtt::{Closed, ConnectError, ConnectOptions, Connected, RequestError, connect};

/// The server's side of one connection.
struct Server {
    stream: TcpStream,
    decoder: Decoder,
    bytes: BytesMut,
    version: ProtocolVersion,
}

impl Server {
    async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.bytes).unwrap() {
                return Some(packet);
            }
            if self.stream.read_buf(&mut self.bytes).await.unwrap() == 0 {
                return None;
            }
        }
    }

    async fn send(&mut self, packet: Packet) {
        let mut out = BytesMut::new();
        encode(&packet, self.version, &mut out).unwrap();
        self.stream.write_all(&out).await.unwrap();
    }

    async fn accept(listener: &TcpListener, answer: ConnAck) -> (Self, Connect) {
        let (stream, _) = listener.accept().await.unwrap();
        let mut server = Self {
            stream,
            decoder: Decoder::server(DecodeLimits::default()),
            bytes: BytesMut::new(),
            version: ProtocolVersion::V5,
        };
        let Some(Packet::Connect(hello)) = server.next().await else {
            panic!("no CONNECT")
        };
        server.version = hello.version;
        server.send(Packet::ConnAck(Box::new(answer))).await;
        (server, *hello)
    }
}

async fn listen() -> (TcpListener, ConnectOptions) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (
        listener,
        ConnectOptions::new("127.0.0.1", port).login("demo.device-1", "tsd_secret"),
    )
}

async fn connected() -> (Server, Connected) {
    let (listener, options) = listen().await;
    let accepted = Server::accept(&listener, ConnAck::new(ReasonCode::Success));
    let ((server, _), connected) = tokio::join!(accepted, connect(options));
    (server, connected.unwrap())
}

fn message(number: usize, qos: Qos) -> Message {
    let mut message = Message::new(TopicName::try_from("a").unwrap(), number.to_string());
    message.qos = qos;
    message
}

#[tokio::test]
async fn user_name_password_and_version_are_sent() {
    let (listener, options) = listen().await;
    let options = options
        .version(ProtocolVersion::V311)
        .client_id("c1")
        .persistent_session(60);
    let accepted = Server::accept(&listener, ConnAck::new(ReasonCode::Success));
    let ((_server, hello), connected) = tokio::join!(accepted, connect(options));
    connected.unwrap();
    assert_eq!(hello.version, ProtocolVersion::V311);
    assert_eq!(hello.username.unwrap().as_str(), "demo.device-1");
    assert_eq!(hello.password.unwrap().as_bytes(), b"tsd_secret");
    assert_eq!(hello.client_id.unwrap().as_str(), "c1");
    assert!(!hello.clean_start);
}

#[tokio::test]
async fn a_refused_connection_says_why() {
    let (listener, options) = listen().await;
    let mut answer = ConnAck::new(ReasonCode::QuotaExceeded);
    answer.reason_string = Some(MqttString::try_from("connections 100 reached").unwrap());
    let (_, refused) = tokio::join!(Server::accept(&listener, answer), connect(options));
    let text = refused.unwrap_err().to_string();
    assert_eq!(
        text,
        "connection refused: connections 100 reached (quota exceeded, 0x97)"
    );
}

#[tokio::test]
async fn a_port_without_server_and_a_silent_one_are_told_apart() {
    let (listener, options) = listen().await;
    let silent = connect(options.clone().timeout(Duration::from_millis(50))).await;
    assert!(
        matches!(silent, Err(ConnectError::Timeout { .. })),
        "{silent:?}"
    );
    drop(listener);
    let nobody = connect(options).await;
    assert!(matches!(nobody, Err(ConnectError::Io { .. })), "{nobody:?}");
}

#[tokio::test]
async fn a_publish_waits_for_its_acknowledgement_and_a_refusal_is_an_error() {
    let (mut server, Connected { client, .. }) = connected().await;
    let publishing = client.publish(message(1, Qos::AtLeastOnce));
    let serving = async {
        let Some(Packet::Publish(publish)) = server.next().await else {
            panic!("no PUBLISH")
        };
        let ack = Ack {
            reason: ReasonCode::QuotaExceeded,
            reason_string: Some(MqttString::try_from("publishes_per_second 100 reached").unwrap()),
            ..Ack::new(publish.packet_id.unwrap())
        };
        server.send(Packet::PubAck(ack)).await;
    };
    let (published, ()) = tokio::join!(publishing, serving);
    let RequestError::Refused { reason, text } = published.unwrap_err() else {
        panic!("refused")
    };
    assert_eq!(reason, ReasonCode::QuotaExceeded);
    assert_eq!(text.as_deref(), Some("publishes_per_second 100 reached"));
}

#[tokio::test]
async fn who_waits_for_an_answer_learns_how_the_connection_ended() {
    let (
        mut server,
        Connected {
            client,
            mut messages,
            ..
        },
    ) = connected().await;
    let publishing = client.publish(message(1, Qos::ExactlyOnce));
    let serving = async {
        server.next().await;
        server
            .send(Packet::Disconnect(Disconnect::new(
                ReasonCode::SessionTakenOver,
            )))
            .await;
    };
    let (published, ()) = tokio::join!(publishing, serving);
    let taken_over = Closed::ByServer {
        reason: ReasonCode::SessionTakenOver,
        text: None,
    };
    assert_eq!(published, Err(RequestError::Closed(taken_over.clone())));
    assert_eq!(messages.next().await, None);
    assert_eq!(messages.closed(), Some(&taken_over));
    let later = client.publish(message(2, Qos::AtMostOnce)).await;
    assert_eq!(later, Err(RequestError::Closed(taken_over)));
}

#[tokio::test]
async fn messages_that_nobody_takes_stop_the_server_and_none_is_lost() {
    const MESSAGES: usize = 2_000;
    let (listener, options) = listen().await;
    let accepted = Server::accept(&listener, ConnAck::new(ReasonCode::Success));
    let ((mut server, _), connected) = tokio::join!(accepted, connect(options.messages_max(1)));
    let mut connected = connected.unwrap();
    let serving = tokio::spawn(async move {
        for number in 0..MESSAGES {
            server
                .send(Packet::Publish(Publish::new(
                    message(number, Qos::AtMostOnce),
                    None,
                )))
                .await;
        }
        server
    });
    for number in 0..MESSAGES {
        let received = connected.messages.next().await.unwrap();
        assert_eq!(received.message.payload, number.to_string());
    }
    drop(serving.await.unwrap());
    assert_eq!(connected.messages.next().await, None);
}

#[tokio::test]
async fn disconnecting_says_goodbye_after_what_was_published() {
    let (mut server, Connected { client, .. }) = connected().await;
    client.publish(message(1, Qos::AtMostOnce)).await.unwrap();
    client.disconnect().await;
    assert_eq!(client.closed(), Some(&Closed::ByClient));
    assert!(matches!(server.next().await, Some(Packet::Publish(_))));
    assert!(matches!(server.next().await, Some(Packet::Disconnect(_))));
    assert_eq!(server.next().await, None);
}

#[tokio::test]
async fn dropping_every_handle_ends_the_connection_in_good_order() {
    let (mut server, connected) = connected().await;
    drop(connected);
    assert!(matches!(server.next().await, Some(Packet::Disconnect(_))));
}

#[tokio::test]
async fn a_silent_server_is_noticed_by_its_missing_pong() {
    let (listener, options) = listen().await;
    let accepted = Server::accept(&listener, ConnAck::new(ReasonCode::Success));
    let ((mut server, _), connected) =
        tokio::join!(accepted, connect(options.keep_alive_seconds(1)));
    let mut messages = connected.unwrap().messages;
    assert!(matches!(server.next().await, Some(Packet::PingReq)));
    server.send(Packet::PingResp).await;
    assert!(matches!(server.next().await, Some(Packet::PingReq)));
    assert_eq!(messages.next().await, None);
    assert_eq!(messages.closed(), Some(&Closed::Silent));
}
