//! Takes out of what a server says of itself, and out of the prose of its definitions, everything that it was sent as a secret: it may answer with what it was shown, whole, in part or written in
//! another way, and what it says goes to the ledger, the log and viewers.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::Value;

use crate::base::fault::Fault;
use crate::policy::feed::{Probed, ToolSeen};
use crate::policy::snapshot::ServerSecrets;

/// What stands in its place.
const DOTS: &str = "•••";
/// A piece of a value that is this long is taken out as well: what a server says of itself is cut.
const PIECE: usize = 12;
/// A shorter value would blacken half of every text.
const SHORTEST: usize = 4;
/// The same in the prose of a definition: a shorter value is a word of it.
const SHORTEST_TOLD: usize = 8;
/// Fields of a definition that hold prose.
const PROSE: [&str; 3] = ["description", "title", "$comment"];

/// Values that must not be repeated, in every way they may be written in.
pub(super) struct Mask {
    forms: Vec<Vec<char>>,
    /// Where a piece of a form may begin, by its first character: definitions are megabytes.
    heads: HashMap<char, Vec<(usize, usize)>>,
}

impl Mask {
    /// Every secret of some sets.
    pub(super) fn of<'a>(sets: impl IntoIterator<Item = &'a ServerSecrets>) -> Self {
        let values = sets.into_iter().flat_map(|set| {
            let pairs = set.headers.iter().chain(&set.env).map(|(_, value)| value);
            pairs.chain(&set.client).map(|value| value.reveal().as_str())
        });
        let mut forms: Vec<Vec<char>> = values.flat_map(forms).map(|form| form.chars().collect()).collect();
        forms.sort_unstable();
        forms.dedup();
        let mut heads: HashMap<_, Vec<_>> = HashMap::new();
        for (at, form) in forms.iter().enumerate() {
            for start in 0..=form.len() - PIECE.min(form.len()) {
                if let Some(head) = form.get(start) {
                    heads.entry(*head).or_default().push((at, start));
                }
            }
        }
        Self { forms, heads }
    }

    /// A text without them.
    pub(super) fn text(&self, text: &str) -> String {
        self.without(text, 0)
    }

    /// A text without those that are at least so long.
    fn without(&self, text: &str, least: usize) -> String {
        let all: Vec<char> = text.chars().collect();
        let (mut left, mut at) = (String::with_capacity(text.len()), 0);
        while at < all.len() {
            match self.found(&all[at..], least) {
                Some(found) => {
                    left.push_str(DOTS);
                    at += found;
                }
                None => {
                    left.push(all[at]);
                    at += 1;
                }
            }
        }
        left
    }

    /// How much of the beginning of a text is a value, or a piece of one that is long enough: of several the longest, so that none is left over because
    /// a part of it was taken out.
    fn found(&self, text: &[char], least: usize) -> Option<usize> {
        let candidates = self.heads.get(text.first()?)?;
        let common = |(at, start): &(usize, usize)| {
            let form = &self.forms[*at];
            let same = text.iter().zip(&form[*start..]).take_while(|(one, other)| one == other).count();
            (form.len() >= least && same >= PIECE.min(form.len())).then_some(same)
        };
        candidates.iter().filter_map(common).max()
    }

    /// What a look saw, without them.
    pub(super) fn probed(&self, probed: Probed) -> Probed {
        let tools = probed.tools.into_iter();
        let tools = tools.map(|tool| ToolSeen { definition: self.definition(tool.definition), ..tool });
        Probed {
            server_info: self.text(&probed.server_info),
            protocol: self.text(&probed.protocol),
            tools: tools.collect(),
            ..probed
        }
    }

    /// A definition without them in its prose, which goes to git as well; byte for byte what it was where there is none in it.
    fn definition(&self, definition: String) -> String {
        let Ok(value) = serde_json::from_str::<Value>(&definition) else { return definition };
        // What JSON escapes is read first: a value is compared with values.
        let masked = self.value(&value);
        if masked == value { definition } else { masked.to_string() }
    }

    /// What is said in prose, at any depth. Names, types and bounds decide what calls are asked, and stay what they are.
    fn value(&self, value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Value::Object(fields) => {
                let masked = |(field, value): (&String, &Value)| {
                    let is_prose = PROSE.contains(&field.as_str()) && value.is_string();
                    let value = if is_prose { self.prose(value) } else { self.value(value) };
                    (field.clone(), value)
                };
                fields.iter().map(masked).collect()
            }
            other => other.clone(),
        }
    }

    fn prose(&self, value: &Value) -> Value {
        value.as_str().map_or(Value::Null, |text| Value::String(self.without(text, SHORTEST_TOLD)))
    }

    /// Why a look failed, without them.
    pub(super) fn fault(&self, fault: Fault) -> Fault {
        Fault { message: self.text(&fault.message), ..fault }
    }
}

/// A value as it is, its words (a header may hold a scheme before it), and each in base64 and percent-encoded.
fn forms(value: &str) -> Vec<String> {
    let words = value.split_whitespace().filter(|word| *word != value && word.len() >= 2 * SHORTEST);
    let plain: Vec<&str> = std::iter::once(value.trim()).chain(words).filter(|text| text.len() >= SHORTEST).collect();
    let written = |text: &&str| {
        let percent = text.bytes().map(|byte| match byte {
            b'-' | b'_' | b'~' | b'.' => char::from(byte).to_string(),
            byte if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        });
        let percent: String = percent.collect();
        let base64 = |text: String| text.trim_end_matches('=').to_owned();
        [(*text).to_owned(), percent.to_lowercase(), percent, base64(STANDARD.encode(*text)), base64(URL_SAFE.encode(*text))]
    };
    plain.iter().flat_map(written).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::Secret;

    fn mask(values: &[&str]) -> Mask {
        let env = values.iter().map(|value| ("A".to_owned(), Secret::new((*value).to_owned()))).collect();
        Mask::of([&ServerSecrets { env, ..ServerSecrets::default() }])
    }

    #[test]
    fn a_secret_is_taken_out_however_it_is_written() {
        let (old, new) = ("Bearer old-s3cret/value+1", "Bearer new-s3cret/value+2");
        let mask = mask(&[old, new]);
        for text in [
            old.to_owned(),
            new.to_owned(),
            "new-s3cret/value+2".to_owned(),
            STANDARD.encode(new),
            URL_SAFE.encode("old-s3cret/value+1"),
            "new-s3cret%2Fvalue%2B2".to_owned(),
            "new-s3cret%2fvalue%2b2".to_owned(),
            // Cut, as what a server says of itself is.
            "Bearer new-s3cret/v".to_owned(),
        ] {
            let masked = mask.text(&format!("echo {text} 1.0"));
            assert!(masked.starts_with("echo") && masked.contains("•••") && masked.ends_with(" 1.0"), "{text}: {masked}");
            assert!(!masked.contains("s3cret") && masked.len() < 30, "{text}: {masked}");
        }
        assert_eq!(mask.text("notes 1.0 (Bearer token)"), "notes 1.0 (Bearer token)");
        let fault = mask.fault(Fault::unavailable(format!("it said: {old}")));
        assert_eq!(fault.message, "it said: •••");
    }

    fn seen(mask: &Mask, definition: &str) -> (String, String) {
        let tools =
            vec![ToolSeen { name: "inventory_list".into(), class: crate::config::Class::Read, definition: definition.into() }];
        let mut probed = mask.probed(Probed { tools, ..Probed::default() });
        let tool = probed.tools.remove(0);
        (tool.name, tool.definition)
    }

    #[test]
    fn the_prose_of_a_definition_repeats_no_secret() {
        let mask = mask(&["pa\"ss\\wörd-123"]);
        let plain = r#"{ "name": "add",  "description": "a password is asked for" }"#;
        assert_eq!(seen(&mask, plain).1, plain, "byte for byte");
        let echo = r#"{"name":"add","description":"uses pa\"ss\\w\u00f6rd-123","inputSchema":{"properties":{"a":{"title":"pa\"ss\\wörd-123!"}}}}"#;
        let value: Value = serde_json::from_str(&seen(&mask, echo).1).unwrap();
        assert_eq!((value["name"].as_str(), value["description"].as_str()), (Some("add"), Some("uses •••")));
        assert_eq!(value["inputSchema"]["properties"]["a"]["title"], "•••!");
    }

    #[test]
    fn what_a_definition_asks_of_calls_stays_whatever_the_secrets_are() {
        let mask = mask(&["inventory", "readonly", "10000000", "customer_records"]);
        let asks = r#"{"name":"inventory_list","description":"lists","inputSchema":{"type":"object","properties":{"readonly":{"type":"boolean"},
            "customer_records":{"maximum":10000000,"enum":["inventory"]},"description":{"type":"string"}},"required":["readonly"]}}"#;
        assert_eq!(seen(&mask, asks), ("inventory_list".to_owned(), asks.to_owned()));
    }

    #[test]
    fn what_is_too_short_to_be_a_secret_blackens_nothing() {
        assert_eq!(mask(&["", "1", "abc"]).text("abc 1.0"), "abc 1.0");
        assert_eq!(mask(&["abcd"]).text("x abcd"), "x •••");
        assert_eq!(mask(&["密码一"]).text("x 密码一 1.0"), "x ••• 1.0", "twelve bytes");
    }
}
