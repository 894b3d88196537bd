//! `tessera sub`

use std::io::{self, Write as _};

use anyhow::{Context as _, bail};
use serde::Serialize;
use tessera_sdk::mqtt::{Closed, Message};
use tessera_tenancy::encode_hex;

use super::mqtt_target::MqttArgs;
use crate::output::{Format, note};

#[derive(Debug, clap::Args)]
pub(crate) struct SubscribeArgs {
    #[command(flatten)]
    mqtt: MqttArgs,
    /// Ends after that many messages.
    #[arg(long, value_name = "MESSAGES")]
    count: Option<u64>,
    /// Keeps the session, and what arrives meanwhile, for so many seconds after the end, and resumes it.
    /// Needs a client identifier.
    #[arg(long, value_name = "SECONDS", requires = "client_id")]
    session: Option<u32>,
    /// How messages are printed: topic and payload, or a JSON object a line.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Topic filters, for example sensors/+/temp or '#'.
    #[arg(required = true)]
    filters: Vec<String>,
}

/// A message as a line of JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    topic: &'a str,
    /// If it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a str>,
    /// If it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_hex: Option<String>,
    qos: u8,
    retain: bool,
}

impl SubscribeArgs {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let session = self.session;
        let mut connected = self
            .mqtt
            .connect(|options| match session {
                Some(seconds) => options.persistent_session(seconds),
                None => options,
            })
            .await?;
        for filter in &self.filters {
            let subscribed = connected.client.subscribe(filter, self.mqtt.qos()).await;
            let granted = subscribed
                .with_context(|| format!("subscribing to {filter}"))?
                .as_u8();
            note(&format!("subscribed to {filter} with QoS {granted}"));
        }
        let mut left = self.count;
        while left != Some(0) {
            let received = tokio::select! {
                received = connected.messages.next() => received,
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted.context("listening for Ctrl-C")?;
                    break;
                }
            };
            let Some(received) = received else {
                bail!(
                    connected
                        .messages
                        .closed()
                        .cloned()
                        .unwrap_or(Closed::WithoutWord)
                );
            };
            self.print(&received.message)?;
            left = left.map(|left| left - 1);
        }
        connected.client.disconnect().await;
        Ok(())
    }

    fn print(&self, message: &Message) -> io::Result<()> {
        let mut line = match self.output {
            Format::Json => serde_json::to_vec(&Line::of(message))?,
            Format::Table => [message.topic.as_bytes(), b" ", &message.payload].concat(),
        };
        line.push(b'\n');
        // Whoever reads this through a pipe wants each message at once.
        let mut out = io::stdout().lock();
        out.write_all(&line).and_then(|()| out.flush())
    }
}

impl<'a> Line<'a> {
    fn of(message: &'a Message) -> Self {
        let payload = std::str::from_utf8(&message.payload).ok();
        Line {
            topic: message.topic.as_str(),
            payload,
            payload_hex: payload.is_none().then(|| encode_hex(&message.payload)),
            qos: message.qos.as_u8(),
            retain: message.retain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_sdk::mqtt::TopicName;

    #[test]
    fn a_payload_is_text_where_it_is_text() {
        let line = |payload: &'static [u8]| {
            let message = Message::new(TopicName::try_from("a/b").unwrap(), payload);
            serde_json::to_string(&Line::of(&message)).unwrap()
        };
        let text = r#"{"topic":"a/b","payload":"21.5","qos":0,"retain":false}"#;
        assert_eq!(line(b"21.5"), text);
        let bytes = r#"{"topic":"a/b","payload_hex":"ff00","qos":0,"retain":false}"#;
        assert_eq!(line(&[0xff, 0]), bytes);
    }
}
