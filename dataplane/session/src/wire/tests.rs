use super::*;

fn code(value: u8) -> ReasonCode {
    ReasonCode::try_from(value).unwrap_or_else(|error| panic!("{error}"))
}

/// Asserts what each code of `pairs` becomes.
fn becomes(say: fn(ReasonCode) -> ReasonCode, pairs: &[(u8, u8)]) {
    for (meant, said) in pairs {
        assert_eq!(say(code(*meant)), code(*said), "0x{meant:02x}");
    }
}

/// Every reason code of MQTT 5.
fn codes() -> impl Iterator<Item = ReasonCode> {
    (0..=u8::MAX).filter_map(|value| ReasonCode::try_from(value).ok())
}

#[test]
fn puback_says_quota_for_what_it_has_no_code_for() {
    becomes(
        puback_reason,
        &[
            (0x00, 0x00),
            (0x10, 0x10),
            (0x87, 0x87),
            (0x95, 0x97),
            (0x96, 0x97),
            (0x97, 0x97),
            (0x99, 0x99),
            (0x8B, 0x80),
        ],
    );
}

#[test]
fn suback_refuses_even_with_a_success() {
    becomes(
        suback_reason,
        &[
            (0x00, 0x80),
            (0x02, 0x80),
            (0x87, 0x87),
            (0x8F, 0x8F),
            (0x97, 0x97),
            (0x9E, 0x9E),
            (0x9C, 0x80),
        ],
    );
}

#[test]
fn unsuback_keeps_its_own_codes() {
    becomes(
        unsuback_reason,
        &[(0x00, 0x00), (0x11, 0x11), (0x8F, 0x8F), (0x97, 0x80)],
    );
}

#[test]
fn connack_says_the_nearest_that_it_may() {
    becomes(
        connack_reason,
        &[
            (0x00, 0x80),
            (0x81, 0x81),
            (0x8A, 0x8A),
            (0x8B, 0x88),
            (0x8D, 0x88),
            (0x8E, 0x88),
            (0x91, 0x82),
            (0x93, 0x82),
            (0x94, 0x82),
            (0x95, 0x95),
            (0x96, 0x9F),
            (0x98, 0x88),
            (0x9C, 0x9C),
            (0x9D, 0x9D),
            (0xA0, 0x88),
            (0xA1, 0x80),
        ],
    );
}

#[test]
fn disconnect_says_the_nearest_that_it_may() {
    becomes(
        disconnect_reason,
        &[
            (0x81, 0x81),
            (0x84, 0x82),
            (0x85, 0x82),
            (0x86, 0x87),
            (0x88, 0x89),
            (0x8A, 0x87),
            (0x8B, 0x8B),
            (0x8C, 0x87),
            (0x91, 0x82),
            (0x92, 0x82),
            (0x93, 0x93),
            (0x9D, 0x9D),
        ],
    );
}

#[test]
fn whatever_is_meant_what_is_said_is_listed_for_its_packet() {
    for meant in codes() {
        assert!(puback_reason(meant).is_listed_for(PacketType::PubAck));
        assert!(suback_reason(meant).is_listed_for(PacketType::SubAck));
        assert!(suback_reason(meant).is_failure());
        assert!(unsuback_reason(meant).is_listed_for(PacketType::UnsubAck));
        assert!(connack_reason(meant).is_listed_for(PacketType::ConnAck));
        assert!(connack_reason(meant).is_failure());
        assert!(disconnect_reason(meant).server_may_disconnect_with());
    }
}
