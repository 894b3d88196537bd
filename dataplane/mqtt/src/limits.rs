//! What a decoder takes at most.

/// Bounds on what a peer may send. Each is checked before what it bounds is read or allocated.
///
/// Worst case of memory for one connection: one packet of [`Self::packet_bytes_max`] in the read
/// buffer, and [`Self::filters_max`] filters of some 160 bytes beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes of a packet, fixed header included. Default [`Self::PACKET_BYTES_MAX`]. A larger one
    /// is refused with 0x95. A server announces it as Maximum Packet Size.
    pub packet_bytes_max: u32,
    /// Bytes of CONNECT, fixed header included: what an unknown peer can make the server buffer.
    /// Default [`Self::CONNECT_BYTES_MAX`]. A larger one is refused with 0x95.
    pub connect_bytes_max: u32,
    /// Bytes of a client identifier. Default [`Self::CLIENT_ID_BYTES_MAX`]. A longer one is refused
    /// with 0x85.
    pub client_id_bytes_max: usize,
    /// Levels of a topic name or filter. Default [`Self::TOPIC_LEVELS_MAX`]. More are refused with
    /// 0x90, or 0x8F for that filter.
    pub topic_levels_max: usize,
    /// User properties in one packet; those of a will count by themselves. Default
    /// [`Self::USER_PROPERTIES_MAX`]. More are refused with 0x97.
    pub user_properties_max: usize,
    /// Filters in one SUBSCRIBE or UNSUBSCRIBE. Default [`Self::FILTERS_MAX`]. The ones after are
    /// counted only, so that each can be answered with 0x97.
    pub filters_max: usize,
}

impl DecodeLimits {
    /// Default of [`Self::packet_bytes_max`]: 1 MiB.
    pub const PACKET_BYTES_MAX: u32 = 1 << 20;
    /// Default of [`Self::connect_bytes_max`]: the longest client identifier and 8 KiB beside it.
    pub const CONNECT_BYTES_MAX: u32 = 72 << 10;
    /// Default of [`Self::client_id_bytes_max`]: what a string can hold.
    pub const CLIENT_ID_BYTES_MAX: usize = 65_535;
    /// Default of [`Self::topic_levels_max`].
    pub const TOPIC_LEVELS_MAX: usize = 128;
    /// Default of [`Self::user_properties_max`].
    pub const USER_PROPERTIES_MAX: usize = 128;
    /// Default of [`Self::filters_max`].
    pub const FILTERS_MAX: usize = 1_024;

    /// The defaults.
    pub const DEFAULT: Self = Self {
        packet_bytes_max: Self::PACKET_BYTES_MAX,
        connect_bytes_max: Self::CONNECT_BYTES_MAX,
        client_id_bytes_max: Self::CLIENT_ID_BYTES_MAX,
        topic_levels_max: Self::TOPIC_LEVELS_MAX,
        user_properties_max: Self::USER_PROPERTIES_MAX,
        filters_max: Self::FILTERS_MAX,
    };

    /// Nothing but what the wire can say.
    pub const UNLIMITED: Self = Self {
        packet_bytes_max: u32::MAX,
        connect_bytes_max: u32::MAX,
        client_id_bytes_max: usize::MAX,
        topic_levels_max: usize::MAX,
        user_properties_max: usize::MAX,
        filters_max: usize::MAX,
    };
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
