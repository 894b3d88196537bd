//! One run: nodes start, clients work while things go wrong, all is healed and comes to rest, all
//! lights go out, everything is there, and the contract is judged.

use std::sync::Arc;
use std::time::Duration;

use tessera_mqtt::{ClientId, Connect, Packet, ProtocolVersion, Qos, ReasonCode};
use tokio::time::{Instant, sleep, timeout};

use crate::contract::{
    self, Act, Clause, Client, End, Event, History, Micros, Rules, Tenant, check,
};
use crate::invariants::no_panic;
use crate::journal::{Journal, Record, Violation};
use crate::rng::Rng;
use crate::service::device::{Device, Rest};
use crate::service::faults;
use crate::service::link::Link;
use crate::service::names::SENTINEL;
use crate::service::plan::Plan;
use crate::service::reader::Reader;
use crate::service::session::Session;
use crate::service::tenants::{self, Refused};
use crate::service::world::{Phase, World};

/// Clients come to rest, and every part of a run ends.
pub(crate) const COMES_TO_REST: &str = "comes to rest";
/// What the server says can be read, and is an answer to what was asked.
pub(crate) const SPEAKS_MQTT: &str = "speaks mqtt";

/// Simulated time of a whole run, at most.
const RUN_WITHIN: Duration = Duration::from_secs(900);
/// Longest wait for the nodes to serve everybody at the start.
const SERVE_WITHIN: Duration = Duration::from_secs(60);
/// Longest wait for all clients to come to rest.
const SETTLE_WITHIN: Duration = Duration::from_secs(120);
/// Nothing happens for this long: all that was due has come.
const QUIET: Duration = Duration::from_millis(3_000);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Client number of who sets the sentinels.
const KEEPER: u32 = 100;

/// What the service does, with its known weaknesses. Wills wait for whatever is being repaired.
const RULES: Rules = Rules {
    clock_slack: Micros(750_000),
    session_expiry_late: Micros::from_seconds(60),
    will_grace: Micros::from_seconds(6),
    will_late: WILL_LATE,
    resent_may_repeat: true,
    resent_may_retain_again: true,
    takeover_flush: Micros(1_000_000),
    overtaken_may_subscribe: true,
};
const WILL_LATE: Micros = Micros::from_seconds(30);

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) record: Record,
    pub(crate) counts: Counts,
    pub(crate) simulated: Duration,
}

/// What happened to clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// CONNACKs with success.
    pub connections: u64,
    /// Those of a client that was still connected.
    pub takeovers: u64,
    /// PUBLISH packets of QoS 1 and 2 that were acknowledged.
    pub acknowledged: u64,
    /// Messages that clients were given.
    pub deliveries: u64,
    /// Reads of a retained message that ended.
    pub retained_reads: u64,
    /// What each clause judged, in the order of the clauses.
    pub judged: [u64; Clause::ALL.len()],
}

/// Runs a plan on this thread, in simulated time.
pub(crate) fn run(plan: Plan, is_traced: bool) -> std::io::Result<Ran> {
    no_panic::watch();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build()?;
    let mut ran = runtime.block_on(async {
        let journal = Journal::new(is_traced);
        let world = World::new(plan, journal.clone());
        let finishing = timeout(RUN_WITHIN, phases(&world));
        tokio::select! {
            biased;
            // What else would break follows from it.
            () = journal.until_violated() => {}
            finished = finishing => match finished {
                Ok(Ok(())) => {}
                Ok(Err(late)) => journal.violated(COMES_TO_REST, late.0),
                Err(_late) => journal.violated(COMES_TO_REST, format!("the run took {RUN_WITHIN:?}")),
            },
        };
        let counts = judge(&world.recorder.take(), &journal);
        Ran {
            counts,
            simulated: journal.elapsed(),
            record: journal.record(),
        }
    });
    drop(runtime);
    // Whatever else broke may have followed from a panic.
    if let Err(detail) = no_panic::end() {
        ran.record.violation = Some(Violation {
            invariant: no_panic::NAME,
            detail,
            at: ran.simulated,
        });
    }
    Ok(ran)
}

async fn phases(world: &Arc<World>) -> Result<(), Refused> {
    world.journal.say(|| format!("{:?}", world.plan));
    world.start();
    for tenant in tenants::all() {
        let set = timeout(SERVE_WITHIN, set_sentinel(world, tenant)).await;
        set.map_err(|_late| Refused(format!("tenant {} is not served", tenant.0)))??;
    }
    let rests = start_clients(world);
    world.phases.set(Phase::Work);
    faults::inject(Arc::clone(world)).await;
    world.journal.say(|| "healed".to_owned());
    world.heal();
    settle(world, &rests, "healed").await?;
    world.journal.say(|| "lights out".to_owned());
    world.lights_out();
    settle(world, &rests, "after the lights went out").await?;
    sleep(Duration::from_micros(
        RULES.will_grace.0 + RULES.will_late.0,
    ))
    .await;
    settle(world, &rests, "at the end").await?;
    world.phases.set(Phase::Over);
    Ok(())
}

/// Starts all clients. Whether each has come to rest.
fn start_clients(world: &Arc<World>) -> Vec<Arc<Rest>> {
    let mut rests = Vec::new();
    for tenant in tenants::all() {
        for number in 0..world.plan.clients {
            let device = Device::new(world, tenant, number);
            rests.push(device.rest());
            spawn(world, device.run());
        }
        spawn(world, Reader::new(world, tenant).run());
    }
    rests
}

fn spawn(world: &Arc<World>, client: impl Future<Output = Result<(), Refused>> + Send + 'static) {
    let journal = world.journal.clone();
    tokio::spawn(async move {
        if let Err(Refused(detail)) = client.await {
            journal.violated(SPEAKS_MQTT, detail);
        }
    });
}

/// Waits until every client is connected and nothing happens any more.
async fn settle(world: &World, rests: &[Arc<Rest>], when: &'static str) -> Result<(), Refused> {
    world.phases.set(Phase::Settle);
    let begun = Instant::now();
    // Orders are obeyed at once, so whoever is to lose its connection has lost it by then.
    sleep(LOOK_EVERY).await;
    loop {
        let missing = rests.iter().find_map(|rest| rest.missing());
        if missing.is_none() && world.recorder.quiet_for() >= QUIET {
            break;
        }
        if begun.elapsed() > SETTLE_WITHIN {
            let missing = missing.unwrap_or_else(|| "there is no quiet".to_owned());
            return Err(Refused(format!("{when}: {missing}")));
        }
        sleep(LOOK_EVERY).await;
    }
    world.recorder.event(Event::Quiet);
    Ok(())
}

/// Sets the message that readers wait for, trying until it is taken.
async fn set_sentinel(world: &World, tenant: Tenant) -> Result<(), Refused> {
    let mut rng = Rng::of_part(world.plan.seed, 5);
    while !try_sentinel(world, tenant, &mut rng).await? {
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

async fn try_sentinel(world: &World, tenant: Tenant, rng: &mut Rng) -> Result<bool, Refused> {
    let Some((end, who)) = world.dial(rng, (tenant, Client(KEEPER))) else {
        return Ok(false);
    };
    let version = ProtocolVersion::V311;
    let mut link = Link::new(end, who, version);
    let ask = contract::Connect {
        clean_start: true,
        expiry_seconds: 0,
        will: None,
    };
    world.connects(who, ask);
    let id = ClientId::try_from("keeper")?;
    let is_sent = link.connect(Connect::new(version, Some(id))).await?;
    let is_done = is_sent && put_sentinel(world, &mut link).await?;
    let end = End::Abrupt;
    world.recorder.act(who, Act::Closed { end });
    Ok(is_done)
}

async fn put_sentinel(world: &World, link: &mut Link) -> Result<bool, Refused> {
    let who = link.who;
    match link.first().await? {
        Some(Packet::ConnAck(connack)) if connack.reason == ReasonCode::Success => {}
        Some(_) | None => return Ok(false),
    }
    let connected = Act::Connected {
        session_present: Some(false),
        epoch: None,
    };
    world.recorder.act(who, connected);
    let publish = contract::Publish {
        message: world.recorder.message(),
        topic: SENTINEL.into(),
        qos: Qos::AtLeastOnce,
        retain: true,
        is_empty: false,
        expiry_seconds: None,
        packet: None,
        dup: false,
    };
    let mut session = Session::default();
    let packet = session.publish(&world.recorder, who, publish)?;
    if !link.send(&packet).await? {
        return Ok(false);
    }
    let Some(puback) = link.next().await? else {
        return Ok(false);
    };
    session.handle_packet(&world.recorder, who, puback)?;
    Ok(session.inflight() == 0)
}

/// Has the contract judged, and counts.
fn judge(history: &History, journal: &Journal) -> Counts {
    let mut counts = Counts::of(history);
    let found = check(history, &RULES);
    for (clause, judged) in Clause::ALL.into_iter().zip(&mut counts.judged) {
        *judged = found.judged(clause);
    }
    for offence in found.offences() {
        journal.violated(offence.clause.name(), offence.to_string());
    }
    counts
}

impl Counts {
    fn of(history: &History) -> Self {
        let mut counts = Self::default();
        let mut connected = std::collections::BTreeMap::new();
        for entry in history.entries() {
            let Event::Act { who, act } = &entry.event else {
                continue;
            };
            let key = (who.tenant, who.client);
            match act {
                Act::Connected { .. } => {
                    counts.connections += 1;
                    let former = connected.insert(key, who.connection);
                    counts.takeovers += u64::from(former.is_some());
                }
                Act::Closed { .. } if connected.get(&key) == Some(&who.connection) => {
                    connected.remove(&key);
                }
                Act::Published { .. } => counts.acknowledged += 1,
                Act::Deliver(_) => counts.deliveries += 1,
                Act::Retained { .. } => counts.retained_reads += 1,
                Act::Connect(_)
                | Act::Closed { .. }
                | Act::Disconnect { .. }
                | Act::Subscribe { .. }
                | Act::SubAck { .. }
                | Act::Unsubscribe { .. }
                | Act::UnsubAck { .. }
                | Act::Publish(_)
                | Act::Refused { .. }
                | Act::Dropped { .. }
                | Act::WillFired { .. }
                | Act::SessionExpired
                | Act::ReadRetained { .. } => {}
            }
        }
        counts
    }

    /// Adds those of another run.
    pub(crate) fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.takeovers += other.takeovers;
        self.acknowledged += other.acknowledged;
        self.deliveries += other.deliveries;
        self.retained_reads += other.retained_reads;
        for (sum, one) in self.judged.iter_mut().zip(other.judged) {
            *sum += one;
        }
    }
}
