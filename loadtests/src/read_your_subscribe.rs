//! Promise 6: a publish that starts after a SUBACK reaches that subscriber. Fresh connections, fresh
//! filters of every form, while others come and go; a miss is a PINGRESP that comes before the
//! message, so that nothing depends on time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Serialize;
use tessera_mqtt::Qos;
use tokio::task::JoinSet;

use crate::client::{Client, Heard};
use crate::target::Target;

/// How often to try.
#[derive(Debug, Args)]
pub(crate) struct TryOptions {
    /// Subscriptions, each on a connection of its own.
    #[arg(long, default_value_t = 100_000)]
    tries: u64,
    /// Tries at once.
    #[arg(long, default_value_t = 16)]
    workers: u64,
    /// Clients that do nothing but subscribe and unsubscribe meanwhile.
    #[arg(long, default_value_t = 4)]
    churn: u64,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Tried {
    scenario: &'static str,
    tries: u64,
    exact: u64,
    plus: u64,
    hash: u64,
    shared: u64,
    persistent: u64,
    subscriptions_meanwhile: u64,
    misses: u64,
    seconds: f64,
}

impl Tried {
    pub(crate) const fn is_clean(&self) -> bool {
        self.misses == 0
    }
}

/// Runs all tries.
pub(crate) async fn run(target: &Target, options: &TryOptions) -> anyhow::Result<Tried> {
    let begun = Instant::now();
    let target = Arc::new(target.clone());
    let is_over = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicU64::new(0));
    let mut churning = JoinSet::new();
    for number in 0..options.churn {
        churning.spawn(churn(Arc::clone(&target), number, Arc::clone(&is_over)));
    }
    let mut working = JoinSet::new();
    for number in 0..options.workers.max(1) {
        let next = Arc::clone(&next);
        working.spawn(work(Arc::clone(&target), number, next, options.tries));
    }
    let mut misses = 0;
    while let Some(worked) = working.join_next().await {
        misses += worked??;
    }
    is_over.store(true, Ordering::Release);
    let mut subscriptions_meanwhile = 0;
    while let Some(churned) = churning.join_next().await {
        subscriptions_meanwhile += churned??;
    }
    let of_form = |form: u64| (options.tries + 3 - form) / 4;
    Ok(Tried {
        scenario: "read-your-subscribe",
        tries: options.tries,
        exact: of_form(0),
        plus: of_form(1),
        hash: of_form(2),
        shared: of_form(3),
        persistent: (options.tries + 3) / 8,
        subscriptions_meanwhile,
        misses,
        seconds: begun.elapsed().as_secs_f64(),
    })
}

/// Takes tries until there are no more; how many missed.
async fn work(
    target: Arc<Target>,
    number: u64,
    next: Arc<AtomicU64>,
    tries: u64,
) -> anyhow::Result<u64> {
    let mut publisher = Client::connect(&target, &format!("publisher-{number}")).await?;
    let mut misses = 0;
    loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        if at >= tries {
            return Ok(misses);
        }
        misses += u64::from(!arrives(&target, &mut publisher, at).await?);
    }
}

/// One try: whether the message came.
async fn arrives(target: &Target, publisher: &mut Client, at: u64) -> anyhow::Result<bool> {
    let topic = format!("read/{at}/x");
    let filter = match at % 4 {
        0 => topic.clone(),
        1 => format!("read/{at}/+"),
        2 => format!("read/{at}/#"),
        _ => format!("$share/group/{topic}"),
    };
    let is_persistent = at % 8 >= 4 && at % 8 < 5;
    let client_id = format!("subscriber-{at}");
    let mut subscriber = if is_persistent {
        Client::resume(target, &client_id).await?.0
    } else {
        Client::connect(target, &client_id).await?
    };
    subscriber.subscribe(&filter, Qos::AtLeastOnce).await?;
    publisher.publish_acknowledged(&topic, "after").await?;
    let arrived = match subscriber.ping().await? {
        Heard::Message(publish) => {
            ensure!(&publish.payload[..] == b"after", "another message came");
            true
        }
        Heard::Pong => false,
    };
    if is_persistent {
        subscriber.farewell().await?;
        // A clean session in its place: nothing is left of it.
        Client::connect(target, &client_id)
            .await
            .context("discarding a session")?
            .farewell()
            .await?;
    } else {
        subscriber.farewell().await?;
    }
    Ok(arrived)
}

/// Subscribes and unsubscribes until it is over; how often.
async fn churn(target: Arc<Target>, number: u64, is_over: Arc<AtomicBool>) -> anyhow::Result<u64> {
    let mut client = Client::connect(&target, &format!("churn-{number}")).await?;
    let mut rounds = 0;
    while !is_over.load(Ordering::Acquire) {
        let filter = format!("read/{}/#", rounds % 97);
        client.subscribe(&filter, Qos::AtMostOnce).await?;
        client.unsubscribe(&filter).await?;
        rounds += 1;
    }
    Ok(rounds)
}
