#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    mfa::fuzzing::otpauth(data);
    countersign_host::fuzzing::import(data);
});
