//! Looking for sessions whose time has passed, tenant by tenant, in bounded steps.
//!
//! A step takes a few sessions of a tenant and goes on to the next, so that a tenant with a million
//! of them delays the others by one step, not by a million. A tenant without rows costs nothing,
//! one with rows and nothing due costs two seeks a round.

use std::ops::ControlFlow;

use tessera_shard::{RowError, Rows};
use tessera_tenancy::TenantId;

use crate::keys::{Row, Span, due_until, online_of};
use crate::registry::SessionKey;

/// Tenants that one step visits.
const TENANTS_MAX: usize = 128;

/// Sessions of one tenant that one step ends.
const DUE_PER_TENANT_MAX: usize = 32;

/// Sessions of all tenants that one step ends.
const DUE_MAX: usize = 256;

/// Online sessions that one step looks at.
const ONLINE_MAX: usize = 1_024;

/// Where a round is in one shard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Position {
    /// The smallest tenant that was not visited.
    tenant: [u8; 16],
    /// Inside that tenant, where its online sessions go on.
    online: Option<Vec<u8>>,
}

/// What one step found.
#[derive(Debug, Default)]
pub(crate) struct SweepPage {
    /// Sessions to expire.
    pub(crate) due: Vec<SessionKey>,
    /// Sessions that are online as far as the group knows.
    pub(crate) online: Vec<SessionKey>,
    /// Where the next step starts; `None`: the shard is through.
    pub(crate) next: Option<Position>,
}

/// One step from `position` on. Online sessions are looked for only if asked.
pub(crate) fn sweep(
    rows: &dyn Rows,
    position: &Position,
    now_ms: u64,
    with_online: bool,
) -> Result<SweepPage, RowError> {
    let mut page = SweepPage::default();
    let mut position = position.clone();
    for _ in 0..TENANTS_MAX {
        let Some(tenant) = tenant_from(rows, &position.tenant)? else { return Ok(page) };
        if *tenant.as_bytes() != position.tenant {
            position = Position { tenant: *tenant.as_bytes(), online: None };
        }
        if position.online.is_none() {
            let due = clients(rows, &due_until(tenant, now_ms), DUE_PER_TENANT_MAX)?;
            page.due.extend(due.into_iter().map(|(_, key)| key));
        }
        if with_online && sweep_online(rows, tenant, &mut position, &mut page)? {
            break;
        }
        let Some(next) = u128::from_be_bytes(position.tenant).checked_add(1) else {
            return Ok(page);
        };
        position = Position { tenant: next.to_be_bytes(), online: None };
        if page.due.len() >= DUE_MAX {
            break;
        }
    }
    page.next = Some(position);
    Ok(page)
}

/// Takes online sessions of a tenant; `true` if the step is full and the tenant goes on.
fn sweep_online(
    rows: &dyn Rows,
    tenant: TenantId,
    position: &mut Position,
    page: &mut SweepPage,
) -> Result<bool, RowError> {
    let (start, until) = online_of(tenant);
    let from = position.online.take().unwrap_or(start);
    let room = ONLINE_MAX.saturating_sub(page.online.len());
    let found = clients(rows, &(from.clone(), until), room)?;
    let full = found.len() >= room;
    if full {
        let last = found.last().map_or(from, |(key, _)| [&key[..], &[0]].concat());
        position.online = Some(last);
    }
    page.online.extend(found.into_iter().map(|(_, key)| key));
    Ok(full)
}

/// The first tenant with rows, from this one on.
fn tenant_from(rows: &dyn Rows, from: &[u8; 16]) -> Result<Option<TenantId>, RowError> {
    let mut found = None;
    rows.scan(from, &[], &mut |key, _| {
        found = key.first_chunk().map(|tenant| TenantId::from_bytes(*tenant));
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
        if let Some((tenant, Row::Due { client, .. } | Row::Online { client })) = Row::parse(key) {
            found.push((key.to_vec(), SessionKey::of_bytes(tenant, client)));
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}
