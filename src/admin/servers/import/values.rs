//! Placeholders such as `${input:token}` and what stands for them. Never reads the environment: what is not given stays open, and is named.

use std::collections::{BTreeMap, BTreeSet};

use super::judge;
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
    /// Placeholders that stand for a secret, where none may stand.
    pub secret: BTreeSet<String>,
}

/// Who will see a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Nobody: it is sealed.
    No,
    /// Whoever reads the plan, git or a list of processes: what is a secret by its name is not filled in.
    Yes,
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
    pub(super) fn fill(&self, text: &str, own: &[String], seen: Seen) -> Filled {
        let mut filled = Filled { text: String::new(), open: BTreeSet::new(), secret: BTreeSet::new() };
        let mut rest = text;
        while let Some((before, inner, after)) = next(rest) {
            filled.text.push_str(before);
            match self.value(inner) {
                Some(_) if seen == Seen::Yes && judge::names_secret(name_of(inner)) => {
                    filled.text.push_str(&format!("${{{inner}}}"));
                    if !own.iter().any(|name| name == inner) {
                        filled.secret.insert(format!("${{{inner}}}"));
                    }
                }
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
        let default = inner.split_once(":-").map(|(_, default)| default);
        let name = name_of(inner);
        let separator = matches!(inner, "pathSeparator" | "/").then_some("/");
        self.0.get(name).map(String::as_str).or(default).or(separator)
    }
}

// `token` of `input:token`, `env:token` and `token:-none`.
fn name_of(inner: &str) -> &str {
    let name = inner.strip_prefix("input:").or_else(|| inner.strip_prefix("env:")).unwrap_or(inner);
    name.split_once(":-").map_or(name, |(name, _)| name)
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
            let due = Filled { text: expected.into(), open: left, secret: open(&[]) };
            assert_eq!(values.fill(text, &["AUTH".into()], Seen::No), due);
        }
        let shown = values.fill("${env:HOME}/x ${input:token}", &[], Seen::Yes);
        let due = Filled { text: "/home/ana/x ${input:token}".into(), open: open(&[]), secret: open(&["${input:token}"]) };
        assert_eq!(shown, due, "what everybody sees gets no secret");

        assert_eq!(Values::read("\nx").err().and_then(|fault| fault.place).as_deref(), Some("values:2"));
    }
}
