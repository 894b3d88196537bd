//! SUBSCRIBE and UNSUBSCRIBE: which filters are in order, and the words of the answer in each
//! version.

use bytes::BytesMut;
use tessera_mqtt::{
    FilterError, FilterSpec, Packet, ProtocolVersion, ReasonCode, SubAck, Subscribe,
    SubscribeFilter, UnsubAck, Unsubscribe,
};

use super::Inbound;
use super::event::{
    Event, RequestToken, SubscribeEntry, SubscribeOutcome, SubscribeRequest, UnsubscribeRequest,
};
use crate::refusal::{Detail, Violation};
use crate::wire;

impl Inbound {
    /// Answer a SUBSCRIBE: one outcome per entry, in their order (MQTT-3.8.4-6, MQTT-3.9.3-1). A
    /// reason that SUBACK cannot say becomes 0x80.
    ///
    /// # Errors
    /// Something was refused and the client speaks 3.1, whose SUBACK has no failure code: nothing
    /// was written, the connection must end.
    pub fn write_suback(
        &self,
        token: RequestToken,
        outcomes: &[SubscribeOutcome],
        detail: Option<&Detail>,
        out: &mut BytesMut,
    ) -> Result<(), Violation> {
        debug_assert_eq!(outcomes.len(), token.entries, "one outcome per entry");
        let refused = outcomes.iter().find_map(|outcome| outcome.err());
        let refused = refused.or_else(|| (token.excess > 0).then_some(EXCESS));
        if let (Some(reason), ProtocolVersion::V31) = (refused, self.client.version) {
            let text = "a subscription was refused, which SUBACK of 3.1 cannot say";
            return Err(Violation::fixed(reason, text));
        }
        let granted = outcomes.iter().map(|outcome| match outcome {
            Ok(qos) => ReasonCode::granted(*qos),
            Err(reason) => wire::suback_reason(*reason),
        });
        let codes = granted.chain(std::iter::repeat_n(EXCESS, token.excess));
        let (reason_string, user_properties) = self.words(detail);
        let suback = SubAck {
            packet_id: token.packet_id,
            codes: codes.collect(),
            reason_string,
            user_properties,
        };
        self.write(&Packet::SubAck(suback), out);
        Ok(())
    }

    /// Answer an UNSUBSCRIBE: one code per entry, in their order (MQTT-3.11.3-1); version 3 sends
    /// none. A reason that UNSUBACK cannot say becomes 0x80.
    pub fn write_unsuback(
        &self,
        token: RequestToken,
        codes: &[ReasonCode],
        detail: Option<&Detail>,
        out: &mut BytesMut,
    ) {
        debug_assert_eq!(codes.len(), token.entries, "one code per entry");
        let said = codes.iter().map(|code| wire::unsuback_reason(*code));
        let excess = std::iter::repeat_n(ReasonCode::UnspecifiedError, token.excess);
        let (reason_string, user_properties) = self.words(detail);
        let unsuback = UnsubAck {
            packet_id: token.packet_id,
            codes: said.chain(excess).collect(),
            reason_string,
            user_properties,
        };
        self.write(&Packet::UnsubAck(unsuback), out);
    }

    pub(super) fn handle_subscribe(&self, subscribe: Subscribe) -> Result<Event, Violation> {
        if subscribe.filters.iter().any(is_shared_without_local) {
            return Err(Violation::protocol("no local on a shared subscription"));
        }
        let token = RequestToken {
            packet_id: subscribe.packet_id,
            entries: subscribe.filters.len(),
            excess: subscribe.excess,
        };
        let has_id = subscribe.subscription_id.is_some();
        let filters = subscribe.filters.into_iter().enumerate();
        let entries = filters.map(|(index, filter)| {
            let target = self.check_filter(index, filter.spec(), has_id);
            let mut options = filter.options;
            options.qos = options.qos.min(self.limits.maximum_qos);
            SubscribeEntry {
                text: filter.text().clone(),
                target,
                options,
            }
        });
        Ok(Event::Subscribe(SubscribeRequest {
            token,
            subscription_id: subscribe.subscription_id,
            entries: entries.collect(),
        }))
    }

    pub(super) fn handle_unsubscribe(&self, unsubscribe: Unsubscribe) -> Event {
        let token = RequestToken {
            packet_id: unsubscribe.packet_id,
            entries: unsubscribe.filters.len(),
            excess: unsubscribe.excess,
        };
        let entries = unsubscribe
            .filters
            .iter()
            .map(|filter| match filter.spec() {
                Ok(spec) => Ok(spec.clone()),
                Err(_) => Err(ReasonCode::TopicFilterInvalid),
            });
        Event::Unsubscribe(UnsubscribeRequest {
            token,
            entries: entries.collect(),
        })
    }

    /// Whether a filter may be subscribed to, as far as the protocol and the grants of CONNACK go.
    fn check_filter(
        &self,
        index: usize,
        spec: Result<&FilterSpec, FilterError>,
        has_id: bool,
    ) -> Result<FilterSpec, ReasonCode> {
        let limits = &self.limits;
        if index >= limits.filters_per_packet_max {
            return Err(EXCESS);
        }
        let spec = spec.map_err(|_| ReasonCode::TopicFilterInvalid)?;
        if spec.is_shared() && !limits.shared_available {
            return Err(ReasonCode::SharedSubscriptionsNotSupported);
        }
        if spec.filter.has_wildcard() && !limits.wildcards_available {
            return Err(ReasonCode::WildcardSubscriptionsNotSupported);
        }
        if has_id && !limits.subscription_ids_available {
            return Err(ReasonCode::SubscriptionIdentifiersNotSupported);
        }
        if spec.filter.levels().nth(limits.topic_levels_max).is_some()
            || spec.filter.as_bytes().len() > limits.topic_bytes_max
        {
            return Err(ReasonCode::TopicFilterInvalid);
        }
        Ok(spec.clone())
    }
}

/// What filters past the bound are answered.
const EXCESS: ReasonCode = ReasonCode::QuotaExceeded;

fn is_shared_without_local(filter: &SubscribeFilter) -> bool {
    filter.options.no_local && filter.spec().is_ok_and(FilterSpec::is_shared)
}
