//! Somebody new who asks what a topic retains, again and again.

use std::sync::Arc;
use std::time::Duration;

use tessera_mqtt::{
    Ack, ClientId, Connect, Disconnect, MqttString, Packet, PacketId, ProtocolVersion, Publish,
    Qos, ReasonCode, Subscribe, SubscribeFilter, SubscriptionOptions,
};
use tokio::time::{sleep, timeout};

use crate::contract::{self, Act, Client, Delivery, End, MessageId, Payload, Subscription, Tenant};
use crate::rng::Rng;
use crate::service::link::Link;
use crate::service::names::{self, SENTINEL};
use crate::service::recorder::Recorder;
use crate::service::session::payload_of;
use crate::service::tenants::Refused;
use crate::service::world::{Phase, World};

/// Client numbers from here on are readers.
const FIRST: u32 = 1_000;
/// Longest read.
const READ_MAX: Duration = Duration::from_secs(10);
const PACKET: u16 = 1;

/// See the module.
#[derive(Debug)]
pub(crate) struct Reader {
    world: Arc<World>,
    tenant: Tenant,
    rng: Rng,
    next: u32,
}

impl Reader {
    pub(crate) fn new(world: &Arc<World>, tenant: Tenant) -> Self {
        let part = 2_000 + u64::from(tenant.0);
        Self {
            rng: Rng::of_part(world.plan.seed, part),
            world: Arc::clone(world),
            tenant,
            next: FIRST,
        }
    }

    /// Reads until the phase is the last.
    pub(crate) async fn run(mut self) -> Result<(), Refused> {
        loop {
            let now = self.world.phases.now();
            match now {
                Phase::Over => return Ok(()),
                Phase::Settle => self.world.phases.other_than(now).await,
                Phase::Work => {
                    sleep(self.rng.millis(50, 200)).await;
                    self.read().await?;
                }
            }
        }
    }

    async fn read(&mut self) -> Result<(), Refused> {
        self.next += 1;
        let client = (self.tenant, Client(self.next));
        let version = self.rng.pick(&[ProtocolVersion::V311, ProtocolVersion::V5]);
        let Some((end, who)) = self.world.dial(&mut self.rng, client) else {
            return Ok(());
        };
        let topic = names::retained(&mut self.rng);
        let mut reading = Reading {
            recorder: &self.world.recorder,
            link: Link::new(end, who, version),
            topic,
            saw: None,
        };
        let end = match timeout(READ_MAX, reading.run(self.next)).await {
            Ok(end) => end?,
            // Nobody said anything for long: the node may be gone.
            Err(_elapsed) => End::Abrupt,
        };
        self.world.recorder.act(who, Act::Closed { end });
        Ok(())
    }
}

struct Reading<'a> {
    recorder: &'a Recorder,
    link: Link,
    topic: Arc<str>,
    saw: Option<MessageId>,
}

impl Reading<'_> {
    async fn run(&mut self, number: u32) -> Result<End, Refused> {
        let who = self.link.who;
        let ask = contract::Connect {
            clean_start: true,
            expiry_seconds: 0,
            will: None,
        };
        self.recorder.act(who, Act::Connect(ask));
        let id = ClientId::try_from(names::client(number).as_str())?;
        let connect = Connect::new(self.link.version(), Some(id));
        if !self.link.connect(connect).await? {
            return Ok(End::Abrupt);
        }
        match self.link.first().await? {
            Some(Packet::ConnAck(connack)) if connack.reason == ReasonCode::Success => {
                let connected = Act::Connected {
                    session_present: Some(connack.session_present),
                    epoch: None,
                };
                self.recorder.act(who, connected);
            }
            Some(_) | None => return Ok(End::Abrupt),
        }
        let topic = Arc::clone(&self.topic);
        self.recorder.act(who, Act::ReadRetained { topic });
        if !self.subscribe().await? || !self.until_told().await? {
            return Ok(End::Abrupt);
        }
        let retained = Act::Retained {
            topic: Arc::clone(&self.topic),
            saw: self.saw,
        };
        self.recorder.act(who, retained);
        self.leave().await
    }

    async fn subscribe(&mut self) -> Result<bool, Refused> {
        let filters = [Arc::clone(&self.topic), SENTINEL.into()];
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
        let id = PacketId::new(PACKET).ok_or_else(|| Refused("it is not 0".to_owned()))?;
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
    /// `false` if the connection ends before, or the subscription is refused.
    async fn until_told(&mut self) -> Result<bool, Refused> {
        loop {
            let Some(packet) = self.link.next().await? else {
                return Ok(false);
            };
            match packet {
                Packet::SubAck(suback) => {
                    let granted = suback.codes.iter();
                    let granted: Vec<_> = granted
                        .map(|code| Qos::try_from(code.as_u8()).ok())
                        .collect();
                    let is_granted = granted.iter().all(Option::is_some);
                    let packet = PACKET;
                    self.recorder
                        .act(self.link.who, Act::SubAck { packet, granted });
                    if !is_granted {
                        return Ok(false);
                    }
                }
                Packet::Publish(publish) => {
                    let topic = self.take(&publish)?;
                    if let Some(id) = publish.packet_id
                        && !self.link.send(&Packet::PubAck(Ack::new(id))).await?
                    {
                        return Ok(false);
                    }
                    if *topic == *SENTINEL {
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
                | Packet::Auth(_) => return Err(Refused(format!("a reader was told {packet:?}"))),
            }
        }
    }

    /// Writes a message down; its topic.
    fn take(&mut self, publish: &Publish) -> Result<Arc<str>, Refused> {
        let topic = publish.topic.name();
        let topic = topic.ok_or_else(|| Refused("an alias was not allowed".to_owned()))?;
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

    async fn leave(&mut self) -> Result<End, Refused> {
        let ends = self.recorder.ends();
        let disconnect = Act::Disconnect {
            with_will: false,
            expiry_seconds: None,
        };
        self.recorder.act(self.link.who, disconnect);
        let farewell = Packet::Disconnect(Disconnect::new(ReasonCode::Success));
        if !self.link.send(&farewell).await? {
            return Ok(End::Unknown);
        }
        // What still comes is nobody's concern.
        while self.link.next().await?.is_some() {}
        if self.recorder.ends() == ends {
            Ok(End::Farewell)
        } else {
            Ok(End::Unknown)
        }
    }
}
