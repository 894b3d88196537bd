//! The one registry of settings: how a tenant behaves, as its owner wants it. REST, the pushed record
//! and the front end read it.
//!
//! # Adding a setting
//! 1. Add a field to [`TenantSettings`] with a default that is what tenants had before, and its arms
//!    in [`TenantSettings::get`] and [`TenantSettings::set`].
//! 2. Add a column to the table of tenants, with the same default.
//! 3. The PATCH of tenants, the API document and the command line follow.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How one tenant behaves.
///
/// On the wire a map; a setting that is missing there has its default, so that records of before
/// it was known still read. One that is unknown is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantSettings {
    /// Who of a shared subscription gets a message.
    pub shared_subscription_strategy: SharedSubscriptionStrategy,
    /// What gives way when the queue of a persistent session is full.
    pub queue_overflow: QueueOverflow,
}

/// Which setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SettingCode {
    /// [`TenantSettings::shared_subscription_strategy`].
    SharedSubscriptionStrategy,
    /// [`TenantSettings::queue_overflow`].
    QueueOverflow,
}

/// Who of a shared subscription gets a message. Connected members come before absent ones, whatever
/// the strategy; an ordered group (`$oshare`) is always sticky.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SharedSubscriptionStrategy {
    /// Any of them, each as likely.
    Random,
    /// One after the other.
    #[default]
    RoundRobin,
    /// By publisher: all that one client publishes goes to the same member, in its order.
    Sticky,
}

/// What gives way when the queue of a persistent session is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueOverflow {
    /// The messages that wait longest.
    #[default]
    DropOldest,
    /// The message that comes.
    DropNewest,
    /// None: who publishes at QoS 1 or 2 is refused and may try again.
    RefusePublisher,
}

/// No setting has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown setting")]
pub struct UnknownSetting;

/// A setting has no such value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a value of {setting}; there are: {}", setting.values().join(", "))]
pub struct UnknownValue {
    /// Which one.
    pub setting: SettingCode,
}

impl TenantSettings {
    /// Whether nothing was set.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The value of one setting, in words.
    pub const fn get(&self, code: SettingCode) -> &'static str {
        match code {
            SettingCode::SharedSubscriptionStrategy => self.shared_subscription_strategy.as_str(),
            SettingCode::QueueOverflow => self.queue_overflow.as_str(),
        }
    }

    /// Sets one setting to a value in words; `None` gives its default back.
    pub fn set(&mut self, code: SettingCode, value: Option<&str>) -> Result<(), UnknownValue> {
        match code {
            SettingCode::SharedSubscriptionStrategy => {
                let all = SharedSubscriptionStrategy::ALL;
                let named = one_of(code, value, &all, SharedSubscriptionStrategy::as_str)?;
                self.shared_subscription_strategy = named;
            }
            SettingCode::QueueOverflow => {
                let named = one_of(code, value, &QueueOverflow::ALL, QueueOverflow::as_str)?;
                self.queue_overflow = named;
            }
        }
        Ok(())
    }
}

impl SettingCode {
    /// Every setting.
    pub const ALL: [Self; 2] = [Self::SharedSubscriptionStrategy, Self::QueueOverflow];

    /// Its name in REST, in the database and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SharedSubscriptionStrategy => "shared_subscription_strategy",
            Self::QueueOverflow => "queue_overflow",
        }
    }

    /// Its values, in words.
    pub fn values(self) -> Vec<&'static str> {
        match self {
            Self::SharedSubscriptionStrategy => SharedSubscriptionStrategy::ALL
                .map(SharedSubscriptionStrategy::as_str)
                .to_vec(),
            Self::QueueOverflow => QueueOverflow::ALL.map(QueueOverflow::as_str).to_vec(),
        }
    }
}

impl fmt::Display for SettingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SettingCode {
    type Err = UnknownSetting;

    fn from_str(text: &str) -> Result<Self, UnknownSetting> {
        let mut all = Self::ALL.into_iter();
        all.find(|code| code.name() == text).ok_or(UnknownSetting)
    }
}

impl SharedSubscriptionStrategy {
    /// Every strategy.
    pub const ALL: [Self; 3] = [Self::Random, Self::RoundRobin, Self::Sticky];

    /// Its name in REST, in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::RoundRobin => "round_robin",
            Self::Sticky => "sticky",
        }
    }
}

impl QueueOverflow {
    /// Every policy.
    pub const ALL: [Self; 3] = [Self::DropOldest, Self::DropNewest, Self::RefusePublisher];

    /// Its name in REST, in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DropOldest => "drop_oldest",
            Self::DropNewest => "drop_newest",
            Self::RefusePublisher => "refuse_publisher",
        }
    }
}

fn one_of<T: Copy + Default>(
    setting: SettingCode,
    value: Option<&str>,
    all: &[T],
    word: impl Fn(T) -> &'static str,
) -> Result<T, UnknownValue> {
    let Some(value) = value else {
        return Ok(T::default());
    };
    let found = all.iter().find(|one| word(**one) == value);
    found.copied().ok_or(UnknownValue { setting })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_set_by_its_word_and_is_the_same_on_the_wire() {
        for code in SettingCode::ALL {
            assert_eq!(code.name().parse(), Ok(code));
            for word in code.values() {
                let mut settings = TenantSettings::default();
                settings.set(code, Some(word)).unwrap();
                assert_eq!(settings.get(code), word);
                let json = serde_json::to_value(settings).unwrap();
                assert_eq!(json[code.name()], word);
                let part = format!(r#"{{"{code}":"{word}"}}"#);
                let read: TenantSettings = serde_json::from_str(&part).unwrap();
                assert_eq!(read, settings, "what is not named has its default");
                settings.set(code, None).unwrap();
                assert!(settings.is_default());
            }
        }
    }

    #[test]
    fn what_is_unknown_is_refused_and_changes_nothing() {
        assert_eq!(
            "queue_overflows".parse::<SettingCode>(),
            Err(UnknownSetting)
        );
        let mut settings = TenantSettings::default();
        let refused = settings.set(SettingCode::QueueOverflow, Some("random"));
        assert_eq!(
            refused.unwrap_err().to_string(),
            "not a value of queue_overflow; there are: drop_oldest, drop_newest, refuse_publisher"
        );
        assert!(settings.is_default());
        for bad in [
            r#"{"queue_overflow":"random"}"#,
            r#"{"queue_overflow":null}"#,
            r#"{"queue_overflows":"drop_oldest"}"#,
        ] {
            assert!(
                serde_json::from_str::<TenantSettings>(bad).is_err(),
                "{bad}"
            );
        }
    }
}
