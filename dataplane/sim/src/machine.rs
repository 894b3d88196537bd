//! What the engine replicates here: registers that are written and appended to.
//!
//! A register's row lists every operation that changed it, in order, and a chain over the last
//! write and the appends since. So a row tells what was lost, doubled or reordered.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use tessera_shard::{ApplyContext, RowError, Rows, RowsMut, Scope, ShardId, StateMachine};
use tessera_tenancy::TenantId;

use crate::observer::{Applied, Observer};
use crate::rng::{hash_bytes, mix_in};

/// Stands in front of what the disk may flip a bit of: commands in the log, and rows.
pub(crate) const MARK: &[u8] = b"\xa5tesSim\x5a";

/// Least bytes behind a mark: the operation's number and as much padding.
const PADDING_MIN: usize = 8;

/// Where a shard's digest over everything that it applied stands, among its local rows.
const DIGEST_KEY: &[u8] = b"digest";

/// What the names of a shard's ballast begin with, among its local rows.
const BALLAST_PREFIX: &[u8] = b"ballast";

/// Numbers an operation in its run, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct OpId(pub(crate) u64);

/// A register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) tenant: u8,
    pub(crate) register: u16,
}

/// What a command does to its register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The chain begins anew. Answers the chain before.
    Write,
    /// The chain goes on. Answers the chain after.
    Append,
}

impl Key {
    /// Tenants are spread over the first byte, and so over the ranges.
    pub(crate) fn tenant_id(self) -> TenantId {
        let mut bytes = [self.tenant; 16];
        bytes[0] = self.tenant.wrapping_mul(67);
        TenantId::from_bytes(bytes)
    }

    /// Behind the tenant.
    pub(crate) fn rest(self) -> Vec<u8> {
        let [high, low] = self.register.to_be_bytes();
        vec![b'r', high, low]
    }

    pub(crate) fn row(self) -> Vec<u8> {
        [self.tenant_id().as_bytes().as_slice(), &self.rest()].concat()
    }
}

/// A command as bytes.
pub(crate) fn command(change: Change, op: OpId, key: Key, padding: usize) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u8(match change {
        Change::Write => 0,
        Change::Append => 1,
    });
    out.put_u16(key.register);
    out.put_slice(MARK);
    out.put_u64(op.0);
    // Not all alike, so that a flipped bit stands out.
    out.put_bytes(op.0.to_le_bytes()[0], padding.max(PADDING_MIN));
    out.freeze()
}

/// The chain after a change.
pub(crate) const fn chain_after(change: Change, chain: u64, op: OpId) -> u64 {
    match change {
        Change::Write => mix_in(0, op.0),
        Change::Append => mix_in(chain, op.0),
    }
}

/// A register's row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Register {
    pub(crate) chain: u64,
    /// Every operation that changed it.
    pub(crate) ops: Vec<OpId>,
}

impl Register {
    pub(crate) fn decode(row: Option<&[u8]>) -> Option<Self> {
        let Some(row) = row else {
            return Some(Self::default());
        };
        let (chain, row) = row.strip_prefix(MARK)?.split_first_chunk()?;
        let (mut row, count) = row.split_last_chunk()?;
        let mut ops = Vec::new();
        for _ in 0..u32::from_be_bytes(*count) {
            let (op, rest) = row.split_first_chunk()?;
            ops.push(OpId(u64::from_be_bytes(*op)));
            row = rest;
        }
        Some(Self {
            chain: u64::from_be_bytes(*chain),
            ops,
        })
    }

    /// Behind the mark stands what every reader looks at: a bit that flips there is seen.
    fn encode(&self, padding: &[u8]) -> Bytes {
        let mut out = BytesMut::new();
        out.put_slice(MARK);
        out.put_u64(self.chain);
        self.ops.iter().for_each(|op| out.put_u64(op.0));
        out.put_slice(padding);
        out.put_u32(u32::try_from(self.ops.len()).unwrap_or(u32::MAX));
        out.freeze()
    }
}

/// Where a shard stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    /// The shard that wrote it: a shard that was split off begins with its parent's.
    pub(crate) shard: u64,
    pub(crate) index: u64,
    pub(crate) ordinal: u32,
    /// Over every command that was applied, in order.
    pub(crate) digest: u64,
}

impl Digest {
    pub(crate) fn read(rows: &dyn Rows) -> Result<Self, RowError> {
        let Some(row) = rows.get_local(DIGEST_KEY)? else {
            return Ok(Self::default());
        };
        let decode = |row: &[u8]| {
            let (digest, row) = row.strip_prefix(MARK)?.split_first_chunk()?;
            let (index, row) = row.split_first_chunk()?;
            let (ordinal, row) = row.split_first_chunk()?;
            Some(Self {
                shard: u64::from_be_bytes(*row.first_chunk()?),
                index: u64::from_be_bytes(*index),
                ordinal: u32::from_be_bytes(*ordinal),
                digest: u64::from_be_bytes(*digest),
            })
        };
        decode(&row).ok_or(RowError::undecodable("a digest"))
    }

    fn write(&self, rows: &mut dyn RowsMut) -> Result<(), RowError> {
        let mut out = BytesMut::new();
        out.put_slice(MARK);
        out.put_u64(self.digest);
        out.put_u64(self.index);
        out.put_u32(self.ordinal);
        out.put_u64(self.shard);
        rows.put_local(DIGEST_KEY, &out)
    }
}

/// The machine of one replica, as long as its process lives or until it is removed.
#[derive(Debug)]
pub(crate) struct Registers {
    pub(crate) node: u64,
    /// Which machine of the run.
    pub(crate) number: u64,
    pub(crate) shard: ShardId,
    /// Local rows that the first command of a range writes besides.
    pub(crate) ballast: u16,
    pub(crate) observer: Arc<Observer>,
}

impl StateMachine for Registers {
    fn apply(
        &self,
        cx: &ApplyContext,
        rows: &mut dyn RowsMut,
        scope: Scope,
        command: &[u8],
    ) -> Result<Bytes, RowError> {
        let undecodable = RowError::undecodable("a command");
        let (change, op, register, padding) = decode_command(command).ok_or(undecodable)?;
        let Scope::Tenant(tenant) = scope else {
            return Err(RowError::undecodable("a command without a tenant"));
        };
        let row = [tenant.as_bytes().as_slice(), b"r", register].concat();
        let stored = rows.get(&row)?;
        let mut stored = Register::decode(stored.as_deref()).ok_or(RowError::undecodable("row"))?;
        let before = stored.chain;
        stored.chain = chain_after(change, before, op);
        stored.ops.push(op);
        rows.put(&row, &stored.encode(padding))?;
        let last = Digest::read(&*rows)?;
        if last == Digest::default() {
            self.load_ballast(rows)?;
        }
        let hash = mix_in(hash_bytes(command), hash_bytes(&row));
        let digest = Digest {
            shard: self.shard.as_u64(),
            index: cx.index,
            ordinal: cx.ordinal,
            digest: mix_in(mix_in(last.digest, hash), cx.time_ms),
        };
        digest.write(rows)?;
        self.observer.applied(&Applied {
            node: self.node,
            machine: self.number,
            shard: self.shard.as_u64(),
            index: cx.index,
            ordinal: cx.ordinal,
            op,
            hash,
            time_ms: cx.time_ms,
            digest: digest.digest,
        });
        let answer = match change {
            Change::Write => before,
            Change::Append => stored.chain,
        };
        Ok(Bytes::copy_from_slice(&answer.to_be_bytes()))
    }
}

impl Registers {
    fn load_ballast(&self, rows: &mut dyn RowsMut) -> Result<(), RowError> {
        (0..self.ballast).try_for_each(|number| {
            let number = number.to_be_bytes();
            rows.put_local(&[BALLAST_PREFIX, &number].concat(), &number)
        })
    }
}

fn decode_command(command: &[u8]) -> Option<(Change, OpId, &[u8], &[u8])> {
    let (tag, rest) = command.split_first()?;
    let change = match tag {
        0 => Change::Write,
        1 => Change::Append,
        2.. => return None,
    };
    let (register, payload) = rest.split_at_checked(2)?;
    let (op, padding) = payload.strip_prefix(MARK)?.split_first_chunk()?;
    Some((change, OpId(u64::from_be_bytes(*op)), register, padding))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_and_a_command_read_back() {
        let key = Key {
            tenant: 3,
            register: 7,
        };
        let bytes = command(Change::Append, OpId(9), key, 20);
        let (change, op, register, padding) = decode_command(&bytes).unwrap();
        assert_eq!(
            (change, op, register),
            (Change::Append, OpId(9), &[0, 7][..])
        );
        let register = Register {
            chain: 5,
            ops: vec![OpId(1), OpId(9)],
        };
        let row = register.encode(padding);
        assert_eq!(Register::decode(Some(&row)), Some(register));
        assert_eq!(Register::decode(None), Some(Register::default()));
        assert_eq!(Register::decode(Some(b"short")), None);
    }
}
