//! The one registry of limits: a row each. Plans, REST, enforcement, reasons and tests read it.
//!
//! # Adding a limit
//! 1. Add a [`LimitCode`] (append only: its ordinal is persisted in snapshots by name) and its row.
//! 2. Enforce it where `enforced_in` says, and refuse with [`LimitRow::reason`].
//! 3. The plans, `GET …/quotas`, the API document and the quota tests follow.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize};

/// Which limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LimitCode {
    /// Devices connected at once, over all nodes.
    Connections,
    /// PUBLISH packets that a tenant's devices send per second, over all nodes.
    PublishesPerSecond,
}

/// What a plan grants unless it is overridden. `None` is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanDefaults {
    /// The plan that costs nothing.
    pub free: Option<u64>,
    /// The plan of small businesses.
    pub pro: Option<u64>,
    /// The plan of big ones.
    pub enterprise: Option<u64>,
    /// The generous plan of development mode.
    pub dev: Option<u64>,
}

/// One limit: all that the product says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitRow {
    /// Which one.
    pub code: LimitCode,
    /// Its name in REST, in reasons and in metrics.
    pub name: &'static str,
    /// What its value counts.
    pub unit: &'static str,
    /// Whose total it bounds.
    pub scope: &'static str,
    /// What each plan grants.
    pub defaults: PlanDefaults,
    /// The largest value that may be set.
    pub value_max: u64,
    /// The room that enforces it.
    pub enforced_in: &'static str,
    /// What an MQTT 5 device sees at the limit.
    pub at_limit_v5: &'static str,
    /// What an MQTT 3.1 or 3.1.1 device sees at the limit.
    pub at_limit_v3: &'static str,
    /// The counter of refusals.
    pub metric: &'static str,
    /// One sentence for people.
    pub doc: &'static str,
}

/// Every limit, in the order of [`LimitCode`].
pub static LIMITS: [LimitRow; 2] = [
    LimitRow {
        code: LimitCode::Connections,
        name: "connections",
        unit: "connections",
        scope: "tenant",
        defaults: PlanDefaults {
            free: Some(100),
            pro: Some(10_000),
            enterprise: Some(1_000_000),
            dev: Some(100_000),
        },
        value_max: 10_000_000,
        enforced_in: "frontend",
        at_limit_v5: "CONNACK 0x97 with a Reason String; taking over a live session always passes",
        at_limit_v3: "CONNACK 0x03; taking over a live session always passes",
        metric: "tessera_limits_refusals_total",
        doc: "Devices connected at once, over all nodes.",
    },
    LimitRow {
        code: LimitCode::PublishesPerSecond,
        name: "publishes_per_second",
        unit: "messages per second",
        scope: "tenant",
        defaults: PlanDefaults {
            free: Some(100),
            pro: Some(5_000),
            enterprise: Some(200_000),
            dev: Some(1_000_000),
        },
        value_max: 100_000_000,
        enforced_in: "frontend",
        at_limit_v5: "reading pauses for up to a second; then QoS 1 and 2 get 0x97 with a Reason \
                      String and QoS 0 is dropped",
        at_limit_v3: "reading pauses for up to a second; then QoS 0 is dropped and QoS 1 and 2 are \
                      left unacknowledged by closing the connection",
        metric: "tessera_limits_refusals_total",
        doc: "PUBLISH packets that the tenant's devices send per second, over all nodes; a burst of \
              two seconds' worth passes.",
    },
];

/// How many limits there are.
pub const LIMIT_COUNT: usize = LIMITS.len();

impl LimitCode {
    /// Its row.
    pub fn row(self) -> &'static LimitRow {
        &LIMITS[self.index()]
    }

    /// Its name in REST, in reasons and in metrics.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    const fn index(self) -> usize {
        match self {
            Self::Connections => 0,
            Self::PublishesPerSecond => 1,
        }
    }
}

impl fmt::Display for LimitCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No limit has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown limit")]
pub struct UnknownLimit;

impl FromStr for LimitCode {
    type Err = UnknownLimit;

    fn from_str(text: &str) -> Result<Self, UnknownLimit> {
        LIMITS
            .iter()
            .find(|row| row.name == text)
            .map(|row| row.code)
            .ok_or(UnknownLimit)
    }
}

impl LimitRow {
    /// The sentence that a refused device or caller reads.
    pub fn reason(&self, value: u64, plan: &str) -> String {
        format!("{} {value} reached on plan {plan}", self.name)
    }
}

/// The effective value of every limit of one tenant. `None` is unlimited.
///
/// On the wire a map from name to number or null. A limit that is missing there fails closed: it
/// reads as 0, never as unlimited. A name that is unknown is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitValues([Option<u64>; LIMIT_COUNT]);

impl LimitValues {
    /// Every limit at 0: nothing passes.
    pub const CLOSED: Self = Self([Some(0); LIMIT_COUNT]);

    /// What `pick` takes of each row's defaults.
    pub fn from_defaults(pick: impl Fn(&PlanDefaults) -> Option<u64>) -> Self {
        Self(std::array::from_fn(|i| pick(&LIMITS[i].defaults)))
    }

    /// The value of one limit; `None` is unlimited.
    pub const fn get(&self, code: LimitCode) -> Option<u64> {
        self.0[code.index()]
    }

    /// The same values with one of them changed.
    #[must_use]
    pub const fn with(mut self, code: LimitCode, value: Option<u64>) -> Self {
        self.0[code.index()] = value;
        self
    }
}

impl Serialize for LimitValues {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(LIMIT_COUNT))?;
        for row in &LIMITS {
            map.serialize_entry(row.name, &self.get(row.code))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for LimitValues {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = std::collections::BTreeMap::<String, Option<u64>>::deserialize(deserializer)?;
        let mut values = Self::CLOSED;
        for (name, value) in map {
            let code = name.parse().map_err(|UnknownLimit| {
                D::Error::custom(format_args!(
                    "unknown limit {:?}",
                    name.chars().take(64).collect::<String>()
                ))
            })?;
            values = values.with(code, value);
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_their_codes() {
        for (at, row) in LIMITS.iter().enumerate() {
            assert_eq!(row.code.index(), at);
            assert_eq!(row.name.parse(), Ok(row.code));
        }
    }

    #[test]
    fn a_missing_limit_fails_closed_and_an_unknown_one_is_refused() {
        let values: LimitValues = serde_json::from_str(r#"{"connections":null}"#).unwrap();
        assert_eq!(values.get(LimitCode::Connections), None);
        assert_eq!(values.get(LimitCode::PublishesPerSecond), Some(0));
        for bad in [
            r#"{"conections":1}"#,
            r#"{"connections":-1}"#,
            r#"{"connections":1.5}"#,
        ] {
            assert!(serde_json::from_str::<LimitValues>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn values_read_back() {
        let values = LimitValues::from_defaults(|d| d.free).with(LimitCode::Connections, None);
        let text = serde_json::to_string(&values).unwrap();
        assert_eq!(text, r#"{"connections":null,"publishes_per_second":100}"#);
        assert_eq!(serde_json::from_str::<LimitValues>(&text).unwrap(), values);
    }
}
