//! What the command line says.

use std::path::PathBuf;
use std::time::Duration;

/// A part of the measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Alone,
    Proposals,
    Batched,
    Idle,
    Reopen,
}

/// How long it may take.
#[derive(Debug)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    /// Of the engine's rounds.
    pub(crate) round: Duration,
    /// Of the rounds of what it is compared with.
    pub(crate) bare_round: Duration,
    pub(crate) idle: Duration,
    pub(crate) writers: Vec<usize>,
    pub(crate) groups: Vec<usize>,
    pub(crate) replicas: Vec<u64>,
    pub(crate) state_bytes: u64,
}

/// Replicas that a process has with nothing to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IdleReplicas {
    pub(crate) groups: usize,
    /// Nodes of the process; each has a replica of each group.
    pub(crate) nodes: u64,
    pub(crate) seconds: u64,
}

/// What a process writes before it is killed.
#[derive(Debug)]
pub(crate) struct Fill {
    pub(crate) folder: PathBuf,
    pub(crate) incarnation: u64,
    pub(crate) bytes: u64,
}

#[derive(Debug)]
pub(crate) enum Arguments {
    Parts {
        parts: Vec<Part>,
        pace: Pace,
    },
    /// The process is one that this program started itself.
    IdleChild(IdleReplicas),
    FillChild(Fill),
}

impl Arguments {
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Self {
        let words: Vec<_> = words.filter(|word| word != "--bench").collect();
        let number = |at: usize| words[at].parse().unwrap();
        match words.first().map(String::as_str) {
            Some("idle-child") => Self::IdleChild(IdleReplicas {
                groups: usize::try_from(number(1)).unwrap(),
                nodes: number(2),
                seconds: number(3),
            }),
            Some("fill-child") => Self::FillChild(Fill {
                folder: PathBuf::from(&words[1]),
                incarnation: number(2),
                bytes: number(3),
            }),
            Some(_) | None => Self::parts(&words),
        }
    }

    fn parts(words: &[String]) -> Self {
        let (mut parts, mut pace) = (Vec::new(), Pace::full());
        for word in words {
            match word.as_str() {
                "quick" => pace = Pace::quick(),
                "proposals" => parts.push(Part::Proposals),
                "alone" => parts.push(Part::Alone),
                "batched" => parts.push(Part::Batched),
                "idle" => parts.push(Part::Idle),
                "reopen" => parts.push(Part::Reopen),
                other => pace.choose(other),
            }
        }
        if parts.is_empty() {
            parts = vec![
                Part::Alone,
                Part::Batched,
                Part::Proposals,
                Part::Idle,
                Part::Reopen,
            ];
        }
        Self::Parts { parts, pace }
    }
}

impl Pace {
    /// `writers=1,256`, `groups=1`, `replicas=3`.
    fn choose(&mut self, word: &str) {
        let (what, numbers) = word.split_once('=').unwrap();
        let numbers = numbers
            .split(',')
            .map(|number| number.parse::<u64>().unwrap());
        let sizes = numbers
            .clone()
            .map(|number| usize::try_from(number).unwrap());
        match what {
            "writers" => self.writers = sizes.collect(),
            "groups" => self.groups = sizes.collect(),
            "replicas" => self.replicas = numbers.collect(),
            unknown => panic!("unknown: {unknown}"),
        }
    }

    fn full() -> Self {
        Self {
            rounds: 5,
            round: Duration::from_millis(450),
            bare_round: Duration::from_millis(150),
            idle: Duration::from_secs(20),
            writers: vec![1, 64, 256, 1024],
            groups: vec![1, 8, 64],
            replicas: vec![1, 3],
            state_bytes: 1_000_000_000,
        }
    }

    fn quick() -> Self {
        Self {
            rounds: 5,
            round: Duration::from_millis(250),
            bare_round: Duration::from_millis(100),
            idle: Duration::from_secs(5),
            writers: vec![1, 256],
            groups: vec![1, 64],
            replicas: vec![1, 3],
            state_bytes: 200_000_000,
        }
    }
}
