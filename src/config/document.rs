//! One TOML file: read into its type with every fault and its line, and written back. Never checks what the values mean.

use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigFault;
use crate::base::fault::{Fault, Verb};

/// Enough faults of one file to work with; what follows is rarely more than an echo.
const MAX_FAULTS: usize = 50;

/// A file as it was parsed; finds the line of a key for those who check the meaning.
#[derive(Debug)]
pub(super) struct Document<'a> {
    file: &'a str,
    text: &'a str,
    root: Spanned<DeTable<'a>>,
}

impl<'a> Document<'a> {
    /// Parses the text. All faults of syntax are reported.
    pub(super) fn parse(file: &'a str, bytes: &'a [u8]) -> Result<Self, Vec<ConfigFault>> {
        let text = std::str::from_utf8(bytes).map_err(|e| {
            let line = line_at(bytes, e.valid_up_to());
            vec![ConfigFault { file: file.to_owned(), line, message: "the file is not UTF-8".into() }]
        })?;
        let (root, errors) = DeTable::parse_recoverable(text);
        let document = Self { file, text, root };
        if errors.is_empty() {
            return Ok(document);
        }
        Err(errors.iter().take(MAX_FAULTS).map(|e| document.fault(e.span(), e.message())).collect())
    }

    /// Reads the document as `T`. A reader stops at the first thing it does not understand, so that is taken out and the rest read again,
    /// until nothing wrong is left: every unknown key and wrong type is reported.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Vec<ConfigFault>> {
        let mut rest = self.root.clone();
        let mut faults = Vec::new();
        let mut removed: Vec<String> = Vec::new();
        loop {
            let error = match T::deserialize(toml::Deserializer::from(rest.clone())) {
                Ok(value) if faults.is_empty() => return Ok(value),
                Ok(_) => return Err(faults),
                Err(error) => error,
            };
            // What is missing because it was taken out a moment ago has been reported already.
            let echo = removed.iter().any(|key| error.message() == format!("missing field `{key}`"));
            if !echo {
                faults.push(self.fault(error.span(), error.message()));
            }
            let taken = error.span().and_then(|span| take_out(rest.get_mut(), &span));
            match taken {
                Some(key) if faults.len() < MAX_FAULTS => removed.push(key),
                _ => return Err(faults),
            }
        }
    }

    /// A fault at the key that `path` leads to, or at the deepest part of it that is there. Numbers lead into arrays.
    pub(super) fn at(&self, path: &[&str], message: impl Into<String>) -> ConfigFault {
        let mut span = None;
        let mut here: Option<&DeValue<'_>> = None;
        for (depth, step) in path.iter().enumerate() {
            let table = if depth == 0 { Some(self.root.get_ref()) } else { here.and_then(DeValue::as_table) };
            let found = match table {
                Some(table) => {
                    table.iter().find(|(key, _)| key.get_ref() == step).map(|(key, value)| (key.span(), value.get_ref()))
                }
                None => item(here, step),
            };
            let Some((at, value)) = found else { break };
            span = Some(at);
            here = Some(value);
        }
        self.fault(span, message)
    }

    fn fault(&self, span: Option<Range<usize>>, message: impl Into<String>) -> ConfigFault {
        let line = span.map_or(0, |span| line_at(self.text.as_bytes(), span.start));
        let message = message.into().trim_end().replace('\n', "; ");
        ConfigFault { file: self.file.to_owned(), line, message }
    }
}

fn item<'a, 'i>(here: Option<&'a DeValue<'i>>, step: &str) -> Option<(Range<usize>, &'a DeValue<'i>)> {
    let item = here?.as_array()?.get(step.parse::<usize>().ok()?)?;
    Some((item.span(), item.get_ref()))
}

fn line_at(bytes: &[u8], at: usize) -> usize {
    bytes.iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

fn holds(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end && inner.start < outer.end
}

/// Takes the innermost key out whose name or value spans `span`; an entry of an array goes as a whole. Gives the key's name.
fn take_out(table: &mut DeTable<'_>, span: &Range<usize>) -> Option<String> {
    let mut target = None;
    for (key, value) in table.iter_mut() {
        if key.span() == *span {
            target = Some(key.clone());
            break;
        }
        let inside = take_out_of_value(value.get_mut(), span);
        if inside.is_some() {
            return inside;
        }
        if holds(&value.span(), span) {
            target = Some(key.clone());
            break;
        }
    }
    let key = target?;
    let name = key.get_ref().to_string();
    table.remove(&key).map(|_| name)
}

fn take_out_of_value(value: &mut DeValue<'_>, span: &Range<usize>) -> Option<String> {
    match value {
        DeValue::Table(table) => take_out(table, span),
        DeValue::Array(items) => items.iter_mut().find_map(|item| take_out_of_value(item.get_mut(), span)),
        _ => None,
    }
}

/// A section as the text of its file.
///
/// # Errors
/// `Bug` when the section cannot be written as TOML.
pub(super) fn write<T: Serialize>(section: &T) -> Verb<String> {
    toml::to_string_pretty(section).map_err(|e| Fault::bug("a section cannot be written as TOML").because(e))
}
