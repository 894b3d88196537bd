//! What a subscription makes of a message.

use tessera_mqtt::{Qos, RetainHandling};

/// The lesser of the published and the granted QoS (MQTT-3.8.4-8). Of overlapping subscriptions the
/// highest grant counts (MQTT-3.3.4-2).
pub fn delivered_qos(published: Qos, granted: Qos) -> Qos {
    published.min(granted)
}

/// RETAIN of a delivery. A message from the retained store says so; a live one keeps what it was
/// published with only under Retain As Published (MQTT-3.3.1-12, -13; 3.1.1: MQTT-3.3.1-8, -9).
pub const fn delivered_retain(
    published: bool,
    from_store: bool,
    retain_as_published: bool,
) -> bool {
    from_store || (published && retain_as_published)
}

/// Whether a SUBSCRIBE brings the retained messages (MQTT-3.3.1-9 to -11). `is_new`: there was no
/// such subscription before. A shared subscription brings none (MQTT 5, 4.8.2).
pub const fn sends_retained(handling: RetainHandling, is_new: bool, is_shared: bool) -> bool {
    if is_shared {
        return false;
    }
    match handling {
        RetainHandling::Send => true,
        RetainHandling::SendIfNew => is_new,
        RetainHandling::DoNotSend => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v5_mqtt_3_8_4_8_the_lesser_qos_is_delivered() {
        let all = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
        for published in all {
            for granted in all {
                let delivered = delivered_qos(published, granted);
                assert!(delivered <= published && delivered <= granted);
                assert!(delivered == published || delivered == granted);
            }
        }
    }

    #[test]
    fn v5_mqtt_3_3_1_12_and_13_retain_leaves_as_published_only_if_asked() {
        assert!(!delivered_retain(true, false, false));
        assert!(delivered_retain(true, false, true));
        assert!(!delivered_retain(false, false, true));
    }

    #[test]
    fn v3_mqtt_3_3_1_8_and_9_retain_is_set_on_stored_messages_only() {
        assert!(delivered_retain(true, true, false));
        assert!(!delivered_retain(true, false, false));
    }

    #[test]
    fn v5_mqtt_3_3_1_9_and_10_and_11_retain_handling_says_when_stored_messages_come() {
        use RetainHandling as Handling;
        let cases = [
            (Handling::Send, true, true),
            (Handling::Send, false, true),
            (Handling::SendIfNew, true, true),
            (Handling::SendIfNew, false, false),
            (Handling::DoNotSend, true, false),
            (Handling::DoNotSend, false, false),
        ];
        for (handling, is_new, expected) in cases {
            assert_eq!(sends_retained(handling, is_new, false), expected);
            assert!(!sends_retained(handling, is_new, true));
        }
    }
}
