//! Media type, encoding and what the client accepts. Never guesses a type from the body.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};

use super::super::fault::WireFault;

const JSON: &str = "application/json";
const STREAM: &str = "text/event-stream";
const USUAL: [&[u8]; 2] = [b"application/json, text/event-stream", b"application/json,text/event-stream"];

/// 415 unless the body is declared once as application/json, in any case, in UTF-8 where a charset is named.
pub fn check_content_type(headers: &HeaderMap) -> Result<(), WireFault> {
    let due = || WireFault::unsupported_media("Content-Type must be application/json");
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(due()) };
    let mut parts = value.to_str().map_err(|_| due())?.split(';');
    if !parts.next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(JSON)) {
        return Err(due());
    }
    for parameter in parts {
        let Some((name, value)) = parameter.split_once('=') else { continue };
        let is_charset = name.trim().eq_ignore_ascii_case("charset");
        if is_charset && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8") {
            return Err(WireFault::unsupported_media("the charset must be utf-8"));
        }
    }
    Ok(())
}

/// 415 for any Content-Encoding but one `identity`: what is inflated behind us would not be what was checked here.
pub fn check_content_encoding(headers: &HeaderMap) -> Result<(), WireFault> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let is_plain = match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => value.to_str().is_ok_and(|text| text.trim().eq_ignore_ascii_case("identity")),
        _ => false,
    };
    if is_plain { Ok(()) } else { Err(WireFault::unsupported_media("requests are not compressed")) }
}

/// 406 for a POST whose Accept does not allow both a JSON answer and a stream. No Accept allows everything (RFC 9110, 12.5.1).
pub fn check_accept(headers: &HeaderMap) -> Result<(), WireFault> {
    let mut values = headers.get_all(ACCEPT).iter();
    // What nearly every client sends is understood without taking it apart.
    let is_usual = values.next().is_some_and(|value| USUAL.contains(&value.as_bytes())) && values.next().is_none();
    if is_usual || (allows(headers, JSON) && allows(headers, STREAM)) {
        return Ok(());
    }
    Err(WireFault::not_acceptable("Accept must allow application/json and text/event-stream"))
}

/// 406 for a GET whose Accept does not allow a stream.
pub fn check_accept_stream(headers: &HeaderMap) -> Result<(), WireFault> {
    if allows(headers, STREAM) { Ok(()) } else { Err(WireFault::not_acceptable("Accept must allow text/event-stream")) }
}

/// The most specific range that matches decides (RFC 9110, 12.5.1); weight 0 forbids.
fn allows(headers: &HeaderMap, media: &str) -> bool {
    if !headers.contains_key(ACCEPT) {
        return true;
    }
    let best = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| rank(range, media))
        .max_by_key(|(rank, allowed)| (*rank, *allowed));
    best.is_some_and(|(_, allowed)| allowed)
}

/// How closely one media range matches, and whether its weight is above zero.
fn rank(range: &str, media: &str) -> Option<(u8, bool)> {
    let mut parts = range.split(';');
    let essence = parts.next()?.trim().to_ascii_lowercase();
    let kind = media.split('/').next()?;
    let rank = match essence.strip_suffix("/*") {
        _ if essence == media => 3,
        Some(group) if group == kind => 2,
        Some("*") => 1,
        _ => return None,
    };
    let weight = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim().to_owned())
    });
    let is_allowed = weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0));
    Some((rank, is_allowed))
}
