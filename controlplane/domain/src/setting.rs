//! Settings: what a body may say of them.

use tessera_tenancy::{SettingCode, TenantSettings};

use crate::text::{Violation, member};

/// Sets what a body names under `/settings`; `None` gives a setting its default back.
pub fn set(
    settings: &mut TenantSettings,
    name: &str,
    value: Option<&str>,
) -> Result<(), Violation> {
    let pointer = member("/settings", name);
    let Ok(code) = name.parse::<SettingCode>() else {
        let detail = format!(
            "no such setting; there are: {}",
            SettingCode::ALL.map(SettingCode::name).join(", ")
        );
        return Err(Violation::new(pointer, "unknown_setting", detail));
    };
    settings
        .set(code, value)
        .map_err(|error| Violation::new(pointer, "unknown_value", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_tenancy::QueueOverflow;

    #[test]
    fn a_setting_is_set_by_its_words_or_refused_by_its_place() {
        let mut settings = TenantSettings::default();
        assert_eq!(
            set(&mut settings, "queue_overflow", Some("drop_newest")),
            Ok(())
        );
        assert_eq!(settings.queue_overflow, QueueOverflow::DropNewest);
        for (name, value, code) in [
            ("queue_overflow", "DROP_NEWEST", "unknown_value"),
            ("queue_overflow", "", "unknown_value"),
            ("queue/overflow", "drop_newest", "unknown_setting"),
        ] {
            let refused = set(&mut settings, name, Some(value)).unwrap_err();
            assert_eq!(refused.code, code);
            assert_eq!(refused.pointer, member("/settings", name));
        }
        assert_eq!(set(&mut settings, "queue_overflow", None), Ok(()));
        assert!(settings.is_default());
    }
}
