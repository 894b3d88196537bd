//! The reason codes that the standard lists, and how 3.x says them.

use tessera_mqtt::{ConnectReturnCode, PacketId, PacketType, Qos, ReasonCode, SubscriptionId};

use crate::harness::hex;

/// The codes that pass, as bytes.
fn codes(allowed: impl Fn(ReasonCode) -> bool) -> Vec<u8> {
    let all = ReasonCode::ALL.iter().copied();
    all.filter(|code| allowed(*code))
        .map(ReasonCode::as_u8)
        .collect()
}

#[test]
fn each_packet_may_say_what_the_standard_lists_for_it() {
    for (packet, listed) in [
        (
            PacketType::ConnAck,
            "00 80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f",
        ),
        (PacketType::PubAck, "00 10 80 83 87 90 91 97 99"),
        (PacketType::PubRec, "00 10 80 83 87 90 91 97 99"),
        (PacketType::PubRel, "00 92"),
        (PacketType::PubComp, "00 92"),
        (PacketType::SubAck, "00 01 02 80 83 87 8f 91 97 9e a1 a2"),
        (PacketType::UnsubAck, "00 11 80 83 87 8f 91"),
        (
            PacketType::Disconnect,
            "00 04 80 81 82 83 87 89 8b 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2",
        ),
        (PacketType::Auth, "00 18 19"),
        (PacketType::Publish, ""),
        (PacketType::PingReq, ""),
    ] {
        assert_eq!(
            codes(|code| code.is_listed_for(packet)),
            hex(listed),
            "{packet}"
        );
    }
}

#[test]
fn each_side_disconnects_with_its_own_codes() {
    let client = "00 04 80 81 82 83 90 93 94 95 96 97 98 99";
    assert_eq!(codes(ReasonCode::client_may_disconnect_with), hex(client));
    let server = codes(ReasonCode::server_may_disconnect_with);
    assert!(!server.contains(&0x04));
    assert_eq!(server.len(), 28);
}

#[test]
fn a_reason_code_is_its_byte_and_no_other_byte_is_one() {
    for byte in 0..=u8::MAX {
        match ReasonCode::try_from(byte) {
            Ok(code) => assert_eq!(code.as_u8(), byte),
            Err(error) => assert_eq!(error.to_string(), format!("no reason code 0x{byte:02X}")),
        }
    }
    assert_eq!(ReasonCode::ALL.len(), 43);
    assert!(
        codes(ReasonCode::is_failure)
            .iter()
            .all(|code| *code >= 0x80)
    );
    assert_eq!(ReasonCode::QuotaExceeded.to_string(), "0x97 quota exceeded");
}

#[test]
fn connack_of_3_x_says_what_it_can() {
    let said = |code: ReasonCode| code.connect_return_code().map(ConnectReturnCode::as_u8);
    for (return_code, listed) in [
        (Some(0), "00"),
        (Some(1), "84"),
        (Some(2), "85"),
        (Some(3), "88 89 8b 97 9c 9d 9f"),
        (Some(4), "86"),
        (Some(5), "87 8a 8c"),
    ] {
        assert_eq!(codes(|code| said(code) == return_code), hex(listed));
    }
}

#[test]
fn granted_codes_are_their_qualities() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        assert_eq!(ReasonCode::granted(qos).as_u8(), qos.as_u8());
        assert_eq!(Qos::try_from(qos.as_u8()), Ok(qos));
    }
    assert!(Qos::try_from(3).is_err());
}

#[test]
fn identifiers_are_never_0() {
    assert_eq!(PacketId::new(0), None);
    assert_eq!(SubscriptionId::new(0), None);
    assert_eq!(SubscriptionId::new(SubscriptionId::MAX + 1), None);
    let largest = SubscriptionId::new(SubscriptionId::MAX).map(SubscriptionId::get);
    assert_eq!(largest, Some(268_435_455));
}
