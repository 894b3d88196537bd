//! See `tessera_mqtt_fuzz::round_trip`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tessera_mqtt_fuzz::round_trip(data));
