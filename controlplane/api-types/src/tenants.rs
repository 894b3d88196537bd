//! Tenants: MQTT namespaces.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use tessera_tenancy::{OrganizationId, PlanSlug, TenantId, TenantSlug};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::page::Applied;

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tenant {
    /// `ten_…`
    #[schema(value_type = String)]
    pub id: TenantId,
    /// Its name in paths and in MQTT user names, unique in the installation.
    #[schema(value_type = String)]
    pub slug: TenantSlug,
    /// Whether it serves devices.
    pub status: TenantStatus,
    /// The plan that grants its quotas.
    #[schema(value_type = String)]
    pub plan: PlanSlug,
    /// The organization that owns it.
    #[schema(value_type = Option<String>)]
    pub organization: Option<OrganizationId>,
    /// The caller's own marks.
    pub labels: BTreeMap<String, String>,
    /// How it behaves.
    #[serde(default)]
    pub settings: TenantSettings,
    /// Its number: the `ETag`.
    pub revision: u64,
    /// The pushed change that made it so.
    pub config_revision: u64,
    /// When it was created.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
    /// After a write with `?wait=applied`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
}

/// Whether a tenant serves devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    /// It does.
    Active,
    /// Devices are refused and disconnected; what it stored is kept.
    Suspended,
}

/// How a tenant behaves, as its owner wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct TenantSettings {
    /// Who of a shared subscription gets a message. Connected members come before absent ones; an
    /// ordered group (`$oshare`) is always sticky.
    pub shared_subscription_strategy: SharedSubscriptionStrategy,
    /// What gives way when the queue of a persistent session is full.
    pub queue_overflow: QueueOverflow,
}

/// Who of a shared subscription gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SharedSubscriptionStrategy {
    /// Any of them, each as likely.
    Random,
    /// One after the other.
    #[default]
    RoundRobin,
    /// By publisher: all that one client publishes goes to the same member.
    Sticky,
}

/// What gives way when the queue of a persistent session is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueueOverflow {
    /// The messages that wait longest.
    #[default]
    DropOldest,
    /// The message that comes.
    DropNewest,
    /// None: who publishes at QoS 1 or 2 is refused (MQTT 5: 0x97; version 3: closed) and may try
    /// again.
    RefusePublisher,
}

/// `POST /v1/tenants`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantCreate {
    /// A DNS label: 1 to 63 of `a-z 0-9 -`, a letter first, no hyphen last.
    pub slug: String,
    /// The slug of a plan.
    pub plan: String,
    /// The id or slug of the organization that owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// At most 32; a key is 1 to 63 of `a-z 0-9 . _ -`, a letter first; a value has at most 256
    /// characters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// `PUT /v1/tenants/{slug}`: creates the tenant, or returns the one that has the slug, unchanged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantEnsure {
    /// The slug of a plan.
    pub plan: String,
    /// The id or slug of the organization that owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// As in [`TenantCreate::labels`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// `PATCH /v1/tenants/{tenant}`, a merge patch: what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantPatch {
    /// The slug of another plan. Needs the scope `plans:assign`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "not_null"
    )]
    #[schema(value_type = Option<String>, nullable = false)]
    pub plan: Option<String>,
    /// Labels to set; a label that is null is removed.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "not_null"
    )]
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>, nullable = false)]
    pub labels: Option<BTreeMap<String, Option<String>>>,
    /// Settings to change, by name; one that is null goes back to its default.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "not_null"
    )]
    #[schema(value_type = Option<BTreeMap<String, Option<String>>>, nullable = false)]
    pub settings: Option<BTreeMap<String, Option<String>>>,
}

/// A member that may be absent but not null.
fn not_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_tells_absent_from_null() {
        let patch: TenantPatch = serde_json::from_str(r#"{"labels":{"a":null,"b":"c"}}"#).unwrap();
        assert_eq!(patch.plan, None);
        let labels = patch.labels.unwrap();
        assert_eq!((&labels["a"], &labels["b"]), (&None, &Some("c".into())));
        for refused in [
            r#"{"plan":null}"#,
            r#"{"labels":null}"#,
            r#"{"settings":null}"#,
            r#"{"slug":"x"}"#,
        ] {
            assert!(
                serde_json::from_str::<TenantPatch>(refused).is_err(),
                "{refused}"
            );
        }
    }
}
