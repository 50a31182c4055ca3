#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| countersign_plugin_api::fuzzing::abi(data));
