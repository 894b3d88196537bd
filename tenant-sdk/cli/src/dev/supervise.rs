//! Keeps one process running: starts it, tells when it is ready, starts it again when it ends.
//!
//! ```text
//! start ─> looked at until ready ─> Ready ─> ends ─> Ended ─> pause ─> start …
//!             └─> ends, never ready in this session: tried STARTS_MAX times, then GaveUp
//! ```

use std::io;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::child::{Life, Program, log_tail};
use super::process::{GRACE, ProcessFile, ProcessRecord, Role};

/// How often a process that is starting is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(20);
/// Starts of a process that has never been ready before that is reported as final.
const STARTS_MAX: u32 = 5;
/// How long the first start of a process may take until it is ready.
const FIRST_READY_WITHIN: Duration = Duration::from_secs(90);
/// How long a process has to end when everybody is in a hurry.
const GRACE_IN_A_HURRY: Duration = Duration::from_millis(100);

/// Whether to go on. It only ever moves to the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    No,
    /// In good order.
    Gracefully,
    /// The person has asked twice.
    AtOnce,
}

/// What the supervisor of one process reports.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// It serves.
    Ready { role: Role, pid: u32 },
    /// It ended by itself and is started again after the pause.
    Ended {
        role: Role,
        how: String,
        pause: Duration,
    },
    /// It never became ready; nobody starts it any more.
    GaveUp {
        role: Role,
        how: String,
        log: String,
    },
}

/// Runs until it is told to stop, or gives up.
pub(crate) async fn supervise(
    program: Program,
    processes: Arc<Mutex<ProcessFile>>,
    mut stop: watch::Receiver<Stop>,
    events: mpsc::Sender<Event>,
) -> io::Result<()> {
    let role = program.role;
    let mut backoff = Backoff::default();
    let (mut was_ready, mut starts) = (false, 0);
    loop {
        starts += 1;
        let started = Instant::now();
        let how = match live(&program, &processes, &mut stop, &events, &mut was_ready).await {
            Ok(None) => return Ok(()),
            Ok(Some(how)) => how,
            Err(error) => error.to_string(),
        };
        if !was_ready && starts >= STARTS_MAX {
            let event = Event::GaveUp {
                role,
                how,
                log: log_tail(&program.log),
            };
            return tell(&events, event).await;
        }
        let pause = backoff.pause_after(started.elapsed());
        tell(&events, Event::Ended { role, how, pause }).await?;
        tokio::select! {
            () = sleep(pause) => {}
            () = told_to_stop(&mut stop) => return Ok(()),
        }
    }
}

/// One life. `None` if it was told to stop, else how it ended.
async fn live(
    program: &Program,
    processes: &Mutex<ProcessFile>,
    stop: &mut watch::Receiver<Stop>,
    events: &mpsc::Sender<Event>,
    was_ready: &mut bool,
) -> io::Result<Option<String>> {
    let mut life = program.start()?;
    let pid = life.pid;
    if let Some(record) = ProcessRecord::of(program.role, pid) {
        let mut file = processes.lock().unwrap_or_else(PoisonError::into_inner);
        file.started(record)?;
    }
    let limit = if *was_ready {
        Duration::MAX
    } else {
        FIRST_READY_WITHIN
    };
    let readiness = tokio::select! {
        ended = life.ended() => return ended.map(|status| Some(how(status))),
        () = told_to_stop(stop) => None,
        ready = tokio::time::timeout(limit, until_ready(program, pid)) => Some(ready),
    };
    match readiness {
        None => return stop_in_order(&mut life, stop).await,
        Some(Err(_elapsed)) => {
            life.stop(GRACE).await?;
            return Ok(Some(format!("not ready after {} s", limit.as_secs())));
        }
        Some(Ok(())) => {}
    }
    *was_ready = true;
    tell(
        events,
        Event::Ready {
            role: program.role,
            pid,
        },
    )
    .await?;
    tokio::select! {
        ended = life.ended() => ended.map(|status| Some(how(status))),
        () = told_to_stop(stop) => stop_in_order(&mut life, stop).await,
    }
}

async fn until_ready(program: &Program, pid: u32) {
    while !program.is_ready(pid).await {
        sleep(ASK_EVERY).await;
    }
}

async fn stop_in_order(
    life: &mut Life,
    stop: &mut watch::Receiver<Stop>,
) -> io::Result<Option<String>> {
    let hurried = async {
        // A sender that is gone asks for nothing more.
        if stop.wait_for(|stop| *stop >= Stop::AtOnce).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = life.stop(GRACE) => return ended.map(|_| None),
        () = hurried => {}
    }
    life.stop(GRACE_IN_A_HURRY).await.map(|_| None)
}

/// Returns when told to stop, or when nobody is left to tell.
async fn told_to_stop(stop: &mut watch::Receiver<Stop>) {
    stop.wait_for(|stop| *stop >= Stop::Gracefully)
        .await
        .map(drop)
        .unwrap_or_default();
}

async fn tell(events: &mpsc::Sender<Event>, event: Event) -> io::Result<()> {
    events
        .send(event)
        .await
        .map_err(|_| io::Error::other("nobody supervises any more"))
}

fn how(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("exited with code {code}"),
        // On Unix the other way to end is a signal.
        None => format!("was ended by a {status}"),
    }
}

#[cfg(test)]
mod tests;
