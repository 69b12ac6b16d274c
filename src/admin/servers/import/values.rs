//! Placeholders such as `${input:token}` and what stands for them. Never reads the environment: what is not given stays open, and is named.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::fault::{Fault, Verb};

/// What was given for placeholders, by name. Holds secrets and never prints itself.
#[derive(Default)]
pub(super) struct Values(BTreeMap<String, String>);

/// A text after filling.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Filled {
    /// The text.
    pub text: String,
    /// Placeholders that nothing was given for, as they stand.
    pub open: BTreeSet<String>,
}

impl Values {
    /// Reads one `NAME=value` a line. `NAME` is what stands in the placeholder: `token` for `${input:token}`, `HOME` for `${env:HOME}`.
    ///
    /// # Errors
    /// `Invalid` with the line.
    pub(super) fn read(text: &str) -> Verb<Self> {
        let mut values = BTreeMap::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.trim().starts_with('#')) {
            let Some((name, value)) = line.split_once('=') else {
                return Err(Fault::invalid(format!("values:{}", index + 1), "a value is written NAME=value"));
            };
            values.insert(name.trim().to_owned(), value.to_owned());
        }
        Ok(Self(values))
    }

    /// Fills what it can. `own` are names that the program itself fills in from its own variables; they stay as they are.
    pub(super) fn fill(&self, text: &str, own: &[String]) -> Filled {
        let mut filled = Filled { text: String::new(), open: BTreeSet::new() };
        let mut rest = text;
        while let Some((before, inner, after)) = next(rest) {
            filled.text.push_str(before);
            match self.value(inner) {
                Some(value) => filled.text.push_str(value),
                None => {
                    filled.text.push_str(&format!("${{{inner}}}"));
                    if !own.iter().any(|name| name == inner) {
                        filled.open.insert(format!("${{{inner}}}"));
                    }
                }
            }
            rest = after;
        }
        filled.text.push_str(rest);
        filled
    }

    fn value<'a>(&'a self, inner: &'a str) -> Option<&'a str> {
        let name = inner.strip_prefix("input:").or_else(|| inner.strip_prefix("env:")).unwrap_or(inner);
        let (name, default) = name.split_once(":-").map_or((name, None), |(name, default)| (name, Some(default)));
        let separator = matches!(inner, "pathSeparator" | "/").then_some("/");
        self.0.get(name).map(String::as_str).or(default).or(separator)
    }
}

// What stands before the next placeholder, in it and behind it.
fn next(text: &str) -> Option<(&str, &str, &str)> {
    let begin = text.find("${")?;
    let end = begin + text[begin..].find('}')?;
    Some((&text[..begin], &text[begin + 2..end], &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_or_named() {
        let values = Values::read("# mine\ntoken=a=b\nHOME=/home/ana\n").expect("values");
        let open = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        for (text, expected, left) in [
            ("Bearer ${input:token}", "Bearer a=b", open(&[])),
            ("${env:HOME}/x${pathSeparator}y", "/home/ana/x/y", open(&[])),
            ("${PORT:-80} ${MODE}", "80 ${MODE}", open(&["${MODE}"])),
            ("${workspaceFolder}/a", "${workspaceFolder}/a", open(&["${workspaceFolder}"])),
            ("Authorization:${AUTH}", "Authorization:${AUTH}", open(&[])),
            ("a ${ b", "a ${ b", open(&[])),
            ("$HOME", "$HOME", open(&[])),
        ] {
            assert_eq!(values.fill(text, &["AUTH".into()]), Filled { text: expected.into(), open: left });
        }
        assert_eq!(Values::read("\nx").err().and_then(|fault| fault.place).as_deref(), Some("values:2"));
    }
}
