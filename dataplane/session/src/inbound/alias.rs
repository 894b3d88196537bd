//! Topic aliases that the client defines.

use bytes::Bytes;
use tessera_mqtt::{PublishTopic, ReasonCode, TopicAlias, TopicName};

use crate::refusal::Violation;

/// `names[i]` is that of alias i + 1. They end with the connection (MQTT-3.3.2-7).
#[derive(Debug, Default)]
pub(super) struct Aliases {
    names: Vec<Option<TopicName>>,
}

impl Aliases {
    /// The topic of a PUBLISH; defines or uses its alias.
    pub(super) fn resolve(
        &mut self,
        topic: PublishTopic,
        maximum: u16,
    ) -> Result<TopicName, Violation> {
        match topic {
            PublishTopic::Name(name) => Ok(name),
            PublishTopic::Define { name, alias } => {
                self.define(index(alias, maximum)?, &name);
                Ok(name)
            }
            PublishTopic::Alias(alias) => {
                let known = self.names.get(index(alias, maximum)?);
                let known = known.and_then(Option::as_ref);
                known
                    .cloned()
                    .ok_or_else(|| Violation::protocol("the topic alias is not defined"))
            }
        }
    }

    /// Copies the name, which would hold the whole read buffer.
    fn define(&mut self, index: usize, name: &TopicName) {
        if self.names.len() <= index {
            self.names.resize(index + 1, None);
        }
        if self.names[index].as_ref() != Some(name) {
            let copy = Bytes::copy_from_slice(name.as_bytes());
            self.names[index] = TopicName::try_from(copy).ok();
        }
    }
}

fn index(alias: TopicAlias, maximum: u16) -> Result<usize, Violation> {
    if alias.get() > maximum {
        let text = format!("topic alias {alias} is above the maximum of {maximum}");
        return Err(Violation::new(ReasonCode::TopicAliasInvalid, text));
    }
    Ok(usize::from(alias.get()) - 1)
}
