//! libFuzzer on every decoder: what each target does.

#[path = "../../tests/support/decoders.rs"]
mod decoders;

/// Holds the decoder of this name to what is promised of it, on one body.
pub fn attack(name: &str, bytes: &[u8]) {
    let found = decoders::DECODERS.into_iter().find(|(known, _)| *known == name);
    let (_, decode) = found.unwrap_or_else(|| panic!("no decoder is called {name:?}"));
    decoders::check(name, decode, "this body", bytes);
}
