//! What background steps look for: the sessions and wills of a tenant whose time has come, and, once
//! after a start, what every tenant has.

use std::ops::ControlFlow;

use bytes::Bytes;
use tessera_mqtt::ClientId;
use tessera_shard::{RowError, Rows};
use tessera_tenancy::TenantId;

use crate::body::decode_body;
use crate::keys::{Row, Span, due_until, online_of, registrations_of, wills_due_until};
use crate::registration::RegistrationRow;
use crate::registry::SessionKey;
use crate::will::{DueWill, WillNumber, WillRow};

/// Tenants that one step of a look around visits.
const TENANTS_MAX: usize = 256;

/// Online sessions that one step of a look around brings.
const ONLINE_MAX: usize = 1_024;

/// Where a look around is in one shard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Position {
    /// The smallest tenant that was not visited.
    tenant: [u8; 16],
    /// Inside that tenant, where its online sessions go on.
    online: Option<Vec<u8>>,
}

/// Which connections a look around meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Those of a node that is alone.
    Online,
    /// Those that are registered with one of several nodes.
    Registered,
}

/// A client that is online as far as the group knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FoundOnline {
    pub(crate) key: SessionKey,
    /// Where, among several nodes.
    pub(crate) registered: Option<RegistrationRow>,
}

/// What one step of a look around found.
#[derive(Debug, Default)]
pub(crate) struct Around {
    /// When the first session of each tenant ends.
    pub(crate) dues: Vec<(TenantId, u64)>,
    /// When the first will of each tenant is due.
    pub(crate) wills_due: Vec<(TenantId, u64)>,
    /// Clients that are online as far as the group knows.
    pub(crate) online: Vec<FoundOnline>,
    /// Where the next step starts; `None`: the shard is through.
    pub(crate) next: Option<Position>,
}

/// One step of a look around from `position` on.
pub(crate) fn look_around(
    rows: &dyn Rows,
    look: Look,
    position: &Position,
) -> Result<Around, RowError> {
    let mut around = Around::default();
    let mut position = position.clone();
    for _ in 0..TENANTS_MAX {
        let Some(tenant) = tenant_from(rows, &position.tenant)? else {
            return Ok(around);
        };
        if *tenant.as_bytes() != position.tenant {
            position = Position {
                tenant: *tenant.as_bytes(),
                online: None,
            };
        }
        around
            .dues
            .extend(first_due(rows, tenant)?.map(|due_ms| (tenant, due_ms)));
        around
            .wills_due
            .extend(first_will_due(rows, tenant)?.map(|due_ms| (tenant, due_ms)));
        if look_at_online(rows, tenant, look, &mut position, &mut around)? {
            break;
        }
        let Some(next) = u128::from_be_bytes(position.tenant).checked_add(1) else {
            return Ok(around);
        };
        position = Position {
            tenant: next.to_be_bytes(),
            online: None,
        };
    }
    around.next = Some(position);
    Ok(around)
}

/// When the first session of a tenant ends.
pub(crate) fn first_due(rows: &dyn Rows, tenant: TenantId) -> Result<Option<u64>, RowError> {
    let mut first = None;
    let (from, until) = due_until(tenant, u64::MAX);
    rows.scan(&from, &until, &mut |key, _| {
        if let Some((_, Row::Due { due_ms, .. })) = Row::parse(key) {
            first = Some(due_ms);
        }
        ControlFlow::Break(())
    })?;
    Ok(first)
}

/// When the first will of a tenant is due.
pub(crate) fn first_will_due(rows: &dyn Rows, tenant: TenantId) -> Result<Option<u64>, RowError> {
    let mut first = None;
    let (from, until) = wills_due_until(tenant, u64::MAX);
    rows.scan(&from, &until, &mut |key, _| {
        if let Some((_, Row::WillDue { due_ms, .. })) = Row::parse(key) {
            first = Some(due_ms);
        }
        ControlFlow::Break(())
    })?;
    Ok(first)
}

/// Up to so many wills of a tenant that are due, the longest due first.
pub(crate) fn due_wills(
    rows: &dyn Rows,
    tenant: TenantId,
    now_ms: u64,
    max: usize,
) -> Result<Vec<DueWill>, RowError> {
    let (from, until) = wills_due_until(tenant, now_ms);
    let mut found = Vec::new();
    rows.scan(&from, &until, &mut |key, _| {
        if found.len() >= max {
            return ControlFlow::Break(());
        }
        if let Some((_, Row::WillDue { client, number, .. })) = Row::parse(key) {
            found.push((client.to_vec(), number));
        }
        ControlFlow::Continue(())
    })?;
    let wills = found.iter();
    wills
        .map(|(client, number)| due_will(rows, tenant, client, *number))
        .collect()
}

fn due_will(
    rows: &dyn Rows,
    tenant: TenantId,
    client: &[u8],
    number: u64,
) -> Result<DueWill, RowError> {
    const DAMAGED: RowError = RowError::undecodable("will");
    let value = rows.get(&Row::Will { client, number }.key(tenant))?;
    let row = value
        .and_then(|value| WillRow::decode(&value))
        .ok_or(DAMAGED)?;
    let (message, writer) = decode_body(&row.body.into()).ok_or(DAMAGED)?;
    Ok(DueWill {
        tenant,
        client: ClientId::try_from(Bytes::copy_from_slice(client)).map_err(|_| DAMAGED)?,
        number: WillNumber(number),
        message,
        writer,
    })
}

/// Up to so many sessions of a tenant whose time has passed, and whether there are more.
pub(crate) fn due_sessions(
    rows: &dyn Rows,
    tenant: TenantId,
    now_ms: u64,
    max: usize,
) -> Result<(Vec<SessionKey>, bool), RowError> {
    let mut found = clients(rows, &due_until(tenant, now_ms), max + 1)?;
    let more = found.len() > max;
    found.truncate(max);
    Ok((found.into_iter().map(|(_, key)| key).collect(), more))
}

/// Takes online sessions of a tenant; `true` if the step is full and the tenant goes on.
fn look_at_online(
    rows: &dyn Rows,
    tenant: TenantId,
    look: Look,
    position: &mut Position,
    around: &mut Around,
) -> Result<bool, RowError> {
    let (start, until) = match look {
        Look::Online => online_of(tenant),
        Look::Registered => registrations_of(tenant),
    };
    let from = position.online.take().unwrap_or(start);
    let room = ONLINE_MAX.saturating_sub(around.online.len());
    let found = online(rows, &(from.clone(), until), room)?;
    let full = found.len() >= room;
    if full {
        let last = found
            .last()
            .map_or(from, |(key, _)| [&key[..], &[0]].concat());
        position.online = Some(last);
    }
    around
        .online
        .extend(found.into_iter().map(|(_, found)| found));
    Ok(full)
}

/// The first tenant with rows, from this one on.
fn tenant_from(rows: &dyn Rows, from: &[u8; 16]) -> Result<Option<TenantId>, RowError> {
    let mut found = None;
    rows.scan(from, &[], &mut |key, _| {
        found = key
            .first_chunk()
            .map(|tenant| TenantId::from_bytes(*tenant));
        ControlFlow::Break(())
    })?;
    Ok(found)
}

/// The clients that rows of this span name, with the keys of the rows.
fn clients(
    rows: &dyn Rows,
    (from, until): &Span,
    max: usize,
) -> Result<Vec<(Vec<u8>, SessionKey)>, RowError> {
    let mut found = Vec::new();
    rows.scan(from, until, &mut |key, _| {
        if found.len() >= max {
            return ControlFlow::Break(());
        }
        if let Some((tenant, Row::Due { client, .. })) = Row::parse(key) {
            found.push((key.to_vec(), SessionKey::of_bytes(tenant, client)));
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// The clients that rows of this span find as online, with the keys of the rows.
fn online(
    rows: &dyn Rows,
    (from, until): &Span,
    max: usize,
) -> Result<Vec<(Vec<u8>, FoundOnline)>, RowError> {
    let mut found = Vec::new();
    rows.scan(from, until, &mut |key, value| {
        if found.len() >= max {
            return ControlFlow::Break(());
        }
        let registered = match Row::parse(key) {
            Some((_, Row::Registration { .. })) => RegistrationRow::decode(value),
            Some(_) | None => None,
        };
        if let Some((tenant, Row::Online { client } | Row::Registration { client })) =
            Row::parse(key)
        {
            let online = FoundOnline {
                key: SessionKey::of_bytes(tenant, client),
                registered,
            };
            found.push((key.to_vec(), online));
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_rows::MemoryRows;

    fn tenant(number: u8) -> TenantId {
        TenantId::from_bytes([number; 16])
    }

    fn rows(of: &[(u8, Row<'_>)]) -> MemoryRows {
        let rows = of
            .iter()
            .map(|(number, row)| (row.key(tenant(*number)), Vec::new()));
        MemoryRows(rows.collect())
    }

    #[test]
    fn a_look_around_meets_every_online_session_and_first_due_once() {
        let names: Vec<String> = (0..ONLINE_MAX * 2 + 3)
            .map(|at| format!("c{at:05}"))
            .collect();
        let mut of: Vec<(u8, Row<'_>)> = names
            .iter()
            .map(|name| {
                (
                    0xFF,
                    Row::Online {
                        client: name.as_bytes(),
                    },
                )
            })
            .collect();
        of.push((1, Row::Online { client: b"first" }));
        of.push((
            2,
            Row::Due {
                due_ms: 9,
                client: b"b",
            },
        ));
        of.push((
            2,
            Row::Due {
                due_ms: 7,
                client: b"c",
            },
        ));
        of.push((3, Row::Tenant));
        let rows = rows(&of);
        let (mut online, mut dues, mut steps) = (Vec::new(), Vec::new(), 0);
        let mut position = Some(Position::default());
        while let Some(from) = position.take() {
            let around = look_around(&rows, Look::Online, &from).unwrap();
            online.extend(around.online);
            dues.extend(around.dues);
            position = around.next;
            steps += 1;
        }
        assert_eq!((online.len(), steps), (names.len() + 1, 3));
        online.dedup_by(|a, b| a.key == b.key);
        assert_eq!(online.len(), names.len() + 1);
        assert_eq!(dues, [(tenant(2), 7)]);
    }

    #[test]
    fn due_sessions_are_those_of_the_tenant_up_to_now() {
        let rows = rows(&[
            (
                1,
                Row::Due {
                    due_ms: 1,
                    client: b"other",
                },
            ),
            (
                2,
                Row::Due {
                    due_ms: 1,
                    client: b"a",
                },
            ),
            (
                2,
                Row::Due {
                    due_ms: 2,
                    client: b"b",
                },
            ),
            (
                2,
                Row::Due {
                    due_ms: 3,
                    client: b"c",
                },
            ),
            (
                3,
                Row::Due {
                    due_ms: 1,
                    client: b"other",
                },
            ),
        ]);
        let names = |now_ms, max| {
            let (keys, more) = due_sessions(&rows, tenant(2), now_ms, max).unwrap();
            (
                keys.iter()
                    .map(|key| key.client().to_vec())
                    .collect::<Vec<_>>(),
                more,
            )
        };
        assert_eq!(names(2, 5), (vec![b"a".to_vec(), b"b".to_vec()], false));
        assert_eq!(names(3, 2), (vec![b"a".to_vec(), b"b".to_vec()], true));
        assert_eq!(names(0, 2), (vec![], false));
    }
}
