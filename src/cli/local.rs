//! Commands about this host and its files that need no running Lifeboat: `tls csr`, `trust install`, `trust remove`. Never prints a key.

use serde_json::json;

use super::args::{TlsCommand, TrustCommand};
use super::out::{self, Voice};
use crate::app::{self, Trust};
use crate::base::fault::{Fault, Verb};
use crate::config::paths::DataDir;

const DONE: u8 = 0;

/// `tls …`.
pub(super) fn tls(data: &DataDir, command: &TlsCommand, voice: Voice) -> Verb<u8> {
    let TlsCommand::Csr = command;
    let made = app::signing_request(data)?;
    match voice {
        Voice::Json => out::say(&json!({"csr": made.pem, "hosts": made.hosts, "key": made.key}).to_string()),
        // Nothing else: it is piped into a file or to an authority.
        Voice::Text => out::say(made.pem.trim_end()),
    }
    Ok(DONE)
}

/// `trust …`.
pub(super) fn trust(data: &DataDir, command: &TrustCommand, voice: Voice) -> Verb<u8> {
    let done = match command {
        TrustCommand::Install => app::trust_install(data)?,
        TrustCommand::Remove => app::trust_remove(data)?,
    };
    match voice {
        Voice::Json => {
            let text = serde_json::to_string(&done);
            out::say(&text.map_err(|cause| Fault::bug("an answer that cannot be written").because(cause))?);
        }
        Voice::Text => out::say(&text(&done)),
    }
    Ok(DONE)
}

fn text(done: &Trust) -> String {
    let did = if done.did.is_empty() { "nothing to do".to_owned() } else { done.did.join("\n") };
    format!("{did}\nca sha256: {}\n{}", done.ca_sha256, done.elsewhere)
}
