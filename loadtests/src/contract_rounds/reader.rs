//! Reads what topics retain, each time as a new subscriber.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tessera_mqtt::{
    Ack, ClientId, Connect, Disconnect, MqttString, Packet, PacketId, ProtocolVersion, Publish,
    Qos, ReasonCode, Subscribe, SubscribeFilter, SubscriptionOptions,
};
use tessera_sim::contract::{
    self as contract, Act, Client, Delivery, End, MessageId, Payload, Subscription,
};
use tokio::sync::watch;

use super::chance::Chance;
use super::device::payload_of;
use super::link::Link;
use super::names::Names;
use super::recorder::Recorder;
use super::tenants::Access;
use super::{Phase, World};

/// Client numbers from here on are readers.
const FIRST: u32 = 1_000;
/// Longest read.
const READ_MAX: Duration = Duration::from_secs(10);
const PACKET: u16 = 1;

/// See the module.
#[derive(Debug)]
pub(crate) struct Reader {
    world: Arc<World>,
    access: Access,
    chance: Chance,
    next: u32,
}

impl Reader {
    pub(crate) fn new(world: &Arc<World>, access: &Access) -> Self {
        let part = 1_000 + u64::from(access.tenant.0);
        Self {
            world: Arc::clone(world),
            access: access.clone(),
            chance: Chance::new(world.seed, part),
            next: FIRST,
        }
    }

    /// Reads until the phase is the last.
    pub(crate) async fn run(mut self, mut phase: watch::Receiver<Phase>) -> anyhow::Result<()> {
        loop {
            let pause = self.chance.millis(20, 80);
            let now = *phase.borrow_and_update();
            match now {
                Phase::Over => return Ok(()),
                Phase::Settle => phase.changed().await?,
                Phase::Work => {
                    tokio::time::sleep(pause).await;
                    self.read().await?;
                }
            }
        }
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        self.next += 1;
        let recorder = &self.world.recorder;
        let who = recorder.who(self.access.tenant, Client(self.next));
        let version = self
            .chance
            .pick(&[ProtocolVersion::V311, ProtocolVersion::V5]);
        let Ok(link) = Link::open(&self.access.target, who, version).await else {
            return Ok(());
        };
        let topic = self.world.names.retained(&mut self.chance);
        let mut reading = Reading {
            recorder,
            names: &self.world.names,
            link,
            topic,
            saw: None,
        };
        let outcome = tokio::time::timeout(READ_MAX, reading.run(&self.access, self.next)).await;
        let end = match outcome {
            Ok(Ok(end)) => end,
            Ok(Err(error)) => return Err(error.context("a reader")),
            // Nobody said anything for long: the node may be gone.
            Err(_elapsed) => End::Abrupt,
        };
        recorder.act(who, Act::Closed { end });
        Ok(())
    }
}

struct Reading<'a> {
    recorder: &'a Recorder,
    names: &'a Names,
    link: Link,
    topic: Arc<str>,
    saw: Option<MessageId>,
}

impl Reading<'_> {
    async fn run(&mut self, access: &Access, number: u32) -> anyhow::Result<End> {
        let who = self.link.who;
        let ask = contract::Connect {
            clean_start: true,
            expiry_seconds: 0,
            will: None,
        };
        self.recorder.act(who, Act::Connect(ask));
        let id = ClientId::try_from(self.names.client(number).as_str())?;
        let connect = Connect::new(self.link.version(), Some(id));
        if self.link.connect(&access.target, connect).await.is_err() {
            return Ok(End::Abrupt);
        }
        match self.link.first().await {
            Ok(Some(Packet::ConnAck(connack))) if connack.reason == ReasonCode::Success => {
                let connected = Act::Connected {
                    session_present: Some(connack.session_present),
                    epoch: None,
                };
                self.recorder.act(who, connected);
            }
            Ok(_) | Err(_) => return Ok(End::Abrupt),
        }
        let topic = Arc::clone(&self.topic);
        self.recorder.act(who, Act::ReadRetained { topic });
        if self.subscribe().await.is_err() || !self.until_told().await? {
            return Ok(End::Abrupt);
        }
        let retained = Act::Retained {
            topic: Arc::clone(&self.topic),
            saw: self.saw,
        };
        self.recorder.act(who, retained);
        Ok(self.leave().await)
    }

    async fn subscribe(&mut self) -> anyhow::Result<()> {
        let filters = [Arc::clone(&self.topic), self.names.sentinel()];
        let asked = filters.iter().map(|filter| Subscription {
            filter: Arc::clone(filter),
            qos: Qos::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
        });
        let asked = Act::Subscribe {
            packet: PACKET,
            filters: asked.collect(),
        };
        self.recorder.act(self.link.who, asked);
        let id = PacketId::new(PACKET).context("it is not 0")?;
        let mut sent = Vec::new();
        for filter in &filters {
            let text = MqttString::try_from(&**filter)?;
            let options = SubscriptionOptions::new(Qos::AtLeastOnce);
            sent.push(SubscribeFilter::new(text, options));
        }
        self.link
            .send(&Packet::Subscribe(Subscribe::new(id, sent)))
            .await
    }

    /// Retained messages come in the order of the filters: after the sentinel's comes no other.
    /// `false` if the connection ends before.
    async fn until_told(&mut self) -> anyhow::Result<bool> {
        let sentinel = self.names.sentinel();
        loop {
            let Some(packet) = self.link.next().await? else {
                return Ok(false);
            };
            match packet {
                Packet::SubAck(suback) => {
                    let granted = suback.codes.iter();
                    let granted = granted.map(|code| Qos::try_from(code.as_u8()).ok());
                    let granted = Act::SubAck {
                        packet: PACKET,
                        granted: granted.collect(),
                    };
                    self.recorder.act(self.link.who, granted);
                }
                Packet::Publish(publish) => {
                    let topic = self.take(&publish)?;
                    if let Some(id) = publish.packet_id
                        && self.link.send(&Packet::PubAck(Ack::new(id))).await.is_err()
                    {
                        return Ok(false);
                    }
                    if topic == sentinel {
                        return Ok(true);
                    }
                }
                Packet::Disconnect(_) => return Ok(false),
                Packet::Connect(_)
                | Packet::ConnAck(_)
                | Packet::PubAck(_)
                | Packet::PubRec(_)
                | Packet::PubRel(_)
                | Packet::PubComp(_)
                | Packet::Subscribe(_)
                | Packet::Unsubscribe(_)
                | Packet::UnsubAck(_)
                | Packet::PingReq
                | Packet::PingResp
                | Packet::Auth(_) => bail!("a reader was told {packet:?}"),
            }
        }
    }

    /// Writes a message down; its topic.
    fn take(&mut self, publish: &Publish) -> anyhow::Result<Arc<str>> {
        let topic = publish.topic.name().context("an alias was not allowed")?;
        let topic: Arc<str> = topic.as_str().into();
        let payload = payload_of(&publish.payload);
        let delivery = Delivery {
            payload,
            topic: Arc::clone(&topic),
            qos: publish.qos,
            dup: publish.dup,
            retain: publish.retain,
            packet: publish.packet_id.map(PacketId::get),
            expiry_seconds: publish.expiry_seconds,
        };
        self.recorder.act(self.link.who, Act::Deliver(delivery));
        if let Payload::Message(message) = payload
            && publish.retain
            && topic == self.topic
        {
            self.saw = Some(message);
        }
        Ok(topic)
    }

    async fn leave(&mut self) -> End {
        let kills = self.recorder.kills();
        let disconnect = Act::Disconnect {
            with_will: false,
            expiry_seconds: None,
        };
        self.recorder.act(self.link.who, disconnect);
        let farewell = Packet::Disconnect(Disconnect::new(ReasonCode::Success));
        if self.link.send(&farewell).await.is_err() {
            return End::Unknown;
        }
        // What still comes is nobody's concern.
        while let Ok(Some(_)) = self.link.next().await {}
        if self.recorder.kills() == kills {
            End::Farewell
        } else {
            End::Unknown
        }
    }
}
