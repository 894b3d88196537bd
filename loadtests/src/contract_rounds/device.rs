//! A client that does what comes to its mind, and writes down all of it.

mod connect;
mod rest;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tessera_mqtt::{
    Disconnect, MqttString, Packet, PacketId, ProtocolVersion, Qos, ReasonCode, Subscribe,
    SubscribeFilter, SubscriptionOptions, Unsubscribe, UnsubscribeFilter,
};
use tessera_sim::contract::{self as contract, Act, End, Subscription};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

pub(crate) use rest::Rest;

use super::chance::Chance;
use super::link::Link;
use super::session::{Asked, Session};
use super::tenants::Access;
use super::{Phase, World};

pub(crate) use super::session::payload_of;

/// Clients of each tenant.
pub(crate) const DEVICES: u32 = 7;
/// Messages that a client has on their way at once.
const WINDOW: usize = 8;
/// Longest wait for the server to close after a DISCONNECT.
const CLOSE_MAX: Duration = Duration::from_secs(10);
/// Of sessions that stay.
const LONG_SECONDS: u32 = 3_600;
const SHORT_SECONDS: u32 = 3;

/// What a client is for all its life.
#[derive(Debug, Clone, Copy)]
struct Kind {
    version: ProtocolVersion,
    /// 0: the session ends with its connection.
    expiry_seconds: u32,
}

impl Kind {
    const fn of(number: u32) -> Self {
        let (version, expiry_seconds) = match number {
            0 | 2 => (ProtocolVersion::V5, LONG_SECONDS),
            1 => (ProtocolVersion::V311, u32::MAX),
            3 => (ProtocolVersion::V311, 0),
            4 => (ProtocolVersion::V5, 0),
            5 => (ProtocolVersion::V5, SHORT_SECONDS),
            _ => (ProtocolVersion::V31, u32::MAX),
        };
        Self {
            version,
            expiry_seconds,
        }
    }

    const fn is_v5(self) -> bool {
        self.version.is_v5()
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Device {
    world: Arc<World>,
    access: Access,
    number: u32,
    kind: Kind,
    chance: Chance,
    session: Session,
    link: Option<Link>,
    /// The connection that the present one took over, until it ends.
    old: Option<Link>,
    /// That one was of the present session.
    is_old_same: bool,
    /// The last connection's session outlives it.
    stays: bool,
    /// When to connect, or to do something.
    next: Instant,
    rest: Arc<Rest>,
}

impl Device {
    pub(crate) fn new(world: &Arc<World>, access: &Access, number: u32) -> Self {
        let part = u64::from(access.tenant.0) * 100 + u64::from(number);
        Self {
            world: Arc::clone(world),
            access: access.clone(),
            number,
            kind: Kind::of(number),
            chance: Chance::new(world.seed, part),
            session: Session::default(),
            link: None,
            old: None,
            is_old_same: false,
            stays: false,
            next: Instant::now(),
            rest: Arc::new(Rest::new(access, number)),
        }
    }

    pub(crate) fn rest(&self) -> Arc<Rest> {
        Arc::clone(&self.rest)
    }

    /// Lives until the phase is the last.
    pub(crate) async fn run(mut self, mut phase: watch::Receiver<Phase>) -> anyhow::Result<()> {
        loop {
            let now = *phase.borrow_and_update();
            if now == Phase::Settle {
                self.rest.set(self.link.as_ref(), &self.session);
            } else {
                self.rest.disturb();
            }
            match now {
                Phase::Over => return Ok(()),
                Phase::Settle if self.link.is_none() => self.connect_or_wait().await?,
                Phase::Work | Phase::Settle => self.step(now, &mut phase).await?,
            }
        }
    }

    async fn step(&mut self, now: Phase, phase: &mut watch::Receiver<Phase>) -> anyhow::Result<()> {
        tokio::select! {
            packet = next_of(&mut self.link) => self.handle(packet?).await,
            packet = next_of(&mut self.old) => self.handle_old(packet?),
            () = sleep_until(self.next), if now == Phase::Work => self.act().await,
            changed = phase.changed() => Ok(changed?),
        }
    }

    async fn act(&mut self) -> anyhow::Result<()> {
        if self.link.is_none() {
            return self.connect_or_wait().await;
        }
        self.next = Instant::now() + self.chance.millis(2, 20);
        match self.chance.below(1_000) {
            0..=819 if self.session.inflight() < WINDOW => self.publish().await,
            820..=899 if self.session.asked.is_none() => self.subscribe().await,
            900..=939 if self.session.asked.is_none() => self.unsubscribe().await,
            940..=949 => {
                self.end(End::Abrupt);
                Ok(())
            }
            950..=957 => self.leave(false).await,
            958..=962 if self.kind.is_v5() => self.leave(true).await,
            963..=972 => self.connect_or_wait().await,
            _ => Ok(()),
        }
    }

    async fn handle(&mut self, packet: Option<Packet>) -> anyhow::Result<()> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        let Some(packet) = packet else {
            self.end(End::Abrupt);
            return Ok(());
        };
        let recorder = &self.world.recorder;
        let answer = self.session.handle_packet(recorder, link.who, packet)?;
        if let Some(answer) = answer
            && link.send(&answer).await.is_err()
        {
            self.end(End::Abrupt);
        }
        self.ask_steady().await
    }

    /// Subscribes to what the client holds all the time, if that does not stand yet.
    async fn ask_steady(&mut self) -> anyhow::Result<()> {
        if self.session.is_steady || self.session.asked.is_some() {
            return Ok(());
        }
        let steady = self.world.names.steady(self.number);
        if steady.is_empty() {
            self.session.is_steady = true;
            return Ok(());
        }
        self.ask(steady, true).await
    }

    /// What comes on a connection that was taken over is written down, for the checker to find.
    fn handle_old(&mut self, packet: Option<Packet>) -> anyhow::Result<()> {
        let Some(old) = &mut self.old else {
            return Ok(());
        };
        match packet {
            Some(packet) => {
                let recorder = &self.world.recorder;
                let is_same = self.is_old_same;
                self.session
                    .handle_late(recorder, old.who, packet, is_same)?;
            }
            None => self.end_old(),
        }
        Ok(())
    }

    fn end_old(&mut self) {
        if let Some(old) = self.old.take() {
            let end = End::Abrupt;
            self.world.recorder.act(old.who, Act::Closed { end });
        }
    }

    /// The connection is over.
    fn end(&mut self, end: End) {
        if let Some(link) = self.link.take() {
            self.world.recorder.act(link.who, Act::Closed { end });
        }
        self.session.asked = None;
        let away = if self.chance.percent(20) {
            self.chance.millis(200, 1_500)
        } else {
            self.chance.millis(0, 60)
        };
        self.next = Instant::now() + away;
    }

    async fn send(&mut self, packet: &Packet) -> anyhow::Result<()> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        if link.send(packet).await.is_err() {
            self.end(End::Abrupt);
        }
        Ok(())
    }

    async fn publish(&mut self) -> anyhow::Result<()> {
        let Some(link) = &self.link else {
            return Ok(());
        };
        let (names, chance) = (&self.world.names, &mut self.chance);
        let place = chance.below(100);
        let topic = match place {
            0..=54 => names.message(chance),
            55..=79 => names.shared(chance),
            _ => names.retained(chance),
        };
        let retain = place >= 80;
        let publish = contract::Publish {
            message: self.world.recorder.message(),
            topic,
            qos: chance.pick(&[
                Qos::AtMostOnce,
                Qos::AtLeastOnce,
                Qos::AtLeastOnce,
                Qos::ExactlyOnce,
                Qos::ExactlyOnce,
            ]),
            retain,
            is_empty: retain && chance.percent(15),
            expiry_seconds: (self.kind.is_v5() && chance.percent(10))
                .then(|| chance.pick(&[1, 2, 3])),
            packet: None,
            dup: false,
        };
        let recorder = &self.world.recorder;
        let packet = self.session.publish(recorder, link.who, publish)?;
        self.send(&packet).await
    }

    async fn subscribe(&mut self) -> anyhow::Result<()> {
        let is_v5 = self.kind.is_v5();
        let filter = self.world.names.passing(is_v5, &mut self.chance);
        // The steady ones stay as they are.
        let steady = self.world.names.steady(self.number);
        if steady.iter().any(|one| one.filter == filter.filter) {
            return Ok(());
        }
        self.ask(vec![filter], false).await
    }

    async fn ask(&mut self, filters: Vec<Subscription>, is_steady: bool) -> anyhow::Result<()> {
        let Some(link) = &self.link else {
            return Ok(());
        };
        let packet = self.session.next_packet();
        let mut sent = Vec::new();
        for filter in &filters {
            let mut options = SubscriptionOptions::new(filter.qos);
            options.no_local = filter.no_local;
            options.retain_as_published = filter.retain_as_published;
            let text = MqttString::try_from(&*filter.filter)?;
            sent.push(SubscribeFilter::new(text, options));
        }
        self.session.asked = Some(Asked {
            connection: link.who.connection,
            packet,
            filters: filters.iter().map(|one| Arc::clone(&one.filter)).collect(),
            is_steady,
        });
        let id = PacketId::new(packet).context("a packet identifier is not 0")?;
        self.world
            .recorder
            .act(link.who, Act::Subscribe { packet, filters });
        self.send(&Packet::Subscribe(Subscribe::new(id, sent)))
            .await
    }

    async fn unsubscribe(&mut self) -> anyhow::Result<()> {
        let Some(link) = &self.link else {
            return Ok(());
        };
        let Some(filter) = self.session.passing.pop() else {
            return Ok(());
        };
        self.session.passing.retain(|other| *other != filter);
        let packet = self.session.next_packet();
        let id = PacketId::new(packet).context("a packet identifier is not 0")?;
        let sent = vec![UnsubscribeFilter::new(MqttString::try_from(&*filter)?)];
        self.session.asked = Some(Asked {
            connection: link.who.connection,
            packet,
            filters: Vec::new(),
            is_steady: false,
        });
        let filters = vec![filter];
        self.world
            .recorder
            .act(link.who, Act::Unsubscribe { packet, filters });
        self.send(&Packet::Unsubscribe(Unsubscribe::new(id, sent)))
            .await
    }

    /// Says DISCONNECT, and takes what comes until the server closes.
    async fn leave(&mut self, with_will: bool) -> anyhow::Result<()> {
        let Some(mut link) = self.link.take() else {
            return Ok(());
        };
        let who = link.who;
        let kills = self.world.recorder.kills();
        let disconnect = Act::Disconnect {
            with_will,
            expiry_seconds: None,
        };
        self.world.recorder.act(who, disconnect);
        let reason = if with_will {
            ReasonCode::DisconnectWithWill
        } else {
            ReasonCode::Success
        };
        let sent = link
            .send(&Packet::Disconnect(Disconnect::new(reason)))
            .await;
        let is_closed = sent.is_ok() && self.take_the_rest(&mut link).await?;
        let end = if with_will {
            End::Abrupt
        } else if is_closed && self.world.recorder.kills() == kills {
            // It closes once the will is gone for good.
            End::Farewell
        } else {
            End::Unknown
        };
        self.link = Some(link);
        self.end(end);
        Ok(())
    }

    /// Takes packets until the connection is over; `false` if that takes too long.
    async fn take_the_rest(&mut self, link: &mut Link) -> anyhow::Result<bool> {
        loop {
            match timeout(CLOSE_MAX, link.next()).await {
                Ok(Ok(Some(packet))) => {
                    let recorder = &self.world.recorder;
                    // No answer may follow a DISCONNECT.
                    self.session.handle_packet(recorder, link.who, packet)?;
                }
                Ok(Ok(None)) => return Ok(true),
                Ok(Err(error)) => return Err(error),
                Err(_elapsed) => return Ok(false),
            }
        }
    }
}

/// The next packet of a connection; never, if there is none.
async fn next_of(link: &mut Option<Link>) -> anyhow::Result<Option<Packet>> {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}
