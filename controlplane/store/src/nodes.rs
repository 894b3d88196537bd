//! What nodes reported.

use std::time::Duration;

use tessera_tenancy::{Incarnation, NodeId, Revision, TimelineId};

use crate::convert::{parsed, revision, signed, timeline, unsigned};
use crate::error::StoreError;
use crate::store::{Store, View};

/// Nodes that are read at most, the last heard from first.
const NODES_MAX: i64 = 10_000;

/// A node as it was last heard from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// Which one.
    pub node: NodeId,
    /// Its life.
    pub incarnation: Incarnation,
    /// What it last said that it applied.
    pub applied: Option<(TimelineId, Revision)>,
    /// How long ago it was heard from.
    pub silent_for: Duration,
}

impl Store {
    /// Every node, the last heard from first.
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, StoreError> {
        let mut tx = self.begin(View::Platform).await?;
        let rows = sqlx::query!(
            r#"select node_id, incarnation, timeline, applied_revision,
                extract(epoch from now() - last_seen_at)::float8 as "silent_seconds!"
            from nodes order by last_seen_at desc limit $1"#,
            NODES_MAX
        )
        .fetch_all(&mut *tx.sql)
        .await?;
        tx.commit().await?;
        rows.into_iter()
            .map(|row| {
                let applied = match (row.timeline, row.applied_revision) {
                    (Some(line), Some(number)) => Some((timeline(&line)?, revision(number)?)),
                    (None, _) | (_, None) => None,
                };
                Ok(NodeRow {
                    node: NodeId(parsed(&row.node_id, "node id")?),
                    incarnation: Incarnation(unsigned(row.incarnation)?),
                    applied,
                    silent_for: Duration::try_from_secs_f64(row.silent_seconds).unwrap_or_default(),
                })
            })
            .collect()
    }

    /// Keeps what a node said; what a later life of it said stays.
    pub async fn save_node(&self, row: &NodeRow) -> Result<(), StoreError> {
        let mut tx = self.begin(View::Platform).await?;
        let applied = row
            .applied
            .map(|(_, number)| signed(number.0))
            .transpose()?;
        sqlx::query!(
            r#"insert into nodes (node_id, incarnation, timeline, applied_revision, last_seen_at)
            values ($1, $2, $3, $4, now() - make_interval(secs => $5))
            on conflict (node_id) do update set
                incarnation = excluded.incarnation,
                timeline = coalesce(excluded.timeline, nodes.timeline),
                applied_revision = coalesce(excluded.applied_revision, nodes.applied_revision),
                last_seen_at = greatest(excluded.last_seen_at, nodes.last_seen_at)
            where excluded.incarnation >= nodes.incarnation"#,
            row.node.to_string(),
            signed(row.incarnation.0)?,
            row.applied
                .as_ref()
                .map(|(line, _)| line.as_bytes().as_slice()),
            applied,
            row.silent_for.as_secs_f64()
        )
        .execute(&mut *tx.sql)
        .await?;
        tx.commit().await
    }
}
