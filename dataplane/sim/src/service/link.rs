//! One connection: packets out, packets in.

use std::time::Duration;

use bytes::BytesMut;
use tessera_mqtt::{
    Connect, DecodeLimits, Decoder, MqttString, Packet, Password, ProtocolVersion, encode,
};
use tokio::time::timeout;

use crate::contract::Who;
use crate::service::pipe::DeviceEnd;
use crate::service::tenants::{self, Refused};

/// Longest wait for a CONNACK.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Longest wait for the server to take a packet: after that the connection counts as broken.
const WRITE_MAX: Duration = Duration::from_secs(30);

/// See the module. What is read from it in time order is what its server sent.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) who: Who,
    end: DeviceEnd,
    version: ProtocolVersion,
    decoder: Decoder,
    buffer: BytesMut,
}

impl Link {
    pub(crate) fn new(end: DeviceEnd, who: Who, version: ProtocolVersion) -> Self {
        Self {
            who,
            end,
            version,
            decoder: Decoder::client(version, DecodeLimits::default()),
            buffer: BytesMut::new(),
        }
    }

    pub(crate) const fn version(&self) -> ProtocolVersion {
        self.version
    }

    /// Sends a CONNECT with the tenant's credential. `false`: the connection is broken.
    pub(crate) async fn connect(&mut self, mut connect: Connect) -> Result<bool, Refused> {
        let (username, password) = tenants::access(self.who.tenant);
        connect.username = Some(MqttString::try_from(username.as_str())?);
        connect.password = Some(Password::new(password));
        self.send(&Packet::Connect(Box::new(connect))).await
    }

    /// `false`: the connection is broken.
    pub(crate) async fn send(&mut self, packet: &Packet) -> Result<bool, Refused> {
        let mut out = BytesMut::new();
        encode(packet, self.version, &mut out)?;
        let sent = timeout(WRITE_MAX, self.end.send(&mut out)).await;
        Ok(matches!(sent, Ok(Ok(()))))
    }

    /// The next packet; `None` once the connection is over. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<Option<Packet>, Refused> {
        loop {
            if let Some(packet) = self.decoder.decode(&mut self.buffer)? {
                return Ok(Some(packet));
            }
            if !self.end.receive(&mut self.buffer).await {
                return Ok(None);
            }
        }
    }

    /// The first packet; `None` also if it takes too long.
    pub(crate) async fn first(&mut self) -> Result<Option<Packet>, Refused> {
        let first = timeout(CONNECT_MAX, self.next()).await;
        first.unwrap_or(Ok(None))
    }

    /// A packet that the server had sent before now.
    pub(crate) fn here(&mut self) -> Result<Option<Packet>, Refused> {
        self.end.here(&mut self.buffer);
        Ok(self.decoder.decode(&mut self.buffer)?)
    }

    /// Ends the connection so that the server loses what it has not read.
    pub(crate) fn reset(&self) {
        self.end.reset();
    }
}
