#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| blamed_fuzz::attack("sentry_store", bytes));
