//! Rust SDK: the REST client and a small MQTT client.
