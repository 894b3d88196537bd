//! `tessera pub`

use std::io::Read as _;

use anyhow::Context as _;
use serde::Serialize;
use tessera_sdk::mqtt::{Client, Message, ReasonCode, RequestError, TopicName};
use tokio::task::JoinSet;

use super::mqtt_target::MqttArgs;
use crate::output::{Format, note};

/// Messages that are published ahead of their acknowledgements.
const AHEAD_MAX: usize = 64;

#[derive(Debug, clap::Args)]
pub(crate) struct PublishArgs {
    #[command(flatten)]
    mqtt: MqttArgs,
    /// Keeps it as the topic's retained message. An empty message removes what is kept.
    #[arg(short, long)]
    retain: bool,
    /// Publishes it that often, as fast as the server takes it.
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    repeat: u32,
    /// How the result is printed.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// The topic name.
    topic: String,
    /// What to say. Without it, or as -, it is read from standard input.
    #[arg(allow_hyphen_values = true)]
    message: Option<String>,
}

/// What became of the messages.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Outcome {
    sent: u32,
    /// With `QoS` 0 nothing is acknowledged: then they are on their way.
    accepted: u32,
    /// Accepted, and nobody subscribes.
    without_subscribers: u32,
    refused: u32,
    /// Why the first one was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
}

impl PublishArgs {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let topic = TopicName::try_from(self.topic.as_str())
            .with_context(|| format!("topic {:?}", self.topic))?;
        let mut message = Message::new(topic, payload(self.message.as_deref())?);
        message.qos = self.mqtt.qos();
        message.retain = self.retain;
        let connected = self.mqtt.connect(|options| options).await?;
        // Nothing is subscribed to.
        drop(connected.messages);
        let (outcome, error) = publish(&connected.client, &message, self.repeat).await;
        connected.client.disconnect().await;
        self.tell(&outcome)?;
        error.map_or(Ok(()), |error| Err(error).context("publishing"))
    }

    fn tell(&self, outcome: &Outcome) -> anyhow::Result<()> {
        match self.output {
            Format::Json => {
                crate::output::print(self.output, outcome, || crate::output::Table::new(&[]))
            }
            Format::Table => {
                note(&outcome.sentence());
                Ok(())
            }
        }
    }
}

/// Publishes it `times` times. The first refusal is returned, and the others are counted; the end of the
/// connection ends it.
async fn publish(
    client: &Client,
    message: &Message,
    times: u32,
) -> (Outcome, Option<RequestError>) {
    let (mut outcome, mut first_error) = (Outcome::default(), None);
    let mut ahead = JoinSet::new();
    while outcome.sent < times || !ahead.is_empty() {
        let has_room = ahead.len() < AHEAD_MAX && client.closed().is_none();
        if outcome.sent < times && has_room {
            let (client, message) = (client.clone(), message.clone());
            ahead.spawn(async move { client.publish(message).await });
            outcome.sent += 1;
            continue;
        }
        match ahead.join_next().await {
            Some(Ok(Ok(reason))) => outcome.accept(reason),
            Some(Ok(Err(error))) => {
                outcome.refuse(&error);
                first_error.get_or_insert(error);
            }
            // None: the connection ended before all were sent.
            Some(Err(_)) | None => break,
        }
    }
    (outcome, first_error)
}

impl Outcome {
    fn accept(&mut self, reason: ReasonCode) {
        self.accepted += 1;
        self.without_subscribers += u32::from(reason == ReasonCode::NoMatchingSubscribers);
    }

    fn refuse(&mut self, error: &RequestError) {
        self.refused += 1;
        self.refusal.get_or_insert_with(|| error.to_string());
    }

    fn sentence(&self) -> String {
        let Self {
            sent,
            accepted,
            without_subscribers,
            refused,
            ..
        } = self;
        let mut text = format!("{sent} sent, {accepted} accepted");
        if *without_subscribers > 0 {
            text += &format!(" ({without_subscribers} with nobody subscribed)");
        }
        if *refused > 0 {
            text += &format!(", {refused} refused");
        }
        text
    }
}

fn payload(message: Option<&str>) -> anyhow::Result<Vec<u8>> {
    match message {
        Some(text) if text != "-" => Ok(text.as_bytes().to_vec()),
        Some(_) | None => {
            let mut bytes = Vec::new();
            std::io::stdin()
                .lock()
                .read_to_end(&mut bytes)
                .context("reading standard input")?;
            Ok(bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outcome_is_told_in_one_sentence() {
        let mut outcome = Outcome {
            sent: 4,
            ..Outcome::default()
        };
        outcome.accept(ReasonCode::Success);
        outcome.accept(ReasonCode::NoMatchingSubscribers);
        assert_eq!(
            outcome.sentence(),
            "4 sent, 2 accepted (1 with nobody subscribed)"
        );
        let why = |text: &str| RequestError::Refused {
            reason: ReasonCode::QuotaExceeded,
            text: Some(text.to_owned()),
        };
        outcome.refuse(&why("first"));
        outcome.refuse(&why("second"));
        assert_eq!(
            outcome.sentence(),
            "4 sent, 2 accepted (1 with nobody subscribed), 2 refused"
        );
        assert_eq!(
            outcome.refusal.as_deref(),
            Some("refused: first (quota exceeded, 0x97)")
        );
    }
}
