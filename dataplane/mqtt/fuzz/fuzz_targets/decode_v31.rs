//! See `tessera_mqtt_fuzz::decode_v31`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tessera_mqtt_fuzz::decode_v31(data));
