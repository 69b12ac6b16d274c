//! The hash chain: what makes a ledger line provable. Pure bytes in, bytes out; never touches a file.
//!
//! The byte rule. A line is the JSON of one event whose last two fields are `prev` and `hash`, both 64 lower-case hex digits.
//! `hash` is SHA-256 over `"lifeboat-audit-v1\n"`, the 64 digits of `prev`, `"\n"`, and the stored bytes of the line without
//! `,"hash":"…"` (so: everything up to there, then `}`). A verifier takes these bytes as they stand; it never writes JSON anew.
//! The first event's `prev` is 64 zeros.

use aws_lc_rs::digest::{Context, SHA256};

use super::event::Event;

/// `prev` of the first event.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

const DOMAIN: &[u8] = b"lifeboat-audit-v1\n";
const DIGITS: usize = 64;
const PREV_KEY: &[u8] = b",\"prev\":\"";
const HASH_KEY: &[u8] = b",\"hash\":\"";
const END: &[u8] = b"\"}";
// `,"hash":"` + 64 digits + `"}`
const HASH_TAIL: usize = HASH_KEY.len() + DIGITS + END.len();
// `,"prev":"` + 64 digits + `"`
const PREV_TAIL: usize = PREV_KEY.len() + DIGITS + 1;

/// Where the chain ends: the position and hash of its last event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Position of the last event; 0 before the first.
    pub seq: u64,
    /// Its hash; `GENESIS` before the first.
    pub hash: String,
}

impl Head {
    /// The head of an empty ledger.
    pub fn genesis() -> Self {
        Self { seq: 0, hash: GENESIS.to_owned() }
    }
}

/// The fields of a stored line that the chain is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    /// Position.
    pub seq: u64,
    /// Hash of the event before.
    pub prev: &'a str,
    /// Hash of this event as the line states it.
    pub hash: &'a str,
}

impl Link<'_> {
    /// The head after this line.
    pub fn head(&self) -> Head {
        Head { seq: self.seq, hash: self.hash.to_owned() }
    }
}

/// Why a line is not the next of its chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It is not a ledger line at all.
    #[error("the line is no ledger line")]
    Shape,
    /// Its hash does not fit its bytes.
    #[error("the line was changed")]
    Hash,
    /// It does not follow the line before it.
    #[error("a line is missing, moved or inserted before it")]
    Order,
}

/// Gives `event` its place after `head` (seq, prev, hash), appends its line with the line feed to `out` and returns the new head.
///
/// # Errors
/// When the event cannot be written as JSON; `out` is then as it was.
pub fn seal(event: &mut Event, head: &Head, out: &mut Vec<u8>) -> Result<Head, serde_json::Error> {
    event.seq = head.seq + 1;
    event.prev.clone_from(&head.hash);
    event.hash.clear();
    let mut line = serde_json::to_string(event)?;
    // The empty hash stands last: `,"hash":""}`.
    line.truncate(line.len() - HASH_KEY.len() - END.len());
    let line = escape(line);
    event.hash = digest(&head.hash, line.as_bytes());
    out.extend_from_slice(line.as_bytes());
    out.extend_from_slice(HASH_KEY);
    out.extend_from_slice(event.hash.as_bytes());
    out.extend_from_slice(END);
    out.push(b'\n');
    Ok(Head { seq: event.seq, hash: event.hash.clone() })
}

/// Reads the chain's fields off a stored line (without its line feed); `None` when it is no ledger line.
pub fn link(line: &[u8]) -> Option<Link<'_>> {
    let body = line.len().checked_sub(HASH_TAIL)?;
    let (front, tail) = line.split_at(body);
    let hash = hex_digits(tail.strip_prefix(HASH_KEY)?.strip_suffix(END)?)?;
    let (front, tail) = front.split_at(body.checked_sub(PREV_TAIL)?);
    let prev = hex_digits(tail.strip_prefix(PREV_KEY)?.strip_suffix(b"\"")?)?;
    let rest = front.strip_prefix(b"{\"seq\":")?;
    let end = rest.iter().position(|b| !b.is_ascii_digit())?;
    let digits = rest.get(..end)?;
    if digits.first() == Some(&b'0') || !rest.get(end..)?.starts_with(b",\"ts\":\"") {
        return None;
    }
    let seq = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(Link { seq, prev, hash })
}

/// Checks that a stored line has the hash it states.
///
/// # Errors
/// `Shape` or `Hash`.
pub fn check(line: &[u8]) -> Result<Link<'_>, Broken> {
    let link = link(line).ok_or(Broken::Shape)?;
    let body = line.get(..line.len() - HASH_TAIL).ok_or(Broken::Shape)?;
    if digest(link.prev, body) == link.hash { Ok(link) } else { Err(Broken::Hash) }
}

/// Checks that a stored line is the one that follows `head`.
///
/// # Errors
/// What is wrong with it.
pub fn follow<'a>(line: &'a [u8], head: &Head) -> Result<Link<'a>, Broken> {
    let link = check(line)?;
    if link.seq == head.seq + 1 && link.prev == head.hash { Ok(link) } else { Err(Broken::Order) }
}

// `body` lacks its closing brace, which belongs to the hashed bytes.
fn digest(prev: &str, body: &[u8]) -> String {
    let mut context = Context::new(&SHA256);
    context.update(DOMAIN);
    context.update(prev.as_bytes());
    context.update(b"\n");
    context.update(body);
    context.update(b"}");
    hex(context.finish().as_ref())
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGIT: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGIT[usize::from(byte >> 4)]));
        out.push(char::from(DIGIT[usize::from(byte & 15)]));
    }
    out
}

fn hex_digits(bytes: &[u8]) -> Option<&str> {
    let fits = bytes.len() == DIGITS && bytes.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    fits.then(|| std::str::from_utf8(bytes).ok()).flatten()
}

// JSON leaves these as they are, but a terminal or a line-splitting tool acts on them: DEL, C1 controls (one of them begins ANSI
// sequences), line and paragraph separators, and what turns the direction of text.
fn is_treacherous(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn escape(line: String) -> String {
    use std::fmt::Write;
    if !line.bytes().any(|b| b >= 0x7f) || !line.chars().any(is_treacherous) {
        return line;
    }
    let mut out = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        if is_treacherous(c) {
            // Writing to a String does not fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_lines() -> (Vec<u8>, Vec<u8>) {
        let mut out = Vec::new();
        let head = seal(&mut Event::system("serve", "a"), &Head::genesis(), &mut out).unwrap();
        let first = out.clone();
        out.clear();
        seal(&mut Event { client: Some("c".into()), ..Event::of("call") }, &head, &mut out).unwrap();
        (first, out)
    }

    #[test]
    fn a_sealed_line_follows_and_parses_back() {
        let (first, second) = two_lines();
        let head = follow(&first[..first.len() - 1], &Head::genesis()).unwrap().head();
        assert_eq!(head.seq, 1);
        let link = follow(&second[..second.len() - 1], &head).unwrap();
        let event: Event = serde_json::from_slice(&second).unwrap();
        assert_eq!((event.seq, event.prev.as_str(), event.hash.as_str()), (2, link.prev, link.hash));
    }

    #[test]
    fn any_changed_byte_is_found() {
        let (first, _) = two_lines();
        let line = &first[..first.len() - 1];
        for at in 0..line.len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut forged = line.to_vec();
                forged[at] ^= flip;
                assert!(follow(&forged, &Head::genesis()).is_err(), "byte {at}");
            }
        }
    }

    #[test]
    fn atk_p47_nothing_a_client_sends_can_end_or_fake_a_line() {
        let evil = "\n{\"fake\":1}\r\u{1b}[2J\u{9b}31m\u{2028}\u{2029}\u{202e}\"\\\u{0}\u{feff}";
        let mut out = Vec::new();
        let mut event = Event { tool: Some(evil.into()), ..Event::of("call") };
        seal(&mut event, &Head::genesis(), &mut out).unwrap();
        assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
        let text = std::str::from_utf8(&out).unwrap().trim_end_matches('\n');
        assert!(!text.chars().any(|c| c.is_control() || is_treacherous(c)));
        let back: Event = serde_json::from_str(text).unwrap();
        assert_eq!(back.tool.as_deref(), Some(evil));
        assert!(follow(text.as_bytes(), &Head::genesis()).is_ok());
    }
}
