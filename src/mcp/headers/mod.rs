//! The headers of the wire: media types, and the mirror of the body that 2026-07-28 asks for. Never trusts a header over the body: both
//! must say the same.

use http::HeaderMap;

use super::fault::WireFault;

mod content;
mod mirror;
mod number;
mod params;

pub use content::{check_accept, check_accept_stream, check_content_encoding, check_content_type};
pub use mirror::check_mirror;
pub use params::check_params;

/// The one value of a header without the white space around it; none where it is absent. 400 -32020 where it is repeated or not visible
/// ASCII.
pub fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, WireFault> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(WireFault::header_mismatch(format_args!("{name} more than once")));
    }
    let text = value.to_str().map_err(|_| WireFault::header_mismatch(format_args!("{name} is not visible ASCII")))?;
    Ok(Some(text.trim_matches([' ', '\t'])))
}
