//! How a client connects: anew, again, or taking over its own connection.

use std::time::Duration;

use tessera_mqtt::{
    ClientId, ConnAck, Connect, Message, Packet, ProtocolVersion, Qos, ReasonCode, TopicName, Will,
};
use tessera_sim::contract::{self as contract, Act, Client, End};
use tokio::time::Instant;

use super::Device;
use crate::contract_rounds::link::Link;
use crate::contract_rounds::session::{Session, payload};

/// Pause before another try to connect.
const RETRY: Duration = Duration::from_millis(50);

impl Device {
    /// Connects, taking over the present connection if there is one.
    pub(super) async fn connect_or_wait(&mut self) -> anyhow::Result<()> {
        if !self.connect().await? && self.link.is_none() {
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }

    async fn connect(&mut self) -> anyhow::Result<bool> {
        let recorder = &self.world.recorder;
        let who = recorder.who(self.access.tenant, Client(self.number));
        let version = self.kind.version;
        let Ok(mut link) = Link::open(&self.access.target, who, version).await else {
            return Ok(false);
        };
        let (connect, ask) = self.request()?;
        let is_clean = ask.clean_start;
        self.world.recorder.act(who, Act::Connect(ask));
        let sent = link.connect(&self.access.target, connect).await;
        let answer = match sent {
            Ok(()) => link.first().await.unwrap_or_default(),
            Err(_broken) => None,
        };
        match answer {
            Some(Packet::ConnAck(connack)) if connack.reason == ReasonCode::Success => {
                self.connected(link, &connack, is_clean).await?;
                Ok(true)
            }
            Some(_) | None => {
                let end = End::Abrupt;
                self.world.recorder.act(who, Act::Closed { end });
                Ok(false)
            }
        }
    }

    fn request(&mut self) -> anyhow::Result<(Connect, contract::Connect)> {
        let kind = self.kind;
        let id = ClientId::try_from(self.world.names.client(self.number).as_str())?;
        let mut connect = Connect::new(kind.version, Some(id));
        connect.clean_start = kind.expiry_seconds == 0 || self.chance.percent(4);
        let expiry_seconds = if kind.is_v5() {
            connect.session_expiry_seconds = kind.expiry_seconds;
            kind.expiry_seconds
        } else if connect.clean_start {
            // Without MQTT 5 a clean session ends with its connection.
            0
        } else {
            u32::MAX
        };
        let will = self.chance.percent(50).then(|| contract::Will {
            message: self.world.recorder.message(),
            topic: self.world.names.will(self.number),
            qos: self.chance.pick(&[Qos::AtLeastOnce, Qos::ExactlyOnce]),
            retain: false,
            delay_seconds: if kind.is_v5() {
                self.chance.pick(&[0, 0, 1, 2])
            } else {
                0
            },
        });
        if let Some(will) = &will {
            let topic = TopicName::try_from(&*will.topic)?;
            let mut message = Message::new(topic, payload(will.message));
            message.qos = will.qos;
            connect.will = Some(Will {
                message,
                delay_seconds: will.delay_seconds,
            });
        }
        let ask = contract::Connect {
            clean_start: connect.clean_start,
            expiry_seconds,
            will,
        };
        Ok((connect, ask))
    }

    async fn connected(
        &mut self,
        link: Link,
        connack: &ConnAck,
        is_clean: bool,
    ) -> anyhow::Result<()> {
        let who = link.who;
        let recorder = &self.world.recorder;
        // What the former connection was sent before this CONNACK is here by now.
        if let Some(mut old) = self.link.take() {
            while let Some(packet) = old.here()? {
                self.session.handle_packet(recorder, old.who, packet)?;
            }
            self.end_old();
            self.old = Some(old);
        }
        // MQTT 3.1 does not say.
        let says = self.kind.version != ProtocolVersion::V31;
        let is_kept = connack.session_present || (!says && !is_clean && self.stays);
        self.stays = !is_clean;
        let connected = Act::Connected {
            session_present: says.then_some(connack.session_present),
            epoch: None,
        };
        self.world.recorder.act(who, connected);
        self.session.asked = None;
        if !is_kept {
            // What was on its way belonged to a session that is gone.
            self.session = Session::default();
        }
        self.is_old_same = is_kept;
        self.link = Some(link);
        self.next = Instant::now() + self.chance.millis(0, 10);
        for packet in self.session.resend(&self.world.recorder, who)? {
            self.send(&packet).await?;
        }
        self.ask_steady().await
    }
}
