//! C5: what a topic retains is a linearizable register: a write or a clear takes effect once between
//! its request and its answer, and a new subscription reads the last one.

use std::collections::BTreeMap;
use std::sync::Arc;

use tessera_mqtt::Qos;

use super::facts::{Facts, Message, Read};
use super::history::{MessageId, Micros, Moment, Tenant};
use super::verdict::{Clause, Judged, Ruling};
use crate::linearizability::{Operation, Verdict, check};

/// What a topic retains.
type Register = Option<MessageId>;

#[derive(Debug, Clone, Copy)]
enum Ask {
    Write(Register),
    /// The message expires.
    Expire(MessageId),
    Read(Register),
}

#[derive(Debug, Clone, Copy)]
struct Op {
    ask: Ask,
    begun: Moment,
    /// `None`: it may take effect at any time until `until`, or never.
    ended: Option<Moment>,
    until: Option<Moment>,
}

impl Operation for Op {
    type State = Register;

    fn begun(&self) -> u64 {
        u64::try_from(self.begun.0).unwrap_or(u64::MAX)
    }

    fn ended(&self) -> u64 {
        let ended = self.ended.and_then(|ended| u64::try_from(ended.0).ok());
        ended.unwrap_or(u64::MAX)
    }

    fn until(&self) -> u64 {
        let until = self.until.and_then(|until| u64::try_from(until.0).ok());
        until.unwrap_or(u64::MAX)
    }

    fn is_done(&self) -> bool {
        self.ended.is_some()
    }

    fn is_write(&self) -> bool {
        matches!(self.ask, Ask::Write(_))
    }

    fn observes(&self) -> bool {
        !self.is_write()
    }

    fn after(&self, register: &Register) -> Option<Register> {
        match self.ask {
            Ask::Write(to) => Some(to),
            Ask::Expire(message) => (*register == Some(message)).then_some(None),
            Ask::Read(saw) => (*register == saw).then_some(saw),
        }
    }
}

pub(crate) fn judge(facts: &Facts<'_>) -> Judged {
    let mut ruling = Ruling::new(facts.history, Clause::RetainedIsARegister);
    let mut topics: BTreeMap<(Tenant, &Arc<str>), Vec<&Read>> = BTreeMap::new();
    for read in &facts.reads {
        ruling.judge();
        topics
            .entry((read.tenant, &read.topic))
            .or_default()
            .push(read);
    }
    let mut writes = writes(facts);
    for (topic, mut reads) in topics {
        reads.sort_by_key(|read| read.ended);
        let writes = writes.remove(&topic).unwrap_or_default();
        judge_topic(topic.1, &writes, &reads, &mut ruling);
    }
    ruling.end()
}

fn judge_topic(topic: &str, writes: &[Op], reads: &[&Read], ruling: &mut Ruling<'_>) {
    match explain(writes, reads) {
        Verdict::Linearizable => {}
        Verdict::TooLong => ruling.undecided(format!("too many operations on {topic} at once")),
        Verdict::Not => {
            // The first read that no order explains.
            let lengths: Vec<usize> = (1..=reads.len()).collect();
            let fits = |count: &usize| {
                let reads = reads.get(..*count).unwrap_or_default();
                explain(writes, reads) == Verdict::Linearizable
            };
            let Some(read) = reads.get(lengths.partition_point(fits)) else {
                return;
            };
            let what = format!(
                "no order of the writes of {topic} explains that a new subscription saw {:?}",
                read.saw.map(|saw| saw.0)
            );
            ruling.offend(what, &around(writes, read));
        }
    }
}

fn explain(writes: &[Op], reads: &[&Read]) -> Verdict {
    let reads = reads.iter().map(|read| Op {
        ask: Ask::Read(read.saw),
        begun: read.begun,
        ended: Some(read.ended),
        until: None,
    });
    let ops: Vec<Op> = writes.iter().copied().chain(reads).collect();
    check(&ops, None)
}

/// What shows it: the read, the last writes before its end, and the write that it saw.
fn around(writes: &[Op], read: &Read) -> Vec<Moment> {
    let mut before: Vec<&Op> = writes.iter().filter(|op| op.begun < read.ended).collect();
    before.sort_by_key(|op| op.begun);
    let last = before.iter().rev().take(4);
    let seen = before
        .iter()
        .filter(|op| matches!(op.ask, Ask::Write(to) if to == read.saw));
    let shown = last.chain(seen.rev().take(2));
    let moments = shown.flat_map(|op| [Some(op.begun), op.ended]).flatten();
    moments.chain([read.begun, read.ended]).collect()
}

/// The writes of each topic: what clients publish as retained, wills, and what expires.
fn writes<'f>(facts: &'f Facts<'_>) -> BTreeMap<(Tenant, &'f Arc<str>), Vec<Op>> {
    let mut topics: BTreeMap<(Tenant, &Arc<str>), Vec<Op>> = BTreeMap::new();
    for message in facts.messages.values().filter(|message| message.retain) {
        let ops = topics
            .entry((message.publisher.0, &message.topic))
            .or_default();
        ops.extend(writes_of(facts, message));
        ops.extend(expiry_of(facts, message));
    }
    for (message, (connection, will)) in facts.wills.iter().filter(|(_, (_, will))| will.retain) {
        let Some(link) = facts.links.get(connection) else {
            continue;
        };
        let op = Op {
            ask: Ask::Write(Some(*message)),
            begun: link.connect,
            ended: None,
            until: None,
        };
        topics
            .entry((link.key.0, &will.topic))
            .or_default()
            .push(op);
    }
    topics
}

/// At QoS 2 one write however often it is sent, and one more each time it is sent again if it may
/// repeat; else one each time it is sent, of which only the last before the acknowledgement surely took
/// effect by then. What clients sent takes effect until all of them are at rest, or never.
fn writes_of(facts: &Facts<'_>, message: &Message) -> Vec<Op> {
    let ask = Ask::Write((!message.is_empty).then_some(message.id));
    let op = |begun, ended| Op {
        ask,
        begun,
        ended,
        until: facts.rest_after(begun),
    };
    if message.qos == Qos::ExactlyOnce {
        let last = message
            .sends
            .last()
            .copied()
            .unwrap_or_else(|| message.begun());
        let whole = Op {
            until: facts.rest_after(last),
            ..op(message.begun(), message.acked)
        };
        let repeats = message.sends.iter().skip(1);
        let repeats = repeats.filter(|_| facts.rules.resent_may_retain_again);
        let repeats = repeats.map(|send| op(*send, None));
        return std::iter::once(whole).chain(repeats).collect();
    }
    let acked = message.acked.filter(|_| message.qos != Qos::AtMostOnce);
    let before = |moment: &Moment| acked.is_some_and(|acked| *moment < acked);
    let sure = message.sends.iter().copied().rfind(before);
    let sends = message.sends.iter().copied();
    let ops = sends.map(|send| op(send, acked.filter(|_| sure == Some(send))));
    ops.collect()
}

fn expiry_of(facts: &Facts<'_>, message: &Message) -> Option<Op> {
    let expiry = Micros::from_seconds(message.expiry_seconds?.into());
    let earliest = facts.at(message.begun()).plus(expiry);
    let earliest = earliest.minus(facts.rules.clock_slack);
    let entries = facts.history.entries();
    let begun = Moment(entries.partition_point(|entry| entry.at < earliest));
    Some(Op {
        ask: Ask::Expire(message.id),
        begun,
        ended: None,
        until: None,
    })
}
