//! Writes through several connections, splits meanwhile, and the kill.

use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::engine_rounds::host::{Connection, Host};
use crate::engine_rounds::ledger::{Ledger, Violation};
use crate::engine_rounds::plan::{Kill, Load, Split};
use crate::engine_wire::{Answer, Request, WriteId, put_line, read_line};

/// Longest load: every write is answered within the engine's patience of 10 s or refused, and a
/// range that moves is looked for another 5 s.
const LOAD_MAX: Duration = Duration::from_secs(60);
/// What connections tell that is not in the ledger yet.
const EVENTS_QUEUED_MAX: usize = 1_024;

/// What loads came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    pub(super) answered_unknown: u64,
}

enum Event {
    Sent(WriteId),
    SplitAsked,
    Answered(Answer),
}

/// Runs a load on a host that listens, and kills it. Ids from `first` on are used.
pub(super) async fn run(
    load: &Load,
    (mut host, nodes): (Host, u64),
    first: WriteId,
    ledger: &mut Ledger,
    counts: &mut Counts,
) -> anyhow::Result<Vec<Violation>> {
    let port = match host.port().await {
        Ok(port) => port,
        Err(violation) => return Ok(vec![violation]),
    };
    let (sender, events) = mpsc::channel(EVENTS_QUEUED_MAX);
    for lane in 0..load.connections {
        let ids = (first.0 + lane..first.0 + load.writes)
            .step_by(usize::try_from(load.connections)?)
            .map(move |id| (id % nodes + 1, WriteId(id)));
        let (window, sender) = (load.window, sender.clone());
        tokio::spawn(write(port, ids, window, sender));
    }
    let mut running = Running {
        load,
        port,
        id_end: first.0 + load.writes,
        answers: 0,
        splits_asked: 0,
        splits: load.splits.clone(),
        sender: Some(sender),
        kill_at: match load.kill {
            Kill::AfterAnswers(_) | Kill::AfterSplit(_) => None,
            Kill::After(time) => Some(Instant::now() + time),
        },
        ledger,
        counts,
    };
    running.run_and_kill(host, events).await
}

struct Running<'a> {
    load: &'a Load,
    port: u16,
    /// Ids below it were given out.
    id_end: u64,
    answers: u64,
    splits_asked: usize,
    /// Not asked for yet.
    splits: Vec<Split>,
    /// For splits that are asked for later.
    sender: Option<mpsc::Sender<Event>>,
    kill_at: Option<Instant>,
    ledger: &'a mut Ledger,
    counts: &'a mut Counts,
}

impl Running<'_> {
    async fn run_and_kill(
        &mut self,
        host: Host,
        mut events: mpsc::Receiver<Event>,
    ) -> anyhow::Result<Vec<Violation>> {
        let deadline = Instant::now() + LOAD_MAX;
        let mut violations = Vec::new();
        loop {
            self.ask_due_splits();
            if self.is_due() {
                break;
            }
            let until = self.kill_at.unwrap_or(deadline).min(deadline);
            match tokio::time::timeout_at(until, events.recv()).await {
                Ok(Some(event)) => self.take(event),
                // Every write and split is answered: only the clock is waited for.
                Ok(None) if self.kill_at.is_some() => tokio::time::sleep_until(until).await,
                Ok(None) => break,
                Err(_) if Instant::now() >= deadline => {
                    let why = format!("{} of {} answers", self.answers, self.load.writes);
                    violations.push(Violation::Stalled { why });
                    break;
                }
                Err(_) => {}
            }
        }
        violations.extend(host.kill().await?);
        self.sender = None;
        // What was answered before the kill is still on its way.
        while let Some(event) = events.recv().await {
            self.take(event);
        }
        Ok(violations)
    }

    fn is_due(&self) -> bool {
        match self.load.kill {
            Kill::AfterAnswers(answers) if self.answers >= answers => true,
            Kill::AfterAnswers(_) | Kill::After(_) | Kill::AfterSplit(_) => {
                self.kill_at.is_some_and(|at| Instant::now() >= at)
            }
        }
    }

    fn ask_due_splits(&mut self) {
        let answers = self.answers;
        let due = self
            .splits
            .extract_if(.., |split| split.after_answers <= answers);
        let due: Vec<_> = due.collect();
        for split in due {
            if let Some(sender) = self.sender.clone() {
                let id = WriteId(1 + split.draw % self.id_end.max(1));
                let if_larger = split.if_larger;
                let request = Request::Split { id, if_larger };
                tokio::spawn(ask_split(self.port, request, sender));
            }
        }
        if self.splits.is_empty() {
            self.sender = None;
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Sent(id) => {
                self.counts.sent += 1;
                self.ledger.sent(id);
            }
            Event::SplitAsked => {
                self.splits_asked += 1;
                if let Kill::AfterSplit(time) = self.load.kill
                    && self.splits_asked == self.load.splits.len()
                {
                    self.kill_at = Some(Instant::now() + time);
                }
            }
            Event::Answered(answer) => self.take_answer(answer),
        }
    }

    fn take_answer(&mut self, answer: Answer) {
        match answer {
            Answer::Written { id, applied } => {
                self.answers += 1;
                self.counts.acknowledged += 1;
                self.ledger.acknowledged(id, applied);
            }
            Answer::Refused { id, why: _ } => {
                self.answers += 1;
                self.counts.refused += 1;
                self.ledger.refused(id);
            }
            Answer::Unknown { id: _, why: _ } => {
                self.answers += 1;
                self.counts.answered_unknown += 1;
            }
            Answer::Split { child } => self.ledger.split(child),
            Answer::NotSplit { .. }
            | Answer::NotReady { .. }
            | Answer::Replicas(_)
            | Answer::Rows(_)
            | Answer::RowsEnd
            | Answer::IsOwned(_) => {}
        }
    }
}

/// Writes all of these through their nodes, so many at a time, until the host is gone.
async fn write(
    port: u16,
    mut ids: impl Iterator<Item = (u64, WriteId)>,
    window: u64,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<()> {
    let mut connection = Connection::open(port).await?;
    let (mut unanswered, mut is_writable, mut out) = (0, true, Vec::new());
    loop {
        while is_writable && unanswered < window {
            let Some((node, id)) = ids.next() else { break };
            let text = id.text();
            put_line(&mut out, &Request::Write { node, id, text })?;
            events.send(Event::Sent(id)).await?;
            unanswered += 1;
        }
        // Answers may be left to read although nothing can be written.
        is_writable &= connection.writer.write_all(&out).await.is_ok();
        out.clear();
        if unanswered == 0 {
            return Ok(());
        }
        let Some(answer) = read_line(&mut connection.reader).await? else {
            return Ok(());
        };
        events.send(Event::Answered(answer)).await?;
        unanswered -= 1;
    }
}

async fn ask_split(port: u16, request: Request, events: mpsc::Sender<Event>) -> anyhow::Result<()> {
    // A kill "after the split" counts from here, also when the host cannot be reached any more.
    let mut connection = Connection::open(port).await?;
    events.send(Event::SplitAsked).await?;
    let answer = connection.ask(&request).await?;
    events.send(Event::Answered(answer)).await?;
    Ok(())
}
