//! One connection: packets out, packets in.

use std::time::Duration;

use anyhow::Context as _;
use bytes::BytesMut;
use tessera_mqtt::{
    Connect, DecodeLimits, Decoder, MqttString, Packet, Password, ProtocolVersion, encode,
};
use tessera_sim::contract::Who;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::target::Target;

/// Longest wait for a connection and for a CONNACK.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the server to take a packet: after that the connection counts as broken.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// See the module. What is read from it in time order is what its server sent.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) who: Who,
    stream: TcpStream,
    version: ProtocolVersion,
    decoder: Decoder,
    buffer: BytesMut,
}

impl Link {
    /// Opens the socket; nothing is sent yet.
    pub(crate) async fn open(
        target: &Target,
        who: Who,
        version: ProtocolVersion,
    ) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(&target.address);
        let stream = tokio::time::timeout(CONNECT_MAX, stream).await??;
        stream.set_nodelay(true)?;
        Ok(Self {
            who,
            stream,
            version,
            decoder: Decoder::client(version, DecodeLimits::default()),
            buffer: BytesMut::with_capacity(65_536),
        })
    }

    pub(crate) const fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Sends a CONNECT with the target's credential.
    pub(crate) async fn connect(
        &mut self,
        target: &Target,
        mut connect: Connect,
    ) -> anyhow::Result<()> {
        connect.username = target
            .username
            .as_deref()
            .map(MqttString::try_from)
            .transpose()?;
        connect.password = target.password.clone().map(Password::new);
        self.send(&Packet::Connect(Box::new(connect))).await
    }

    pub(crate) async fn send(&mut self, packet: &Packet) -> anyhow::Result<()> {
        let mut out = BytesMut::new();
        encode(packet, self.version, &mut out)?;
        let written = self.stream.write_all(&out);
        tokio::time::timeout(WRITE_MAX, written).await??;
        Ok(())
    }

    /// The next packet; `None` once the connection is over. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Packet>> {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.buffer)? {
                return Ok(Some(packet));
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }

    /// The first packet.
    pub(crate) async fn first(&mut self) -> anyhow::Result<Option<Packet>> {
        let first = tokio::time::timeout(CONNECT_MAX, self.next()).await;
        first.context("CONNECT was not answered in time")?
    }

    /// A packet that the server had sent before now. Asks the kernel: the runtime may not have heard
    /// yet that there is something to read.
    pub(crate) fn here(&mut self) -> anyhow::Result<Option<Packet>> {
        let mut bytes = [0; 4_096];
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.buffer)? {
                return Ok(Some(packet));
            }
            match rustix::io::read(&self.stream, &mut bytes) {
                Ok(0) | Err(_) => return Ok(None),
                Ok(len) => self.buffer.extend_from_slice(&bytes[..len]),
            }
        }
    }
}
