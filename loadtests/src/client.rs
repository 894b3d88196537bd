//! The smallest client that can generate load: connect, subscribe, then raw packets.

use anyhow::{Context as _, bail, ensure};
use bytes::BytesMut;
use tessera_mqtt::{
    ClientId, Connect, DecodeLimits, Decoder, MqttString, Packet, PacketId, Password,
    ProtocolVersion, Qos, ReasonCode, Subscribe, SubscribeFilter, SubscriptionOptions, encode,
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

/// A connected client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) receiver: Receiver,
    pub(crate) sender: OwnedWriteHalf,
}

impl Client {
    /// Connects with a clean session.
    pub(crate) async fn connect(target: &Target, client_id: &str) -> anyhow::Result<Self> {
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
        connect.username = target
            .username
            .as_deref()
            .map(MqttString::try_from)
            .transpose()?;
        connect.password = target.password.clone().map(Password::new);
        client.send(&Packet::Connect(Box::new(connect))).await?;
        let answer = client.receiver.packet().await?;
        let accepted =
            matches!(&answer, Packet::ConnAck(connack) if connack.reason == ReasonCode::Success);
        ensure!(accepted, "CONNECT was answered with {answer:?}");
        Ok(client)
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

    async fn send(&mut self, packet: &Packet) -> anyhow::Result<()> {
        let mut out = BytesMut::new();
        encode(packet, VERSION, &mut out)?;
        self.sender.write_all(&out).await?;
        Ok(())
    }
}
