//! The sans-io protocol of one MQTT connection as two machines.
