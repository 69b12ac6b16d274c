//! `Mcp-Param-…` against the arguments, as the tool's input schema declares them with `x-mcp-header`. Never looks at undeclared ones.

use http::HeaderMap;

use super::super::fault::WireFault;
use super::super::json::view;
use super::mirror::decode;
use super::{number, single};

/// 400 -32020 unless each declared header repeats its argument. `declared` pairs the suffix behind `Mcp-Param-` with the property: a name,
/// or a JSON pointer (RFC 6901) for a nested one. `arguments` is the object as written. An argument that is absent or null has no header.
pub fn check_params(headers: &HeaderMap, arguments: Option<&[u8]>, declared: &[(String, String)]) -> Result<(), WireFault> {
    for (suffix, property) in declared {
        let name = format!("mcp-param-{}", suffix.to_ascii_lowercase());
        let header = single(headers, &name)?.map(decode).transpose()?;
        let argument = arguments.and_then(|arguments| find(arguments, property)).filter(|raw| *raw != b"null");
        let is_equal = match (&header, argument) {
            (None, None) => true,
            (Some(header), Some(argument)) => same(header, argument),
            _ => false,
        };
        if !is_equal {
            return Err(WireFault::header_mismatch(format_args!("Mcp-Param-{suffix} differs from its argument")));
        }
    }
    Ok(())
}

fn find<'a>(arguments: &'a [u8], property: &str) -> Option<&'a [u8]> {
    let mut span = view::root(arguments);
    match property.strip_prefix('/') {
        None => span = view::member(arguments, span, property)?,
        Some(pointer) => {
            for step in pointer.split('/') {
                let key = step.replace("~1", "/").replace("~0", "~");
                span = view::member(arguments, span, &key)?;
            }
        }
    }
    arguments.get(span)
}

/// Strings byte for byte, numbers by value, booleans as words; an object or array has no header form.
fn same(header: &str, argument: &[u8]) -> bool {
    match argument.first() {
        Some(b'"') => view::string(argument, 0..argument.len()).is_some_and(|text| text == header),
        Some(b't' | b'f') => argument == header.as_bytes(),
        Some(b'-' | b'0'..=b'9') => std::str::from_utf8(argument).is_ok_and(|text| number::equal(text, header)),
        _ => false,
    }
}
