//! How a client connects: anew, again, or taking over its own connection.

use std::num::NonZeroU16;
use std::time::Duration;

use tessera_mqtt::{
    ClientId, ConnAck, Connect, Message, Packet, ProtocolVersion, Qos, ReasonCode, TopicName, Will,
};
use tokio::time::Instant;

use super::Device;
use crate::contract::{self, Act, Client, End};
use crate::service::link::Link;
use crate::service::names;
use crate::service::session::{Session, payload};
use crate::service::tenants::Refused;

/// Pause before another try to connect.
const RETRY: Duration = Duration::from_millis(50);

impl Device {
    /// Connects, taking over the present connection if there is one.
    pub(super) async fn connect_or_wait(&mut self) -> Result<(), Refused> {
        if !self.connect().await? && self.link.is_none() {
            tokio::time::sleep(RETRY).await;
        }
        Ok(())
    }

    async fn connect(&mut self) -> Result<bool, Refused> {
        let client = (self.tenant, Client(self.number));
        let Some((end, who)) = self.world.dial(&mut self.rng, client) else {
            return Ok(false);
        };
        let mut link = Link::new(end, who, self.kind.version);
        let (connect, ask) = self.request()?;
        let is_clean = ask.clean_start;
        self.world.connects(who, ask);
        let answer = if link.connect(connect).await? {
            link.first().await?
        } else {
            None
        };
        match answer {
            Some(Packet::ConnAck(connack)) if connack.reason == ReasonCode::Success => {
                self.connected(link, &connack, is_clean).await?;
                Ok(true)
            }
            Some(_) | None => {
                let end = End::Abrupt;
                self.recorder.act(who, Act::Closed { end });
                if is_clean {
                    self.forget();
                }
                Ok(false)
            }
        }
    }

    fn request(&mut self) -> Result<(Connect, contract::Connect), Refused> {
        let kind = self.kind;
        let id = ClientId::try_from(names::client(self.number).as_str())?;
        let mut connect = Connect::new(kind.version, Some(id));
        connect.clean_start = kind.expiry_seconds == 0 || self.rng.chance(40);
        let expiry_seconds = if kind.is_v5() {
            connect.session_expiry_seconds = kind.expiry_seconds;
            let window = self.rng.pick(&[2, 10, 100]);
            connect.receive_maximum = NonZeroU16::new(window).unwrap_or(NonZeroU16::MAX);
            kind.expiry_seconds
        } else if connect.clean_start {
            // Without MQTT 5 a clean session ends with its connection.
            0
        } else {
            u32::MAX
        };
        let will = self.will();
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

    fn will(&mut self) -> Option<contract::Will> {
        self.rng.chance(500).then(|| contract::Will {
            message: self.recorder.message(),
            topic: names::will(self.number),
            qos: self.rng.pick(&[Qos::AtLeastOnce, Qos::ExactlyOnce]),
            retain: false,
            delay_seconds: if self.kind.is_v5() {
                self.rng.pick(&[0, 0, 1, 2])
            } else {
                0
            },
        })
    }

    async fn connected(
        &mut self,
        link: Link,
        connack: &ConnAck,
        is_clean: bool,
    ) -> Result<(), Refused> {
        let who = link.who;
        // What the former connection was sent before this CONNACK is here by now.
        if let Some(mut old) = self.link.take() {
            while let Some(packet) = old.here()? {
                self.session
                    .handle_packet(&self.recorder, old.who, packet)?;
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
        self.recorder.act(who, connected);
        self.session.asked = None;
        if !is_kept {
            // What was on its way belonged to a session that is gone.
            self.session = Session::default();
        }
        self.is_old_same = is_kept;
        self.link = Some(link);
        self.next = Instant::now() + self.rng.millis(0, 10);
        for packet in self.session.resend(&self.recorder, who)? {
            self.send(&packet).await?;
        }
        self.ask_steady().await
    }
}
