//! Foreign MQTT clients: rumqttc, in 3.1.1 and in 5.

use std::collections::VecDeque;

use serde_json::Value;
use tokio::time::timeout;

use crate::dev::PATIENCE;

/// Where and as whom: an entry of the ready file.
pub(crate) struct Login {
    pub(crate) port: u16,
    pub(crate) username: String,
    pub(crate) password: String,
}

impl Login {
    pub(crate) fn of(ready: &Value, at: usize) -> Self {
        let credential = &ready["credentials"][at];
        Self {
            port: u16::try_from(ready["mqtt_port"].as_u64().unwrap()).unwrap(),
            username: credential["username"].as_str().unwrap().to_owned(),
            password: credential["password"].as_str().unwrap().to_owned(),
        }
    }
}

/// A client of MQTT 3.1.1.
pub(crate) mod v311 {
    use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, Packet, Publish, QoS};

    use super::{Login, PATIENCE, VecDeque, timeout};

    pub(crate) struct Client {
        client: AsyncClient,
        events: EventLoop,
        /// Arrived while something else was waited for.
        arrived: VecDeque<Publish>,
    }

    impl Client {
        /// Connects; `clean` is Clean Session.
        pub(crate) async fn connect(login: &Login, client_id: &str, clean: bool) -> Self {
            Self::connect_with(login, client_id, |options| {
                options.set_clean_session(clean);
            })
            .await
        }

        /// Connects for one session with a will of QoS 1.
        pub(crate) async fn connect_with_will(
            login: &Login,
            client_id: &str,
            topic: &str,
            payload: &str,
        ) -> Self {
            Self::connect_with(login, client_id, |options| {
                options.set_last_will(LastWill::new(topic, payload, QoS::AtLeastOnce, false));
            })
            .await
        }

        async fn connect_with(
            login: &Login,
            client_id: &str,
            set: impl FnOnce(&mut MqttOptions),
        ) -> Self {
            let mut options = MqttOptions::new(client_id, "127.0.0.1", login.port);
            options.set_credentials(&login.username, &login.password);
            set(&mut options);
            let (client, events) = AsyncClient::new(options, 16);
            let mut connected = Self {
                client,
                events,
                arrived: VecDeque::new(),
            };
            connected
                .until(|packet| matches!(packet, Packet::ConnAck(_)).then_some(()))
                .await;
            connected
        }

        pub(crate) async fn subscribe(&mut self, filter: &str, qos: QoS) {
            self.client.subscribe(filter, qos).await.unwrap();
            self.until(|packet| matches!(packet, Packet::SubAck(_)).then_some(()))
                .await;
        }

        /// Publishes and waits for the last packet of the exchange.
        pub(crate) async fn publish(&mut self, topic: &str, qos: QoS, retain: bool, text: &str) {
            self.client.publish(topic, qos, retain, text).await.unwrap();
            match qos {
                // Behind a subscription of its own nothing overtakes.
                QoS::AtMostOnce => self.subscribe("fence", QoS::AtMostOnce).await,
                QoS::AtLeastOnce => {
                    self.until(|packet| matches!(packet, Packet::PubAck(_)).then_some(()))
                        .await;
                }
                QoS::ExactlyOnce => {
                    self.until(|packet| matches!(packet, Packet::PubComp(_)).then_some(()))
                        .await;
                }
            }
        }

        pub(crate) async fn next(&mut self) -> Publish {
            while self.arrived.is_empty() {
                self.step().await;
            }
            self.arrived.pop_front().unwrap()
        }

        async fn until<T>(&mut self, mut wanted: impl FnMut(Packet) -> Option<T>) -> T {
            loop {
                if let Some(packet) = self.step().await
                    && let Some(found) = wanted(packet)
                {
                    return found;
                }
            }
        }

        /// Takes one event; a message goes to those that arrived.
        async fn step(&mut self) -> Option<Packet> {
            let event = timeout(PATIENCE, self.events.poll())
                .await
                .unwrap()
                .unwrap();
            if let Event::Incoming(packet) = event {
                if let Packet::Publish(publish) = packet {
                    self.arrived.push_back(publish);
                } else {
                    return Some(packet);
                }
            }
            None
        }
    }
}

/// A client of MQTT 5.
pub(crate) mod v5 {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::mqttbytes::v5::{Packet, Publish};
    use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

    use super::{Login, PATIENCE, VecDeque, timeout};

    pub(crate) struct Client {
        client: AsyncClient,
        events: EventLoop,
        /// Arrived while something else was waited for.
        arrived: VecDeque<Publish>,
    }

    impl Client {
        pub(crate) async fn connect(login: &Login, client_id: &str) -> Self {
            let mut options = MqttOptions::new(client_id, "127.0.0.1", login.port);
            options.set_credentials(&login.username, &login.password);
            let (client, events) = AsyncClient::new(options, 16);
            let mut connected = Self {
                client,
                events,
                arrived: VecDeque::new(),
            };
            connected
                .until(|packet| matches!(packet, Packet::ConnAck(_)).then_some(()))
                .await;
            connected
        }

        pub(crate) async fn subscribe(&mut self, filter: &str, qos: QoS) {
            self.client.subscribe(filter, qos).await.unwrap();
            self.until(|packet| matches!(packet, Packet::SubAck(_)).then_some(()))
                .await;
        }

        /// Publishes with `QoS` 1 and waits for its PUBACK.
        pub(crate) async fn publish(&mut self, topic: &str, text: &str) {
            self.client
                .publish(topic, QoS::AtLeastOnce, false, text.to_owned())
                .await
                .unwrap();
            self.until(|packet| matches!(packet, Packet::PubAck(_)).then_some(()))
                .await;
        }

        pub(crate) async fn next(&mut self) -> Publish {
            while self.arrived.is_empty() {
                self.step().await;
            }
            self.arrived.pop_front().unwrap()
        }

        async fn until<T>(&mut self, mut wanted: impl FnMut(Packet) -> Option<T>) -> T {
            loop {
                if let Some(packet) = self.step().await
                    && let Some(found) = wanted(packet)
                {
                    return found;
                }
            }
        }

        /// Takes one event; a message goes to those that arrived.
        async fn step(&mut self) -> Option<Packet> {
            let event = timeout(PATIENCE, self.events.poll())
                .await
                .unwrap()
                .unwrap();
            if let Event::Incoming(packet) = event {
                if let Packet::Publish(publish) = packet {
                    self.arrived.push_back(publish);
                } else {
                    return Some(packet);
                }
            }
            None
        }
    }
}
