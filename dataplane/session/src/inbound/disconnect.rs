//! DISCONNECT of the client.

use tessera_mqtt::{Disconnect, ReasonCode};

use super::event::{ClientDisconnect, Event};
use super::{Inbound, State};
use crate::refusal::Violation;

impl Inbound {
    /// 0x00 drops the will (MQTT-3.14.4-3), anything else leaves it to be published. Version 3
    /// knows only 0x00.
    pub(super) fn handle_disconnect(
        &mut self,
        disconnect: &Disconnect,
    ) -> Result<Event, Violation> {
        let session_expiry_seconds = match disconnect.session_expiry_seconds {
            Some(seconds) if seconds > 0 && self.client.session_expiry_seconds == 0 => {
                return Err(Violation::protocol(
                    "a session expiry that CONNECT set to 0 was raised",
                ));
            }
            asked => asked.map(|seconds| seconds.min(self.limits.session_expiry_max_seconds)),
        };
        if disconnect.reason == ReasonCode::Success {
            self.will = None;
        }
        self.state = State::Closed;
        Ok(Event::Disconnect(ClientDisconnect {
            reason: disconnect.reason,
            session_expiry_seconds,
        }))
    }
}
