//! What the tests of several modules share: hostile routes and topics, rows in memory.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::select;
use tessera_mqtt::{ClientId, FilterSpec, Qos, SubscriptionId, TopicName};
use tessera_shard::{RowError, Rows, RowsMut, ShardId, Visit};
use tessera_tenancy::{NodeId, TenantId};

use crate::route::{NodeSession, Receiver, Route, RouteOptions, SessionIncarnation};

/// Few levels that share beginnings, so that random filters meet random topics.
const LEVELS: [&str; 8] = ["", "a", "ab", "abc", "b", "$a", "é", "\u{1}"];

pub(crate) fn topics() -> impl Strategy<Value = TopicName> {
    prop::collection::vec(select(&LEVELS[..]), 1..6).prop_filter_map("empty", |levels| {
        TopicName::try_from(&*levels.join("/")).ok()
    })
}

pub(crate) fn filters() -> impl Strategy<Value = FilterSpec> {
    let level = prop_oneof![3 => select(&LEVELS[..]), 1 => Just("+")];
    let levels = prop::collection::vec(level, 0..5);
    let share = select(&["", "", "$share/g/", "$oshare/g/", "$share/gg/"][..]);
    (share, levels, any::<bool>()).prop_filter_map("empty", |(share, mut levels, hash)| {
        if hash {
            levels.push("#");
        }
        FilterSpec::try_from(&*format!("{share}{}", levels.join("/"))).ok()
    })
}

pub(crate) fn receivers() -> impl Strategy<Value = Receiver> {
    prop_oneof![
        (1..3_u64, 1..3_u64).prop_map(|(node, number)| transient(node, number)),
        (select(&["c", "cc", "d", "\u{2}c", "é"][..]), 1..3_u64)
            .prop_map(|(client, incarnation)| persistent(client, incarnation)),
    ]
}

pub(crate) fn options() -> impl Strategy<Value = RouteOptions> {
    (0..3_u8, any::<[bool; 2]>(), 0..3_u32).prop_map(|(qos, [no_local, retain], id)| RouteOptions {
        qos: Qos::try_from(qos).unwrap(),
        no_local,
        retain_as_published: retain,
        subscription_id: SubscriptionId::new(id * 100_000_000),
    })
}

pub(crate) fn routes() -> impl Strategy<Value = Route> {
    (filters(), receivers(), options()).prop_map(|(filter, receiver, options)| Route {
        filter,
        receiver,
        options,
    })
}

pub(crate) fn transient(node: u64, number: u64) -> Receiver {
    let node = NodeId(node);
    Receiver::Transient(NodeSession { node, number })
}

pub(crate) fn persistent(client: &str, incarnation: u64) -> Receiver {
    Receiver::Persistent {
        client: ClientId::try_from(client).unwrap(),
        incarnation: SessionIncarnation(incarnation),
    }
}

pub(crate) fn route(filter: &str, receiver: Receiver) -> Route {
    Route {
        filter: filter.try_into().unwrap(),
        receiver,
        options: RouteOptions {
            qos: Qos::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            subscription_id: None,
        },
    }
}

pub(crate) fn tenant(byte: u8) -> TenantId {
    TenantId::from_bytes([byte; 16])
}

/// Rows of a shard, in memory.
#[derive(Debug, Default, Clone)]
pub(crate) struct MemoryRows {
    pub(crate) rows: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) local: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where the shard's range ends, if it does.
    pub(crate) end: Option<Vec<u8>>,
}

impl Rows for MemoryRows {
    fn covers(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| key < end.as_slice())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, RowError> {
        Ok(self.rows.get(key).cloned().map(Bytes::from))
    }

    fn scan(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), RowError> {
        scan(&self.rows, from, until, visit);
        Ok(())
    }

    fn get_local(&self, key: &[u8]) -> Result<Option<Bytes>, RowError> {
        Ok(self.local.get(key).cloned().map(Bytes::from))
    }

    fn scan_local(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), RowError> {
        scan(&self.local, from, until, visit);
        Ok(())
    }
}

impl RowsMut for MemoryRows {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        self.rows.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool, RowError> {
        if !self.covers(key) {
            let shard = ShardId::from_u64(1);
            return Err(RowError::OutsideRange { shard });
        }
        Ok(self.rows.remove(key).is_some())
    }

    fn put_local(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        self.local.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn delete_local(&mut self, key: &[u8]) -> Result<bool, RowError> {
        Ok(self.local.remove(key).is_some())
    }
}

fn scan(rows: &BTreeMap<Vec<u8>, Vec<u8>>, from: &[u8], until: &[u8], visit: &mut Visit<'_>) {
    let end = match until {
        [] => Bound::Unbounded,
        until => Bound::Excluded(until),
    };
    if !until.is_empty() && until <= from {
        return;
    }
    for (key, value) in rows.range::<[u8], _>((Bound::Included(from), end)) {
        if visit(key, value) == ControlFlow::Break(()) {
            return;
        }
    }
}
