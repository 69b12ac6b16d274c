//! TLS 1.3 and nothing older, for both listeners and towards servers. Never accepts a certificate that its roots do not sign, pin or no pin.

mod client;
mod pair;
mod server;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use client::{Roots, client_config, handshake_in_memory, own_client_config, spki_sha256};
pub use pair::{client_pair, ends_at};
use rustls::SupportedProtocolVersion;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
pub use server::{Pair, Served, ServerTls};

use crate::base::fault::Fault;

/// A dependency may compile older versions in, so the list must be given wherever a configuration is built.
const VERSIONS: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

/// Makes aws-lc-rs the provider of the process. First thing in `main` and in tests that speak TLS; a second call does nothing.
pub fn install() {
    // It fails only when there is one already, which can only be this one.
    let _ = aws_lc_rs::default_provider().install_default();
}

fn provider() -> Arc<CryptoProvider> {
    match CryptoProvider::get_default() {
        Some(provider) => provider.clone(),
        None => Arc::new(aws_lc_rs::default_provider()),
    }
}

fn bad(error: rustls::Error, what: &str) -> Fault {
    Fault::bug(what).because(error)
}
