//! AUTH: an exchange before CONNACK, and anew while online (MQTT 5, 4.12).

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tessera_mqtt::{Auth as AuthPacket, Connect, MqttString, Packet, ReasonCode, UserProperties};

use super::event::Event;
use super::{Inbound, State};
use crate::auth::{AuthExchange, AuthMethod, AuthStep, Identity};
use crate::refusal::Violation;

/// The method of a connection: fixed by its CONNECT (MQTT-4.12.1-1).
#[derive(Debug)]
pub(super) struct Auth {
    name: MqttString,
    method: Arc<dyn AuthMethod>,
    progress: Progress,
}

/// How far the client has proved who it is.
///
/// ```text
///   CONNECT ──▶ First ──proved──▶ Proved ──AUTH 0x19──▶ Again ──proved, same identity──▶ Proved
/// ```
#[derive(Debug)]
enum Progress {
    First {
        exchange: Box<dyn AuthExchange>,
        connect: Box<Connect>,
    },
    Proved {
        identity: Identity,
        /// The method's last word, until CONNACK carries it out.
        data: Option<Bytes>,
    },
    Again {
        exchange: Box<dyn AuthExchange>,
        identity: Identity,
    },
}

impl Inbound {
    /// CONNECT named a method: run its first step.
    pub(super) fn begin_auth(
        &mut self,
        name: MqttString,
        data: Option<&Bytes>,
        connect: Box<Connect>,
        out: &mut BytesMut,
    ) -> Result<Event, Violation> {
        let Some(method) = self.methods.find(&name) else {
            let text = "the authentication method is not offered";
            return Err(Violation::fixed(ReasonCode::BadAuthenticationMethod, text));
        };
        let mut exchange = method.begin(Some(&connect));
        let step = exchange.handle_data(data);
        let auth = Box::new(Auth {
            name,
            method: Arc::clone(method),
            progress: Progress::First { exchange, connect },
        });
        self.advance(auth, step, out)
    }

    /// Only AUTH and DISCONNECT may come before CONNACK (MQTT-3.1.2-30).
    pub(super) fn handle_proving(
        &mut self,
        packet: Packet,
        out: &mut BytesMut,
    ) -> Result<Event, Violation> {
        match packet {
            Packet::Auth(auth) => self.handle_auth(&auth, out),
            Packet::Disconnect(disconnect) => {
                self.will = None;
                self.handle_disconnect(&disconnect)
            }
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::Publish(_)
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
            | Packet::Subscribe(_)
            | Packet::SubAck(_)
            | Packet::Unsubscribe(_)
            | Packet::UnsubAck(_)
            | Packet::PingReq
            | Packet::PingResp => Err(Violation::protocol(
                "only AUTH and DISCONNECT may come before CONNACK",
            )),
        }
    }

    /// AUTH: the next data of an exchange, or the beginning of another one.
    pub(super) fn handle_auth(
        &mut self,
        packet: &AuthPacket,
        out: &mut BytesMut,
    ) -> Result<Event, Violation> {
        let Some(mut auth) = self.auth.take() else {
            return Err(Violation::protocol("AUTH without an authentication method"));
        };
        if packet.method.as_ref() != Some(&auth.name) {
            let text = "AUTH names another method than CONNECT";
            return Err(Violation::protocol(text));
        }
        auth.progress = auth.progress.hear(packet.reason, &*auth.method)?;
        let step = auth.progress.handle_data(packet.data.as_ref());
        self.advance(auth, step, out)
    }

    /// What goes out with CONNACK: the method, and its last word.
    pub(super) fn take_auth_result(&mut self) -> (Option<MqttString>, Option<Bytes>) {
        match self.auth.as_deref_mut() {
            None => (None, None),
            Some(auth) => (Some(auth.name.clone()), auth.progress.take_data()),
        }
    }

    /// Who the exchange proved the client to be.
    pub(super) fn identity(&self) -> Option<&Identity> {
        match &self.auth.as_deref()?.progress {
            Progress::First { .. } => None,
            Progress::Proved { identity, .. } | Progress::Again { identity, .. } => Some(identity),
        }
    }

    fn advance(
        &mut self,
        mut auth: Box<Auth>,
        step: AuthStep,
        out: &mut BytesMut,
    ) -> Result<Event, Violation> {
        match step {
            AuthStep::Continue(data) => {
                if self.state != State::Online {
                    self.state = State::Proving;
                }
                self.write_auth(ReasonCode::ContinueAuthentication, &auth.name, data, out);
                self.auth = Some(auth);
                Ok(Event::Nothing)
            }
            AuthStep::Proved { identity, data } => {
                let (name, before) = (auth.name.clone(), auth.progress);
                auth.progress = Progress::Proved { identity, data };
                self.proved(auth, name, before, out)
            }
            AuthStep::Refused => Err(refused("authentication failed")),
        }
    }

    fn proved(
        &mut self,
        mut auth: Box<Auth>,
        name: MqttString,
        before: Progress,
        out: &mut BytesMut,
    ) -> Result<Event, Violation> {
        match before {
            Progress::First { connect, .. } => {
                self.auth = Some(auth);
                self.state = State::Deciding;
                Ok(self.request(connect))
            }
            Progress::Proved { identity, .. } | Progress::Again { identity, .. } => {
                if auth.progress.identity() != Some(&identity) {
                    return Err(refused("authentication proved another identity"));
                }
                let data = auth.progress.take_data();
                self.auth = Some(auth);
                self.write_auth(ReasonCode::Success, &name, data, out);
                Ok(Event::Reauthenticated)
            }
        }
    }

    fn write_auth(
        &self,
        reason: ReasonCode,
        method: &MqttString,
        data: Option<Bytes>,
        out: &mut BytesMut,
    ) {
        let auth = AuthPacket {
            reason,
            method: Some(method.clone()),
            data,
            reason_string: None,
            user_properties: UserProperties::EMPTY,
        };
        self.write(&Packet::Auth(auth), out);
    }
}

impl Progress {
    /// Whether AUTH with that reason may come now.
    fn hear(self, reason: ReasonCode, method: &dyn AuthMethod) -> Result<Self, Violation> {
        match (self, reason) {
            (
                going @ (Self::First { .. } | Self::Again { .. }),
                ReasonCode::ContinueAuthentication,
            ) => Ok(going),
            (Self::Proved { identity, .. }, ReasonCode::ReAuthenticate) => Ok(Self::Again {
                exchange: method.begin(None),
                identity,
            }),
            (Self::First { .. } | Self::Proved { .. } | Self::Again { .. }, _) => {
                Err(Violation::protocol("AUTH with a reason that is not due"))
            }
        }
    }

    fn handle_data(&mut self, data: Option<&Bytes>) -> AuthStep {
        match self {
            Self::First { exchange, .. } | Self::Again { exchange, .. } => {
                exchange.handle_data(data)
            }
            Self::Proved { .. } => AuthStep::Refused,
        }
    }

    fn identity(&self) -> Option<&Identity> {
        match self {
            Self::First { .. } => None,
            Self::Proved { identity, .. } | Self::Again { identity, .. } => Some(identity),
        }
    }

    fn take_data(&mut self) -> Option<Bytes> {
        match self {
            Self::Proved { data, .. } => data.take(),
            Self::First { .. } | Self::Again { .. } => None,
        }
    }
}

fn refused(text: &'static str) -> Violation {
    Violation::fixed(ReasonCode::NotAuthorized, text)
}
