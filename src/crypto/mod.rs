//! Randomness, keys and tokens, TLS, sealing, passwords, archives. One provider (aws-lc-rs) under everything; never a home-made cipher.

pub mod archive;
pub mod base32;
pub mod ca;
pub mod files;
pub mod jwk;
pub mod jwt;
pub mod keys;
pub mod password;
pub mod random;
pub mod recovery;
pub mod scram;
pub mod seal;
pub mod tls;
pub mod totp;
pub mod webhook;
