//! What a command does to the rows of a shard: deterministic and total.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use tessera_shard::{ApplyContext, KEY_BYTES_MAX, RowError, Rows, RowsMut, Scope, StateMachine};
use tessera_tenancy::{Incarnation, NodeId, TenantId};

use crate::command::{Command, Refusal, Reply};
use crate::keys::{
    Identity, NodeSessionRow, SESSION_ROUTE_VALUE, Undecodable, node_session_key,
    node_session_value, parse_node_session_value, parse_session_route_key, route_key, route_value,
    session_route_key, session_routes_start,
};
use crate::nodes::NodeSessions;
use crate::route::{NodeSession, Receiver, RouteOptions};
use crate::tries::{Change, Memory, Tries};

/// Routes that one [`Command::RemoveEndedRoutes`] removes at most. Each is two rows, so that a
/// command touches no more than 1,000 (protocols E).
pub(crate) const ENDED_ROUTES_PER_STEP: u32 = 500;

/// The routes of one shard, and the tries of the tenants in use.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    tries: Tries,
    nodes: NodeSessions,
}

impl Routes {
    /// A machine that counts the changes of node sessions there, and shows routes in that memory.
    pub(crate) fn new(generation: Arc<AtomicU64>, memory: Arc<Memory>) -> Self {
        Self {
            tries: Tries::new(memory),
            nodes: NodeSessions::new(generation),
        }
    }

    /// The derived memory of routes.
    pub(crate) const fn tries(&self) -> &Tries {
        &self.tries
    }

    /// The derived memory of node sessions.
    pub(crate) const fn nodes(&self) -> &NodeSessions {
        &self.nodes
    }
}

impl StateMachine for Routes {
    fn apply(
        &self,
        cx: &ApplyContext,
        rows: &mut dyn RowsMut,
        scope: Scope,
        command: &[u8],
    ) -> Result<Bytes, RowError> {
        let reply = match (Command::decode(command), scope) {
            (
                Ok(Command::OpenNodeSession {
                    node,
                    incarnation,
                    number_min,
                }),
                Scope::Group,
            ) => self.open_node_session(rows, node, incarnation, number_min)?,
            (Ok(Command::RemoveEndedRoutes { node, limit }), Scope::Group) => {
                self.remove_ended_routes(rows, node, limit)?
            }
            (Ok(Command::EndNodeSession { session, term }), Scope::Group) => {
                self.end_node_session(rows, session, term == cx.term)?
            }
            (
                Ok(Command::AddRoute {
                    identity,
                    receiver,
                    options,
                }),
                Scope::Tenant(tenant),
            ) => self.add_route(rows, tenant, identity, &receiver, options)?,
            (Ok(Command::RemoveRoute { identity, receiver }), Scope::Tenant(tenant)) => {
                self.remove_route(rows, tenant, identity, &receiver)?
            }
            (Ok(_) | Err(Undecodable(_)), _) => Reply::Refused(Refusal::Malformed),
        };
        Ok(reply.encode().into())
    }

    fn committed(&self) {
        self.tries.publish();
        self.nodes.publish();
    }

    fn opened(&self, rows: &dyn Rows) -> Result<(), RowError> {
        self.tries.rebuild(rows)?;
        self.nodes.rebuild(rows)
    }
}

impl Routes {
    fn add_route(
        &self,
        rows: &mut dyn RowsMut,
        tenant: TenantId,
        identity: Identity,
        receiver: &Receiver,
        options: RouteOptions,
    ) -> Result<Reply, RowError> {
        let key = route_key(tenant, identity.as_bytes());
        if key.len() > KEY_BYTES_MAX {
            return Ok(Reply::Refused(Refusal::TooLong));
        }
        if let Receiver::Transient(session) = receiver {
            let present = node_session(rows, session.node)?;
            if !present.is_some_and(|row| row.number == session.number && !row.has_ended) {
                return Ok(Reply::Refused(Refusal::SessionEnded));
            }
            let listed = session_route_key(*session, tenant, identity.as_bytes());
            rows.put_local(&listed, &SESSION_ROUTE_VALUE)?;
        }
        let value = route_value(options);
        if rows.get(&key)?.as_deref() != Some(&value) {
            rows.put(&key, &value)?;
            self.changed(tenant, identity, Some(options));
        }
        Ok(Reply::Done)
    }

    fn remove_route(
        &self,
        rows: &mut dyn RowsMut,
        tenant: TenantId,
        identity: Identity,
        receiver: &Receiver,
    ) -> Result<Reply, RowError> {
        let key = route_key(tenant, identity.as_bytes());
        if key.len() > KEY_BYTES_MAX {
            return Ok(Reply::Done);
        }
        if let Receiver::Transient(session) = receiver {
            rows.delete_local(&session_route_key(*session, tenant, identity.as_bytes()))?;
        }
        if rows.delete(&key)? {
            self.changed(tenant, identity, None);
        }
        Ok(Reply::Done)
    }

    fn remove_ended_routes(
        &self,
        rows: &mut dyn RowsMut,
        node: NodeId,
        limit: u32,
    ) -> Result<Reply, RowError> {
        let limit = limit.min(ENDED_ROUTES_PER_STEP);
        let (ended, more) = ended_routes(rows, node, limit)?;
        let mut routes = 0;
        for listed in ended {
            let (tenant, identity) = parse_session_route_key(&listed).map_err(damaged)?;
            let (identity, _) = Identity::parse(identity).map_err(damaged)?;
            let key = route_key(tenant, identity.as_bytes());
            // Since a split, another shard has the routes of some that are listed here.
            if rows.covers(&key) && rows.delete(&key)? {
                self.changed(tenant, identity, None);
            }
            rows.delete_local(&listed)?;
            routes += 1;
        }
        Ok(Reply::Removed { routes, more })
    }

    fn open_node_session(
        &self,
        rows: &mut dyn RowsMut,
        node: NodeId,
        incarnation: Incarnation,
        number_min: u64,
    ) -> Result<Reply, RowError> {
        let last = node_session(rows, node)?;
        if last.is_some_and(|row| incarnation < row.incarnation) {
            return Ok(Reply::Refused(Refusal::Superseded));
        }
        let number = last.map_or(0, |row| row.number);
        let is_open = last.is_some_and(|row| row.incarnation == incarnation && !row.has_ended);
        if is_open && number >= number_min.max(1) {
            return Ok(Reply::Opened { number });
        }
        let row = NodeSessionRow {
            incarnation,
            number: number.saturating_add(1).max(number_min),
            has_ended: false,
        };
        self.set_node_session(rows, node, row)?;
        Ok(Reply::Opened { number: row.number })
    }

    fn end_node_session(
        &self,
        rows: &mut dyn RowsMut,
        session: NodeSession,
        is_of_term: bool,
    ) -> Result<Reply, RowError> {
        let present = node_session(rows, session.node)?;
        let is_present = |row: &NodeSessionRow| row.number == session.number && !row.has_ended;
        if is_of_term && let Some(row) = present.filter(is_present) {
            let ended = NodeSessionRow {
                has_ended: true,
                ..row
            };
            self.set_node_session(rows, session.node, ended)?;
        }
        Ok(Reply::Done)
    }

    fn set_node_session(
        &self,
        rows: &mut dyn RowsMut,
        node: NodeId,
        row: NodeSessionRow,
    ) -> Result<(), RowError> {
        rows.put_local(&node_session_key(node), &node_session_value(row))?;
        self.nodes.note(node, row);
        Ok(())
    }

    fn changed(&self, tenant: TenantId, identity: Identity, options: Option<RouteOptions>) {
        self.tries.note(Change {
            tenant,
            identity,
            options,
        });
    }
}

/// The keys under which the first `limit` routes of a node's ended sessions are listed, and whether
/// there are more.
fn ended_routes(
    rows: &dyn RowsMut,
    node: NodeId,
    limit: u32,
) -> Result<(Vec<Vec<u8>>, bool), RowError> {
    let Some(row) = node_session(rows, node)? else {
        return Ok((Vec::new(), false));
    };
    let number = row.number.saturating_add(u64::from(row.has_ended));
    let from = session_routes_start(NodeSession { node, number: 0 });
    let until = session_routes_start(NodeSession { node, number });
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut ended, mut more) = (Vec::new(), false);
    rows.scan_local(&from, &until, &mut |key, _| {
        more = ended.len() == limit;
        if more {
            return ControlFlow::Break(());
        }
        ended.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    Ok((ended, more))
}

fn node_session(rows: &dyn RowsMut, node: NodeId) -> Result<Option<NodeSessionRow>, RowError> {
    rows.get_local(&node_session_key(node))?
        .map(|value| parse_node_session_value(&value).map_err(damaged))
        .transpose()
}

fn damaged(Undecodable(what): Undecodable) -> RowError {
    RowError::undecodable(what)
}

#[cfg(test)]
mod tests;
