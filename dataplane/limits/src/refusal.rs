//! Why something was refused, in words for the device.

use std::time::Duration;

use tessera_tenancy::{LimitCode, PlanSlug};

/// What stood in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCause {
    /// The limit is reached.
    LimitReached,
    /// The tenant is suspended: nothing passes until it is resumed.
    TenantSuspended,
    /// The tenant is removed: nothing passes any more.
    TenantRemoved,
}

/// One refusal. Its text is what the device reads, such as
/// `publishes_per_second 100 reached on plan free`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct Refusal {
    /// The limit that was asked.
    pub limit: LimitCode,
    /// Its value now; 0 where the tenant does not stand.
    pub value: u64,
    /// The plan that the tenant is on.
    pub plan: PlanSlug,
    /// What stood in the way.
    pub cause: RefusalCause,
    /// The same request passes after this time if nobody else asks meanwhile. `None`: waiting alone
    /// does not help.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// The user properties that go with the Reason String (MQTT 5, 3.14.2.2.4): `limit`, `value`
    /// and, where waiting helps, `retry_after` in whole seconds, rounded up.
    pub fn user_properties(&self) -> impl Iterator<Item = (&'static str, String)> {
        let seconds = self
            .retry_after
            .map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        [
            Some(("limit", self.limit.name().to_owned())),
            Some(("value", self.value.to_string())),
            seconds.map(|seconds| ("retry_after", seconds.to_string())),
        ]
        .into_iter()
        .flatten()
    }

    fn text(&self) -> String {
        match self.cause {
            RefusalCause::LimitReached => self.limit.row().reason(self.value, self.plan.as_str()),
            RefusalCause::TenantSuspended => "tenant is suspended".to_owned(),
            RefusalCause::TenantRemoved => "tenant is removed".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(cause: RefusalCause, retry_after: Option<Duration>) -> Refusal {
        Refusal {
            limit: LimitCode::PublishesPerSecond,
            value: 100,
            plan: "free".parse().unwrap(),
            cause,
            retry_after,
        }
    }

    #[test]
    fn a_refusal_says_which_limit_how_much_and_until_when() {
        let refusal = refusal(
            RefusalCause::LimitReached,
            Some(Duration::from_millis(1_001)),
        );
        assert_eq!(
            refusal.to_string(),
            "publishes_per_second 100 reached on plan free"
        );
        let properties: Vec<_> = refusal.user_properties().collect();
        assert_eq!(
            properties,
            [
                ("limit", "publishes_per_second".to_owned()),
                ("value", "100".to_owned()),
                ("retry_after", "2".to_owned()),
            ]
        );
    }

    #[test]
    fn where_waiting_does_not_help_no_time_is_named() {
        for cause in [RefusalCause::TenantSuspended, RefusalCause::TenantRemoved] {
            let refusal = refusal(cause, None);
            assert_eq!(refusal.user_properties().count(), 2);
            assert!(refusal.to_string().starts_with("tenant is "));
        }
    }
}
