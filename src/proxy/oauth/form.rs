//! The form of a token request, read strictly: each parameter once (RFC 6749 section 3.2), nothing repaired. Never guesses an encoding.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::fault::OauthFault;
use crate::base::secret::Secret;

const MOST: usize = 32;

/// Parameters in order.
pub(super) struct Form(Vec<(String, Secret<String>)>);

/// 400 unless the body is declared as a form, once, and not compressed.
pub(super) fn check_type(headers: &HeaderMap) -> Result<(), OauthFault> {
    let mut kinds = headers.get_all(CONTENT_TYPE).iter();
    let kind = kinds.next().filter(|_| kinds.next().is_none()).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if headers.contains_key(CONTENT_ENCODING) || !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(OauthFault::Malformed("the body must be application/x-www-form-urlencoded"));
    }
    Ok(())
}

impl Form {
    /// Reads `a=b&c=d`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, OauthFault> {
        let wrong = || OauthFault::Malformed("the body is no form");
        let text = std::str::from_utf8(bytes).map_err(|_| wrong())?;
        let parts: Vec<&str> = text.split('&').filter(|part| !part.is_empty()).collect();
        if parts.len() > MOST {
            return Err(OauthFault::Malformed("there are too many parameters"));
        }
        let read = |part: &&str| {
            let (name, value) = part.split_once('=')?;
            Some((decode(name)?, Secret::new(decode(value)?)))
        };
        let pairs: Option<Vec<_>> = parts.iter().map(read).collect();
        Ok(Self(pairs.ok_or_else(wrong)?))
    }

    /// The value of a parameter; none when it is missing or empty (RFC 6749 section 3.2).
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, OauthFault> {
        let mut values = self.all(name);
        let value = values.next();
        if values.next().is_some() {
            return Err(OauthFault::Malformed("a parameter is there twice"));
        }
        Ok(value)
    }

    /// Every value of a parameter that is not empty.
    pub(super) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let values = self.0.iter().filter(move |(known, value)| known == name && !value.reveal().is_empty());
        values.map(|(_, value)| value.reveal().as_str())
    }
}

/// `application/x-www-form-urlencoded`; none for what nobody who encodes would write.
pub(super) fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => out.push(hex(bytes.next()?)? << 4 | hex(bytes.next()?)?),
            other => out.push(other),
        }
    }
    String::from_utf8(out).ok().filter(|text| !text.chars().any(char::is_control))
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_counts_once_and_byte_for_byte() {
        let form = Form::parse(b"grant_type=client_credentials&scope=tools%3Aread+tools:write&empty=&a=1&a=2").expect("form");
        assert_eq!(form.one("scope"), Ok(Some("tools:read tools:write")));
        assert_eq!((form.one("empty"), form.one("missing")), (Ok(None), Ok(None)));
        assert!(form.one("a").is_err());
        for odd in [&b"a"[..], b"a=%", b"a=%4", b"a=%zz", b"a=%00", b"a=%0a", b"a=\xff", "a=1&".repeat(40).as_bytes()] {
            assert!(Form::parse(odd).is_err(), "{odd:?}");
        }
    }
}
