//! A client that does what comes to its mind, and writes down all of it.

mod connect;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tessera_mqtt::{
    Disconnect, MqttString, Packet, PacketId, ProtocolVersion, Qos, ReasonCode, Subscribe,
    SubscribeFilter, SubscriptionOptions, Unsubscribe, UnsubscribeFilter,
};
use tokio::time::{Instant, sleep_until, timeout};

use crate::contract::{self, Act, End, Subscription, Tenant};
use crate::rng::Rng;
use crate::service::link::Link;
use crate::service::names;
use crate::service::recorder::Recorder;
use crate::service::session::{Asked, Session};
use crate::service::tenants::Refused;
use crate::service::world::{Phase, World};

/// Messages that a client has on their way at once.
const WINDOW: usize = 8;
/// Longest wait for the server to close after a DISCONNECT.
const CLOSE_MAX: Duration = Duration::from_secs(10);
/// How long it may not read, at most: below the slack of the rules, which take what came for what was
/// read.
const DEAF_MS_MAX: u64 = 300;
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

/// Whether a client is connected and waits for nothing, which it can be only in the phase that asks for
/// it.
#[derive(Debug, Default)]
pub(crate) struct Rest(Mutex<Option<String>>);

impl Rest {
    /// What it still waits for.
    pub(crate) fn missing(&self) -> Option<String> {
        self.0.lock().clone()
    }

    fn set(&self, missing: Option<String>) {
        *self.0.lock() = missing;
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Device {
    world: Arc<World>,
    recorder: Recorder,
    tenant: Tenant,
    number: u32,
    kind: Kind,
    rng: Rng,
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
    /// Until when it does not read.
    is_deaf_until: Option<Instant>,
    rest: Arc<Rest>,
}

impl Device {
    pub(crate) fn new(world: &Arc<World>, tenant: Tenant, number: u32) -> Self {
        let part = 1_000 + u64::from(tenant.0) * 100 + u64::from(number);
        Self {
            recorder: world.recorder.clone(),
            tenant,
            number,
            kind: Kind::of(number),
            rng: Rng::of_part(world.plan.seed, part),
            world: Arc::clone(world),
            session: Session::default(),
            link: None,
            old: None,
            is_old_same: false,
            stays: false,
            next: Instant::now(),
            is_deaf_until: None,
            rest: Arc::default(),
        }
    }

    /// Whether it has come to rest.
    pub(crate) fn rest(&self) -> Arc<Rest> {
        Arc::clone(&self.rest)
    }

    /// Lives until the phase is the last.
    pub(crate) async fn run(mut self) -> Result<(), Refused> {
        loop {
            let now = self.world.phases.now();
            self.rest.set(self.waits_for(now));
            match now {
                Phase::Over => return Ok(()),
                Phase::Settle if self.link.is_none() => self.connect_or_wait().await?,
                Phase::Work | Phase::Settle => self.step(now).await?,
            }
        }
    }

    /// What is not at its end, in words.
    fn waits_for(&self, now: Phase) -> Option<String> {
        let who = format!("client {} of tenant {}", self.number, self.tenant.0);
        if now != Phase::Settle {
            return Some(format!("{who} works"));
        }
        let Some(link) = &self.link else {
            return Some(format!("{who} is not connected"));
        };
        let at = link.who.connection.0;
        let is_settled = self.session.is_settled();
        (!is_settled).then(|| format!("{who} waits on connection {at}: {:?}", self.session))
    }

    async fn step(&mut self, now: Phase) -> Result<(), Refused> {
        if now == Phase::Settle {
            self.is_deaf_until = None;
        }
        let world = Arc::clone(&self.world);
        if let Some(until) = self.is_deaf_until {
            tokio::select! {
                biased;
                () = sleep_until(until) => self.is_deaf_until = None,
                () = world.phases.other_than(now) => {}
            }
            return Ok(());
        }
        tokio::select! {
            biased;
            packet = next_of(&mut self.link) => self.handle(packet?).await,
            packet = next_of(&mut self.old) => self.handle_old(packet?),
            () = sleep_until(self.next), if now == Phase::Work => self.act().await,
            () = world.phases.other_than(now) => Ok(()),
        }
    }

    async fn act(&mut self) -> Result<(), Refused> {
        if self.link.is_none() {
            return self.connect_or_wait().await;
        }
        let pause_ms = u64::try_from(self.world.plan.pause.as_millis()).unwrap_or(1);
        self.next = Instant::now() + self.rng.millis(1, pause_ms * 2);
        match self.rng.below(1_000) {
            0..=799 if self.session.inflight() < WINDOW => self.publish().await,
            800..=889 if self.session.asked.is_none() => self.subscribe().await,
            890..=929 if self.session.asked.is_none() => self.unsubscribe().await,
            930..=942 => {
                self.drop_link();
                Ok(())
            }
            943..=952 => self.leave(false).await,
            953..=959 if self.kind.is_v5() => self.leave(true).await,
            960..=972 => self.connect_or_wait().await,
            973..=977 => {
                self.is_deaf_until = Some(Instant::now() + self.rng.millis(50, DEAF_MS_MAX));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn handle(&mut self, packet: Option<Packet>) -> Result<(), Refused> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        let Some(packet) = packet else {
            self.end(End::Abrupt);
            return Ok(());
        };
        let answer = self
            .session
            .handle_packet(&self.recorder, link.who, packet)?;
        if let Some(answer) = answer {
            self.send(&answer).await?;
        }
        self.ask_steady().await
    }

    /// Subscribes to what the client holds all the time, if that does not stand yet.
    async fn ask_steady(&mut self) -> Result<(), Refused> {
        if self.session.is_steady || self.session.asked.is_some() {
            return Ok(());
        }
        let steady = names::steady(self.number);
        if steady.is_empty() {
            self.session.is_steady = true;
            return Ok(());
        }
        self.ask(steady, true).await
    }

    /// What comes on a connection that was taken over is written down, for the checker to find.
    fn handle_old(&mut self, packet: Option<Packet>) -> Result<(), Refused> {
        let Some(old) = &mut self.old else {
            return Ok(());
        };
        match packet {
            Some(packet) => {
                let (who, is_same) = (old.who, self.is_old_same);
                self.session
                    .handle_late(&self.recorder, who, packet, is_same)?;
            }
            None => self.end_old(),
        }
        Ok(())
    }

    fn end_old(&mut self) {
        if let Some(old) = self.old.take() {
            let end = End::Abrupt;
            self.recorder.act(old.who, Act::Closed { end });
        }
    }

    /// Goes without a word; the server may or may not read what it was sent.
    fn drop_link(&mut self) {
        if let Some(link) = &self.link
            && self.rng.chance(500)
        {
            link.reset();
        }
        self.end(End::Abrupt);
    }

    /// A clean start was asked for and not answered: nothing of the session is known any more.
    fn forget(&mut self) {
        self.end(End::Abrupt);
        self.session = Session::default();
        self.stays = false;
    }

    /// The connection is over.
    fn end(&mut self, end: End) {
        if let Some(link) = self.link.take() {
            self.recorder.act(link.who, Act::Closed { end });
        }
        self.session.asked = None;
        let away = if self.rng.chance(200) {
            self.rng.millis(200, 1_500)
        } else {
            self.rng.millis(0, 60)
        };
        self.next = Instant::now() + away;
    }

    async fn send(&mut self, packet: &Packet) -> Result<(), Refused> {
        let Some(link) = &mut self.link else {
            return Ok(());
        };
        if !link.send(packet).await? {
            self.end(End::Abrupt);
        }
        Ok(())
    }

    async fn publish(&mut self) -> Result<(), Refused> {
        let Some(link) = &self.link else {
            return Ok(());
        };
        let rng = &mut self.rng;
        let place = rng.below(100);
        let topic = match place {
            0..=54 => names::message(rng),
            55..=79 => names::shared(rng),
            _ => names::retained(rng),
        };
        let retain = place >= 80;
        let publish = contract::Publish {
            message: self.recorder.message(),
            topic,
            qos: rng.pick(&[
                Qos::AtMostOnce,
                Qos::AtLeastOnce,
                Qos::AtLeastOnce,
                Qos::ExactlyOnce,
                Qos::ExactlyOnce,
            ]),
            retain,
            is_empty: retain && rng.chance(150),
            expiry_seconds: (self.kind.is_v5() && rng.chance(100)).then(|| rng.pick(&[1, 2, 3])),
            packet: None,
            dup: false,
        };
        let packet = self.session.publish(&self.recorder, link.who, publish)?;
        self.send(&packet).await
    }

    async fn subscribe(&mut self) -> Result<(), Refused> {
        let filter = names::passing(self.kind.is_v5(), &mut self.rng);
        // The steady ones stay as they are.
        let steady = names::steady(self.number);
        if steady.iter().any(|one| one.filter == filter.filter) {
            return Ok(());
        }
        self.ask(vec![filter], false).await
    }

    async fn ask(&mut self, filters: Vec<Subscription>, is_steady: bool) -> Result<(), Refused> {
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
        let subscribe = Act::Subscribe { packet, filters };
        self.recorder.act(link.who, subscribe);
        self.send(&Packet::Subscribe(Subscribe::new(id(packet)?, sent)))
            .await
    }

    async fn unsubscribe(&mut self) -> Result<(), Refused> {
        let Some(link) = &self.link else {
            return Ok(());
        };
        let Some(filter) = self.session.passing.pop() else {
            return Ok(());
        };
        self.session.passing.retain(|other| *other != filter);
        let packet = self.session.next_packet();
        let sent = vec![UnsubscribeFilter::new(MqttString::try_from(&*filter)?)];
        self.session.asked = Some(Asked {
            connection: link.who.connection,
            packet,
            filters: Vec::new(),
            is_steady: false,
        });
        let filters = vec![filter];
        self.recorder
            .act(link.who, Act::Unsubscribe { packet, filters });
        self.send(&Packet::Unsubscribe(Unsubscribe::new(id(packet)?, sent)))
            .await
    }

    /// Says DISCONNECT, and takes what comes until the server closes.
    async fn leave(&mut self, with_will: bool) -> Result<(), Refused> {
        let Some(mut link) = self.link.take() else {
            return Ok(());
        };
        let who = link.who;
        let ends = self.recorder.ends();
        let disconnect = Act::Disconnect {
            with_will,
            expiry_seconds: None,
        };
        self.recorder.act(who, disconnect);
        let reason = if with_will {
            ReasonCode::DisconnectWithWill
        } else {
            ReasonCode::Success
        };
        let sent = link
            .send(&Packet::Disconnect(Disconnect::new(reason)))
            .await?;
        let is_closed = sent && self.take_the_rest(&mut link).await?;
        let end = if with_will {
            End::Abrupt
        } else if is_closed && self.recorder.ends() == ends {
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
    async fn take_the_rest(&mut self, link: &mut Link) -> Result<bool, Refused> {
        loop {
            match timeout(CLOSE_MAX, link.next()).await {
                Ok(Ok(Some(packet))) => {
                    // No answer may follow a DISCONNECT.
                    self.session
                        .handle_packet(&self.recorder, link.who, packet)?;
                }
                Ok(Ok(None)) => return Ok(true),
                Ok(Err(error)) => return Err(error),
                Err(_elapsed) => return Ok(false),
            }
        }
    }
}

fn id(packet: u16) -> Result<PacketId, Refused> {
    PacketId::new(packet).ok_or_else(|| Refused("a packet identifier is not 0".to_owned()))
}

/// The next packet of a connection; never, if there is none.
async fn next_of(link: &mut Option<Link>) -> Result<Option<Packet>, Refused> {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}
