//! What the values of `servers/NAME.toml` must mean. Never resolves a name and never opens a file.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;

use super::check::is_host;
use super::document::Document;
use super::server::{HttpUpstream, StdioUpstream};
use super::{ConfigFault, ServerConfig, UpstreamConfig};
use crate::base::clock::Timestamp;

pub(super) fn server(document: &Document<'_>, server: &ServerConfig, faults: &mut Vec<ConfigFault>) {
    match &server.upstream {
        UpstreamConfig::Http(upstream) => http(document, upstream, faults),
        UpstreamConfig::Stdio(upstream) => stdio(document, upstream, faults),
    }
    for tool in server.tools.keys() {
        if let Err(message) = check_tool_name(tool) {
            faults.push(document.at(&["tools", tool], message));
        }
    }
}

/// A tool's name as servers give it: 1 to 128 printable characters without a slash.
///
/// # Errors
/// A sentence that says what a name may be made of.
pub fn check_tool_name(name: &str) -> Result<(), &'static str> {
    // Invisible and direction-changing characters make two tools look alike.
    let hidden =
        |c: char| matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let fits = (1..=128).contains(&name.len()) && !name.chars().any(|c| c.is_control() || c == '/' || hidden(c));
    // Grants name what is no tool as `server/@resources` and so on (docs/decisions/0002-facets.md).
    if fits && name.trim() == name && !name.starts_with('@') {
        Ok(())
    } else {
        Err("a tool's name is 1 to 128 bytes of printable characters without '/' and does not begin with '@'")
    }
}

fn http(document: &Document<'_>, upstream: &HttpUpstream, faults: &mut Vec<ConfigFault>) {
    let at = |key: &str, message: &str| document.at(&["upstream", "http", key], message);
    if let Err(message) = check_url(upstream) {
        faults.push(at("url", message));
    }
    for (index, pin) in upstream.pins.iter().enumerate() {
        if decode_pin(pin).is_none() {
            let path = ["upstream", "http", "pins", &index.to_string()];
            faults.push(document.at(&path, "a pin is sha256/ and the base64 of 32 bytes"));
        }
    }
    for (index, range) in upstream.allow_addresses.iter().enumerate() {
        if !is_cidr(range) {
            let path = ["upstream", "http", "allow_addresses", &index.to_string()];
            faults.push(document.at(&path, "an address range is written 10.1.0.0/16 or fd00::/8"));
        }
    }
    if upstream.ca.as_ref().is_some_and(|pem| !pem.contains("-----BEGIN CERTIFICATE-----")) {
        faults.push(at("ca", "must be a certificate in PEM"));
    }
    if upstream.ca.as_ref().is_some_and(|pem| pem.contains("PRIVATE KEY")) {
        faults.push(at("ca", "holds a private key; the configuration never holds a secret"));
    }
    for (index, name) in upstream.secret_headers.iter().enumerate() {
        if http::HeaderName::try_from(name.as_str()).is_err() || name.to_ascii_lowercase() != *name {
            let path = ["upstream", "http", "secret_headers", &index.to_string()];
            faults.push(document.at(&path, "must be the name of a header in lower case; its value is kept on each host"));
        }
    }
    waiver(document, upstream, faults);
}

/// The longest a waiver may be given for is not limited, but it must name a day and a reason: what nobody has to look at again stays for ever.
fn waiver(document: &Document<'_>, upstream: &HttpUpstream, faults: &mut Vec<ConfigFault>) {
    let mut must = |holds: bool, key: &str, message: &str| {
        if !holds {
            faults.push(document.at(&["upstream", "http", key], message));
        }
    };
    let reason = upstream.tls12_reason.as_deref().unwrap_or_default().trim();
    match &upstream.tls12_until {
        Some(_) => {
            must(upstream.tls12_ends().is_some(), "tls12_until", "must be a day such as 2026-12-31");
            must(!reason.is_empty(), "tls12_until", "needs tls12_reason: why TLS 1.2 is borne with until then");
        }
        None => must(upstream.tls12_reason.is_none(), "tls12_reason", "needs tls12_until, the last day of TLS 1.2"),
    }
    must(upstream.tls12_until.is_none() || upstream.url.starts_with("https:"), "tls12_until", "means nothing without https");
    must(!upstream.client_certificate || upstream.url.starts_with("https:"), "client_certificate", "means nothing without https");
}

fn check_url(upstream: &HttpUpstream) -> Result<(), &'static str> {
    const SHAPE: &str = "must be a whole URL such as https://tools.example.com/mcp";
    if upstream.url.contains('#') {
        return Err("must have no fragment (#…)");
    }
    let uri: Uri = upstream.url.parse().map_err(|_| SHAPE)?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(SHAPE) };
    if authority.as_str().contains('@') {
        return Err("must carry no user or password; give them with --header-file");
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    if !is_host(&host) || authority.port().is_none() && authority.as_str().ends_with(':') {
        return Err(SHAPE);
    }
    match scheme {
        "https" => Ok(()),
        "http" if !upstream.plain_loopback => Err("must be https; http needs a loopback address and plain_loopback = true"),
        "http" if !is_loopback(&host) => Err("plain_loopback allows http on a loopback address only"),
        "http" => Ok(()),
        _ => Err("must be https"),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn decode_pin(pin: &str) -> Option<[u8; 32]> {
    STANDARD.decode(pin.strip_prefix("sha256/")?).ok()?.try_into().ok()
}

pub(super) fn is_cidr(range: &str) -> bool {
    let Some((address, bits)) = range.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.bytes().all(|b| b.is_ascii_digit()) && bits.parse::<u8>().is_ok_and(|bits| bits <= most)
}

impl HttpUpstream {
    /// The pins as digests of SubjectPublicKeyInfo; what is no pin is left out, but `Desired::read` refuses such a file.
    pub fn pin_digests(&self) -> Vec<[u8; 32]> {
        self.pins.iter().filter_map(|pin| decode_pin(pin)).collect()
    }

    /// The moment the waiver for TLS 1.2 ends: the end of its last day. `None` without a waiver.
    pub fn tls12_ends(&self) -> Option<Timestamp> {
        let day = self.tls12_until.as_deref().filter(|day| day.len() == 10)?;
        Some(Timestamp::parse(&format!("{day}T00:00:00Z"))?.plus_ms(24 * 60 * 60 * 1_000))
    }
}

fn stdio(document: &Document<'_>, upstream: &StdioUpstream, faults: &mut Vec<ConfigFault>) {
    let mut must = |holds: bool, key: &[&str], message: &str| {
        if !holds {
            let path: Vec<&str> = ["upstream", "stdio"].iter().chain(key).copied().collect();
            faults.push(document.at(&path, message));
        }
    };
    must(upstream.command.first().is_some_and(|program| !program.trim().is_empty()), &["command"], "must name a program");
    must(!upstream.command.iter().any(|word| word.contains('\0')), &["command"], "must hold no NUL character");
    must((1..=1_000).contains(&upstream.max_instances), &["max_instances"], "must be between 1 and 1000");
    must((1..=604_800).contains(&upstream.idle_seconds), &["idle_seconds"], "must be between 1 and 604800");
    for (name, value) in &upstream.env {
        let fits = !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0');
        must(fits, &["env", name], "is no environment variable");
    }
    for (index, name) in upstream.secret_env.iter().enumerate() {
        let fits = !name.is_empty() && !name.contains(['=', '\0']);
        must(fits, &["secret_env", &index.to_string()], "must be the name of a variable; its value is kept on each host");
    }
    for (index, dir) in upstream.dirs.iter().enumerate() {
        let fits = dir.starts_with('/') && !dir.split('/').any(|part| part == "..");
        must(fits, &["dirs", &index.to_string()], "must be an absolute path without '..'");
    }
}
