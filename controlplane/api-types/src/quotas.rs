//! Quotas: ceilings on a tenant's totals. Effective is the override where there is one, else the
//! plan's.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use tessera_tenancy::PlanSlug;
use utoipa::ToSchema;

use crate::page::Applied;

/// Every quota of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quotas {
    /// One row for every quota there is.
    pub data: Vec<Quota>,
    /// The plan of the tenant.
    #[schema(value_type = String)]
    pub plan: PlanSlug,
    /// Their number: the `ETag`. A change of plan moves it too.
    pub revision: u64,
    /// The pushed change that made them so.
    pub config_revision: u64,
    /// After a write with `?wait=applied`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
}

/// One quota of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quota {
    /// Its name: `connections`, `publishes_per_second`.
    pub name: String,
    /// The effective value; null is unlimited.
    pub limit: Option<u64>,
    /// What it counts.
    pub unit: String,
    /// Whose total it bounds.
    pub scope: String,
    /// Where the effective value comes from.
    pub source: QuotaSource,
    /// What the plan grants; null is unlimited.
    pub plan_limit: Option<u64>,
    /// Why it is overridden, in the words of who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What a device sees at the limit.
    pub at_limit: AtLimit,
    /// One sentence for people.
    pub description: String,
}

/// Where the effective value of a quota comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QuotaSource {
    /// The tenant's plan.
    Plan,
    /// An override of this tenant's.
    Override,
}

/// What a device sees at the limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AtLimit {
    /// A device that speaks MQTT 5.
    pub v5: String,
    /// A device that speaks MQTT 3.1 or 3.1.1.
    pub v3: String,
}

/// What overrides the plan for one quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotaOverride {
    /// At least 1 and at most the platform's maximum; null is unlimited. Never absent.
    #[schema(required = true)]
    pub limit: Option<u64>,
}

// Written out, since a derived one takes `[5]` for `{"limit": 5}`, and an absent limit for null,
// which is unlimited.
impl<'de> Deserialize<'de> for QuotaOverride {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut members = BTreeMap::<String, Option<u64>>::deserialize(from)?;
        let limit = members
            .remove("limit")
            .ok_or_else(|| D::Error::missing_field("limit"))?;
        match members.keys().next() {
            None => Ok(Self { limit }),
            Some(unknown) => Err(D::Error::unknown_field(unknown, &["limit"])),
        }
    }
}

/// `PUT /v1/platform/tenants/{tenant}/quotas`: these are all the overrides. A quota that is not
/// named falls back to the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotasPut {
    /// By name of the quota.
    pub quotas: BTreeMap<String, QuotaOverride>,
    /// Why. 1 to 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `PATCH /v1/platform/tenants/{tenant}/quotas`: a merge patch over the names of quotas. A name
/// that is absent stays, `null` removes its override (back to the plan), `{"limit": null}` makes
/// it unlimited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QuotasPatch {
    /// By name of the quota.
    #[schema(schema_with = overrides_or_nulls)]
    pub quotas: BTreeMap<String, Option<QuotaOverride>>,
    /// Why. 1 to 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The derive cannot say "a map whose values may be null".
fn overrides_or_nulls() -> utoipa::openapi::Object {
    use utoipa::openapi::{ObjectBuilder, OneOfBuilder, Ref, Schema, Type};

    let value = OneOfBuilder::new()
        .item(ObjectBuilder::new().schema_type(Type::Null))
        .item(Ref::from_schema_name("QuotaOverride"))
        .build();
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .additional_properties(Some(Schema::OneOf(value)))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_unlimited_and_absent_is_refused() {
        let unlimited: QuotaOverride = serde_json::from_str(r#"{"limit":null}"#).unwrap();
        assert_eq!(unlimited.limit, None);
        for refused in [
            "{}",
            r#"{"limit":-1}"#,
            r#"{"limit":1.5}"#,
            r#"{"limt":1}"#,
            "[1]",
            r#"{"limit":1,"a":2}"#,
        ] {
            assert!(
                serde_json::from_str::<QuotaOverride>(refused).is_err(),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_patch_tells_back_to_the_plan_from_unlimited() {
        let text = r#"{"quotas":{"a":null,"b":{"limit":null}}}"#;
        let patch: QuotasPatch = serde_json::from_str(text).unwrap();
        assert_eq!(patch.quotas["a"], None);
        assert_eq!(patch.quotas["b"], Some(QuotaOverride { limit: None }));
    }
}
