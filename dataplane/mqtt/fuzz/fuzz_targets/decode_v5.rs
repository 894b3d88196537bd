//! See `tessera_mqtt_fuzz::decode_v5`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tessera_mqtt_fuzz::decode_v5(data));
