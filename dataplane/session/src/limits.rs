//! What the server grants one connection.

use std::time::Duration;

use tessera_mqtt::Qos;

/// QoS 2 packet identifiers of one client that may wait for their PUBREL, over all its
/// connections: 64 KiB at most. A client past it is closed (0x97).
pub const UNRELEASED_IDENTIFIERS_MAX: usize = 16_384;

/// Unanswered messages of a version 3 client whose shell reads on though it should not.
pub const UNANSWERED_V3_MAX: usize = 65_535;

/// Characters of a client identifier of MQTT 3.1 (3.1, section 3.1: 1 to 23).
pub const V31_CLIENT_ID_CHARACTERS_MAX: usize = 23;

/// Topic aliases that the server uses towards one client, however many the client allows: a topic
/// each.
pub const OUTBOUND_ALIASES_MAX: u16 = 32;

/// What the server grants one connection. The shell derives it from the listener and the tenant's
/// settings; Inbound announces it in CONNACK and holds the client to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerLimits {
    /// PUBLISH packets of QoS 1 and 2 that a client may have unacknowledged, 1 to 65,535. A version
    /// 5 client past it is disconnected (0x93); a version 3 client is not read from
    /// ([`Inbound::wants_packets`](crate::Inbound::wants_packets)).
    pub receive_maximum: u16,
    /// Bytes of the largest packet taken. The decoder enforces it; here it is announced.
    pub packet_bytes_max: u32,
    /// Topic aliases that a client may use towards the server; 0: none.
    pub topic_alias_maximum: u16,
    /// Highest QoS of a PUBLISH or will that is taken, and granted to a subscription.
    pub maximum_qos: Qos,
    /// Longest keep alive; a version 5 client that asks for more, or for none, is given this one.
    /// Version 3 has no way to say so, there the client's own stays.
    pub keep_alive_max_seconds: Option<u16>,
    /// Longest life of a session without a connection; `u32::MAX`: may be for ever. It is also what
    /// a version 3 client gets with clean session 0.
    pub session_expiry_max_seconds: u32,
    /// Longest client identifier in bytes.
    pub client_id_bytes_max: usize,
    /// Most levels of a topic name.
    pub topic_levels_max: usize,
    /// Longest topic name in bytes.
    pub topic_bytes_max: usize,
    /// Filters of one SUBSCRIBE that are considered; those after it are refused (0x97).
    pub filters_per_packet_max: usize,
    /// Whether messages may be retained.
    pub retain_available: bool,
    /// Whether filters may hold wildcards.
    pub wildcards_available: bool,
    /// Whether filters may be shared.
    pub shared_available: bool,
    /// Whether a SUBSCRIBE may carry a subscription identifier.
    pub subscription_ids_available: bool,
    /// From the opening of the connection to an accepted CONNECT.
    pub connect_timeout: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            receive_maximum: 100,
            packet_bytes_max: 1024 * 1024,
            topic_alias_maximum: 16,
            maximum_qos: Qos::ExactlyOnce,
            keep_alive_max_seconds: None,
            session_expiry_max_seconds: 24 * 60 * 60,
            client_id_bytes_max: 256,
            topic_levels_max: 32,
            topic_bytes_max: 1024,
            filters_per_packet_max: 256,
            retain_available: true,
            wildcards_available: true,
            shared_available: true,
            subscription_ids_available: true,
            connect_timeout: Duration::from_secs(10),
        }
    }
}
