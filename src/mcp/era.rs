//! Which era a message speaks: the stateless revision 2026-07-28, or one of those with a handshake before it. Never guesses: header and
//! body must agree, because official servers pick the era by one or the other.

use http::HeaderMap;

use super::fault::WireFault;
use super::headers::single;
use super::message::{Kind, Message};

pub const MODERN_VERSION: &str = "2026-07-28";
/// Newest first. The oldest is here as a version only; its HTTP+SSE transport is not served.
pub const LEGACY_VERSIONS: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
/// What a legacy request without version header and without session speaks (2025-06-18, basic/transports).
pub const LEGACY_DEFAULT: &str = "2025-03-26";

pub const VERSION_HEADER: &str = "mcp-protocol-version";
pub const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// 2026-07-28: one POST per message, no session.
    Modern,
    /// Handshake and session; the version of the header, none where there was no header.
    Legacy { version: Option<&'static str> },
}

impl Era {
    pub fn is_modern(self) -> bool {
        matches!(self, Self::Modern)
    }

    /// The revision as written; the default of the specification where a legacy request names none.
    pub fn version(self) -> &'static str {
        match self {
            Self::Modern => MODERN_VERSION,
            Self::Legacy { version } => version.unwrap_or(LEGACY_DEFAULT),
        }
    }
}

/// Every revision served, newest first.
pub fn supported() -> impl Iterator<Item = &'static str> {
    std::iter::once(MODERN_VERSION).chain(LEGACY_VERSIONS)
}

/// The era of a request without body (GET, DELETE): by its header alone.
pub fn era_of_header(headers: &HeaderMap) -> Result<Era, WireFault> {
    match single(headers, VERSION_HEADER)? {
        None => Ok(Era::Legacy { version: None }),
        Some(MODERN_VERSION) => Ok(Era::Modern),
        Some(other) => legacy(other),
    }
}

/// The era of a POST. 400: -32020 where header and body disagree, -32022 for a version not served, -32602 where a modern request carries
/// no version in `_meta` (2026-07-28, basic/transports/streamable-http and basic/versioning).
pub fn era_of(headers: &HeaderMap, message: &Message) -> Result<Era, WireFault> {
    decide(headers, message).map_err(|fault| fault.with_id(message.id_raw()))
}

fn decide(headers: &HeaderMap, message: &Message) -> Result<Era, WireFault> {
    let header = single(headers, VERSION_HEADER)?;
    match (header, message.meta_version()) {
        (None, None) => Ok(Era::Legacy { version: None }),
        (None, Some(_)) => {
            Err(WireFault::header_mismatch("the body names a protocol version, the header MCP-Protocol-Version none"))
        }
        (Some(header), Some(body)) if header != body => {
            Err(WireFault::header_mismatch("MCP-Protocol-Version differs from the version in params._meta"))
        }
        (Some(MODERN_VERSION), Some(_)) => Ok(Era::Modern),
        (Some(other), Some(_)) => Err(WireFault::unsupported_version(other)),
        (Some(MODERN_VERSION), None) => match message.kind() {
            Kind::Request => Err(WireFault::missing_meta(META_VERSION)),
            // Only requests must carry the version (2026-07-28, basic/index), and nothing is executed for a notification.
            Kind::Notification => Ok(Era::Modern),
            Kind::Response => Err(WireFault::invalid_request("a client sends no responses in this revision")),
        },
        (Some(other), None) => legacy(other),
    }
}

fn legacy(version: &str) -> Result<Era, WireFault> {
    let known = LEGACY_VERSIONS.into_iter().find(|known| *known == version);
    known.map(|version| Era::Legacy { version: Some(version) }).ok_or_else(|| WireFault::unsupported_version(version))
}
