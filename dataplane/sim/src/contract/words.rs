//! Entries in words.

use std::fmt;

use super::history::{Act, Delivery, Entry, Event, Payload, Publish};

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at.0 / 1_000_000;
        let micros = self.at.0 % 1_000_000;
        write!(f, "{seconds}.{micros:06} s ")?;
        match &self.event {
            Event::Act { who, act } => write!(
                f,
                "client {} of tenant {}, connection {}: {}",
                who.client.0,
                who.tenant.0,
                who.connection.0,
                tell_act(act)
            ),
            Event::NodeEnded { node: Some(node) } => write!(f, "node {} ends", node.0),
            Event::NodeEnded { node: None } => f.write_str("all nodes end"),
            Event::Quiet => f.write_str("quiet"),
            Event::Counted(counted) => write!(f, "the server counted {counted:?}"),
        }
    }
}

fn tell_act(act: &Act) -> String {
    match act {
        Act::Connect(ask) => {
            let start = if ask.clean_start {
                "a clean start"
            } else {
                "its session"
            };
            let will = ask.will.as_ref().map(|will| {
                let (message, delay) = (will.message.0, will.delay_seconds);
                format!(", will {message} after {delay} s")
            });
            let (expiry, will) = (ask.expiry_seconds, will.unwrap_or_default());
            format!("asks for {start}, which expires after {expiry} s{will}")
        }
        Act::Connected {
            session_present,
            epoch,
        } => {
            let session = match session_present {
                Some(true) => "is present",
                Some(false) => "is new",
                None => "may be present",
            };
            let epoch = epoch.map(|epoch| format!(", epoch {epoch}"));
            format!(
                "connected, its session {session}{}",
                epoch.unwrap_or_default()
            )
        }
        Act::Disconnect { with_will, .. } if *with_will => "disconnects with its will".to_owned(),
        Act::Disconnect { .. } => "disconnects".to_owned(),
        Act::Closed { end } => format!("closed ({end:?})"),
        Act::Subscribe { packet, filters } => {
            let filters = filters.iter();
            let filters = filters.map(|one| format!("{} at {}", one.filter, one.qos.as_u8()));
            let filters: Vec<String> = filters.collect();
            format!("subscribes to {} ({packet})", filters.join(", "))
        }
        Act::SubAck { packet, granted } => format!("SUBACK ({packet}): {granted:?}"),
        Act::Unsubscribe { packet, filters } => {
            format!("unsubscribes from {} ({packet})", filters.join(", "))
        }
        Act::UnsubAck { packet } => format!("UNSUBACK ({packet})"),
        Act::Publish(publish) => tell_publish(publish),
        Act::Published { message } => format!("message {} is acknowledged", message.0),
        Act::Refused { message } => format!("message {} is refused", message.0),
        Act::Deliver(delivery) => tell_delivery(delivery),
        Act::Dropped { count } => format!("{count} messages were dropped"),
        Act::WillFired { message } => format!("its will {} is published", message.0),
        Act::SessionExpired => "its session expires".to_owned(),
        Act::ReadRetained { topic } => format!("asks what {topic} retains"),
        Act::Retained { topic, saw } => match saw {
            Some(message) => format!("{topic} retains message {}", message.0),
            None => format!("{topic} retains nothing"),
        },
    }
}

fn tell_publish(publish: &Publish) -> String {
    let again = if publish.dup { " again" } else { "" };
    let (message, topic, qos) = (publish.message.0, &publish.topic, publish.qos.as_u8());
    let retain = if publish.retain { ", retained" } else { "" };
    let empty = if publish.is_empty { ", empty" } else { "" };
    let expiry = publish
        .expiry_seconds
        .map(|seconds| format!(", for {seconds} s"));
    let expiry = expiry.unwrap_or_default();
    let packet = tell_packet(publish.packet);
    format!("publishes{again} message {message} on {topic} at {qos}{retain}{empty}{expiry}{packet}")
}

fn tell_delivery(delivery: &Delivery) -> String {
    let message = match delivery.payload {
        Payload::Message(message) => format!("message {}", message.0),
        Payload::Empty => "an empty payload".to_owned(),
    };
    let (topic, qos) = (&delivery.topic, delivery.qos.as_u8());
    let dup = if delivery.dup { ", DUP" } else { "" };
    let retain = if delivery.retain { ", retained" } else { "" };
    let left = delivery
        .expiry_seconds
        .map(|seconds| format!(", {seconds} s left"));
    let left = left.unwrap_or_default();
    let packet = tell_packet(delivery.packet);
    format!("receives {message} on {topic} at {qos}{dup}{retain}{left}{packet}")
}

fn tell_packet(packet: Option<u16>) -> String {
    let packet = packet.map(|packet| format!(" ({packet})"));
    packet.unwrap_or_default()
}
