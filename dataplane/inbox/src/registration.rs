//! Where a client is connected, among several nodes: written with each attach, so that the next one
//! finds the connection it takes over, and that connections of a node that is gone are found.

use std::fmt;

use futures_util::future::BoxFuture;
use tessera_mqtt::ClientId;
use tessera_tenancy::{NodeId, PrincipalId, TenantId};

use crate::encoding::{Reader, Writer};

const FORM: u8 = 1;

/// One life of a node's front end: its node session (protocols A).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnerNode {
    /// The node.
    pub node: NodeId,
    /// The number of its session.
    pub number: u64,
}

/// Counts the attaches of a tenant's clients: of two of one client, the later one has the larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Registration(pub u64);

/// The other nodes, as the inbox asks of them.
pub trait Nodes: fmt::Debug + Send + Sync {
    /// This node.
    fn own(&self) -> OwnerNode;

    /// Whether a node session has not ended, as far as this node knows.
    fn is_live(&self, tenant: TenantId, owner: OwnerNode) -> bool;

    /// Has a node close what it has of a client that registered before: see
    /// [`Inbox::fence_off`](crate::Inbox::fence_off). `false` if it did not answer.
    fn fence(
        &self,
        owner: OwnerNode,
        tenant: TenantId,
        client: ClientId,
        registration: Registration,
    ) -> BoxFuture<'static, bool>;
}

/// The row of a client that is connected to one of several nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RegistrationRow {
    pub(crate) principal: PrincipalId,
    pub(crate) owner: OwnerNode,
    pub(crate) registration: u64,
}

impl RegistrationRow {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut row = Writer::with_capacity(48);
        row.byte(FORM).raw(self.principal.as_bytes());
        row.long(self.owner.node.0).long(self.owner.number);
        row.long(self.registration);
        row.finish()
    }

    pub(crate) fn decode(value: &[u8]) -> Option<Self> {
        let mut row = Reader::new(value);
        if row.byte()? != FORM {
            return None;
        }
        let decoded = Self {
            principal: PrincipalId::from_bytes(row.id()?),
            owner: OwnerNode {
                node: NodeId(row.long()?),
                number: row.long()?,
            },
            registration: row.long()?,
        };
        row.end(decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_tenancy::encode_hex;

    #[test]
    fn a_registration_is_encoded_as_the_table_says() {
        let row = RegistrationRow {
            principal: PrincipalId::from_bytes([0x11; 16]),
            owner: OwnerNode {
                node: NodeId(2),
                number: 3,
            },
            registration: 4,
        };
        let expected = format!(
            "01{}{:016x}{:016x}{:016x}",
            "11".repeat(16),
            2_u64,
            3_u64,
            4_u64
        );
        assert_eq!(encode_hex(&row.encode()), expected);
        assert_eq!(RegistrationRow::decode(&row.encode()), Some(row));
        for cut in 0..row.encode().len() {
            assert_eq!(RegistrationRow::decode(&row.encode()[..cut]), None);
        }
    }
}
