//! The smallest client that can generate load: connect, subscribe, then raw packets.

use anyhow::{Context as _, bail, ensure};
use bytes::BytesMut;
use tessera_mqtt::{
    ClientId, Connect, DecodeLimits, Decoder, Disconnect, Message, MqttString, Packet, PacketId,
    Password, ProtocolVersion, Publish, Qos, ReasonCode, Subscribe, SubscribeFilter,
    SubscriptionOptions, TopicName, Unsubscribe, UnsubscribeFilter, encode,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::target::Target;

/// What all load clients speak.
pub(crate) const VERSION: ProtocolVersion = ProtocolVersion::V311;

/// Packets from the broker.
#[derive(Debug)]
pub(crate) struct Receiver {
    stream: OwnedReadHalf,
    decoder: Decoder,
    buffer: BytesMut,
}

impl Receiver {
    /// A packet that is here already.
    pub(crate) fn buffered(&mut self) -> anyhow::Result<Option<Packet>> {
        Ok(self.decoder.decode(&mut self.buffer)?)
    }

    /// Waits for more bytes. `false` at the end of the connection.
    pub(crate) async fn fill(&mut self) -> anyhow::Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    async fn packet(&mut self) -> anyhow::Result<Packet> {
        loop {
            if let Some(packet) = self.buffered()? {
                return Ok(packet);
            }
            if !self.fill().await? {
                bail!("the broker closed the connection");
            }
        }
    }
}

/// What a [`Client::ping`] hears.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A message that was on its way.
    Message(Publish),
    /// Nothing was.
    Pong,
}

/// A connected client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) receiver: Receiver,
    pub(crate) sender: OwnedWriteHalf,
}

impl Client {
    /// Connects with a clean session.
    pub(crate) async fn connect(target: &Target, client_id: &str) -> anyhow::Result<Self> {
        Ok(Self::open(target, client_id, true).await?.0)
    }

    /// Connects to a session that outlives its connections; says whether it was there.
    pub(crate) async fn resume(target: &Target, client_id: &str) -> anyhow::Result<(Self, bool)> {
        Self::open(target, client_id, false).await
    }

    async fn open(target: &Target, client_id: &str, clean: bool) -> anyhow::Result<(Self, bool)> {
        let stream = TcpStream::connect(&target.address)
            .await
            .with_context(|| format!("connecting to {}", target.address))?;
        stream.set_nodelay(true)?;
        let (read, sender) = stream.into_split();
        let decoder = Decoder::client(VERSION, DecodeLimits::default());
        let receiver = Receiver {
            stream: read,
            decoder,
            buffer: BytesMut::with_capacity(65_536),
        };
        let mut client = Self { receiver, sender };
        let mut connect = Connect::new(VERSION, Some(ClientId::try_from(client_id)?));
        connect.clean_start = clean;
        connect.username = target
            .username
            .as_deref()
            .map(MqttString::try_from)
            .transpose()?;
        connect.password = target.password.clone().map(Password::new);
        client.send(&Packet::Connect(Box::new(connect))).await?;
        let answer = client.receiver.packet().await?;
        let Packet::ConnAck(connack) = &answer else {
            bail!("CONNECT was answered with {answer:?}")
        };
        ensure!(
            connack.reason == ReasonCode::Success,
            "CONNECT was answered with {answer:?}"
        );
        Ok((client, connack.session_present))
    }

    /// Subscribes to one filter and waits for the SUBACK.
    pub(crate) async fn subscribe(&mut self, filter: &str, qos: Qos) -> anyhow::Result<()> {
        let id = PacketId::new(1).context("1 is not 0")?;
        let filter =
            SubscribeFilter::new(MqttString::try_from(filter)?, SubscriptionOptions::new(qos));
        self.send(&Packet::Subscribe(Subscribe::new(id, vec![filter])))
            .await?;
        let answer = self.receiver.packet().await?;
        let granted = matches!(&answer, Packet::SubAck(suback)
            if suback.codes.iter().all(|code| !code.is_failure()));
        ensure!(granted, "SUBSCRIBE was answered with {answer:?}");
        Ok(())
    }

    /// Sets a topic's retained message and waits for the PUBACK.
    pub(crate) async fn retain(&mut self, topic: &str, payload: &str) -> anyhow::Result<()> {
        let mut message = Message::new(TopicName::try_from(topic)?, payload.to_owned());
        message.retain = true;
        message.qos = Qos::AtLeastOnce;
        self.send(&Packet::Publish(Publish::new(message, PacketId::new(1))))
            .await?;
        let answer = self.receiver.packet().await?;
        ensure!(
            matches!(answer, Packet::PubAck(_)),
            "PUBLISH was answered with {answer:?}"
        );
        Ok(())
    }

    /// Unsubscribes from one filter and waits for the UNSUBACK. Messages that come before are lost.
    pub(crate) async fn unsubscribe(&mut self, filter: &str) -> anyhow::Result<()> {
        let id = PacketId::new(2).context("2 is not 0")?;
        let filter = UnsubscribeFilter::new(MqttString::try_from(filter)?);
        self.send(&Packet::Unsubscribe(Unsubscribe::new(id, vec![filter])))
            .await?;
        loop {
            if let Packet::UnsubAck(_) = self.receiver.packet().await? {
                return Ok(());
            }
        }
    }

    /// Publishes at QoS 1 and waits for the PUBACK.
    pub(crate) async fn publish_acknowledged(
        &mut self,
        topic: &str,
        payload: &str,
    ) -> anyhow::Result<()> {
        let mut message = Message::new(TopicName::try_from(topic)?, payload.to_owned());
        message.qos = Qos::AtLeastOnce;
        self.send(&Packet::Publish(Publish::new(message, PacketId::new(1))))
            .await?;
        let answer = self.receiver.packet().await?;
        ensure!(
            matches!(answer, Packet::PubAck(_)),
            "PUBLISH was answered with {answer:?}"
        );
        Ok(())
    }

    /// Asks whether anything is on its way: what comes before the answer, or the answer.
    pub(crate) async fn ping(&mut self) -> anyhow::Result<Heard> {
        self.send(&Packet::PingReq).await?;
        let answer = self.receiver.packet().await?;
        if let Packet::Publish(publish) = answer {
            return Ok(Heard::Message(publish));
        }
        ensure!(
            matches!(answer, Packet::PingResp),
            "PINGREQ was answered with {answer:?}"
        );
        Ok(Heard::Pong)
    }

    /// DISCONNECT, and the end of the connection.
    pub(crate) async fn farewell(mut self) -> anyhow::Result<()> {
        let goodbye = Disconnect::new(ReasonCode::Success);
        self.send(&Packet::Disconnect(goodbye)).await?;
        while self.receiver.fill().await? {}
        Ok(())
    }

    /// The next message; other packets are passed over.
    pub(crate) async fn next_publish(&mut self) -> anyhow::Result<Publish> {
        loop {
            if let Packet::Publish(publish) = self.receiver.packet().await? {
                return Ok(publish);
            }
        }
    }

    async fn send(&mut self, packet: &Packet) -> anyhow::Result<()> {
        let mut out = BytesMut::new();
        encode(packet, VERSION, &mut out)?;
        self.sender.write_all(&out).await?;
        Ok(())
    }
}
