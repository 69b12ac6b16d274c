//! Randomness, keys and tokens, TLS, sealing, passwords. One provider (aws-lc-rs) under everything; never a home-made cipher.

pub mod base32;
pub mod keys;
pub mod random;
