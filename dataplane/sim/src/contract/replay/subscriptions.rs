//! SUBSCRIBE and UNSUBSCRIBE, and their answers.

use std::sync::Arc;

use tessera_mqtt::Qos;

use super::Replay;
use crate::contract::facts::{Key, Sub};
use crate::contract::history::{Connection, Moment, Subscription};
use crate::contract::matching::group;

impl Replay<'_> {
    pub(super) fn subscribe(
        &mut self,
        moment: Moment,
        key: Key,
        packet: (Connection, u16),
        filters: &[Subscription],
    ) {
        let asked = filters
            .iter()
            .map(|filter| self.subscribe_one(moment, key, filter))
            .collect();
        self.client(key).asked.insert(packet, asked);
    }

    /// A subscription that is asked for again as it stands goes on.
    fn subscribe_one(&mut self, moment: Moment, key: Key, filter: &Subscription) -> usize {
        let state = self.client(key);
        let (is_persistent, session) = (state.expiry.0 > 0, state.number);
        let subs = &mut self.facts.subs;
        let state = self.clients.entry(key).or_default();
        for at in &state.subs {
            let Some(sub) = subs.get_mut(*at) else {
                continue;
            };
            if sub.filter != filter.filter {
                continue;
            }
            let is_same = sub.granted == filter.qos
                && sub.no_local == filter.no_local
                && sub.retain_as_published == filter.retain_as_published;
            if is_same && sub.maybe_gone.is_none() {
                return *at;
            }
            sub.maybe_gone.get_or_insert(moment);
        }
        let at = subs.len();
        subs.push(Sub {
            key,
            session,
            filter: Arc::clone(&filter.filter),
            group: group(&filter.filter),
            no_local: filter.no_local,
            retain_as_published: filter.retain_as_published,
            invoked: moment,
            acked: None,
            granted: filter.qos,
            is_persistent,
            maybe_gone: None,
            surely_gone: None,
            leaving: None,
            unsubscribed: None,
        });
        state.subs.push(at);
        self.facts.subs_of.entry(key).or_default().push(at);
        at
    }

    pub(super) fn suback(
        &mut self,
        moment: Moment,
        key: Key,
        packet: (Connection, u16),
        granted: &[Option<Qos>],
    ) {
        let Some(asked) = self.client(key).asked.remove(&packet) else {
            return self.nonsense(moment, "a SUBACK without a SUBSCRIBE");
        };
        let is_overtaken = self.client(key).asking != Some(packet.0);
        let is_excused = is_overtaken && self.facts.rules.overtaken_may_subscribe;
        for (at, granted) in asked.into_iter().zip(granted) {
            let Some(sub) = self.facts.subs.get_mut(at) else {
                continue;
            };
            match granted {
                Some(granted) => {
                    sub.granted = *granted;
                    sub.acked.get_or_insert(moment);
                    let filter = Arc::clone(&sub.filter);
                    self.replace_former(moment, key, &filter, at);
                }
                None if sub.acked.is_none() && !is_excused => {
                    sub.maybe_gone.get_or_insert(moment);
                    sub.surely_gone = Some(moment);
                    self.client(key).subs.retain(|one| *one != at);
                }
                None => {
                    sub.maybe_gone.get_or_insert(moment);
                }
            }
        }
    }

    /// A subscription has taken the place of the former ones of the same filter.
    fn replace_former(&mut self, moment: Moment, key: Key, filter: &str, by: usize) {
        let subs = &mut self.facts.subs;
        let state = self.clients.entry(key).or_default();
        state.subs.retain(|at| {
            let Some(sub) = subs.get_mut(*at) else {
                return false;
            };
            let is_former = *at < by && &*sub.filter == filter;
            if is_former {
                sub.surely_gone = Some(moment);
            }
            !is_former
        });
    }

    pub(super) fn unsubscribe(
        &mut self,
        moment: Moment,
        key: Key,
        packet: (Connection, u16),
        filters: &[Arc<str>],
    ) {
        let mut asked = Vec::new();
        for at in self.client(key).subs.clone() {
            let Some(sub) = self.facts.subs.get_mut(at) else {
                continue;
            };
            if filters.contains(&sub.filter) {
                sub.leaving = Some(moment);
                sub.maybe_gone.get_or_insert(moment);
                asked.push(at);
            }
        }
        self.client(key).asked.insert(packet, asked);
    }

    pub(super) fn unsuback(&mut self, moment: Moment, key: Key, packet: (Connection, u16)) {
        let Some(asked) = self.client(key).asked.remove(&packet) else {
            return self.nonsense(moment, "an UNSUBACK without an UNSUBSCRIBE");
        };
        self.client(key).subs.retain(|at| !asked.contains(at));
        for at in asked {
            if let Some(sub) = self.facts.subs.get_mut(at) {
                sub.surely_gone = Some(moment);
                sub.unsubscribed = Some(moment);
            }
        }
    }
}
