//! What a server advertises, without what its client cannot reach. Never adds a capability and never changes one that stays.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::json::view;
use super::message::{Incoming, replace};

/// The extension that is the same facet as `capabilities.tasks` of 2025-11-25.
const TASKS: &str = "io.modelcontextprotocol/tasks";

/// The answer to initialize or server/discover without the capabilities named; an error, or an answer without any, as it is. With `tasks`
/// the extension of 2026-07-28 goes as well.
pub fn without<'a>(incoming: &Incoming, names: impl Iterator<Item = &'a str>) -> Bytes {
    let body = incoming.body();
    let names: Vec<&str> = names.collect();
    let all = incoming.result_span().and_then(|result| view::member(body, result, "capabilities"));
    let shorter = all.and_then(|span| Some((span.clone(), shortened(body, span, &names)?)));
    shorter.map_or_else(|| body.clone(), |(span, text)| replace(body, &mut [(span, &text)]))
}

/// The object at `span` without some members, all others as written; none where nothing goes.
fn shortened(body: &[u8], span: Range<usize>, names: &[&str]) -> Option<Vec<u8>> {
    let mut kept: Vec<Cow<'_, [u8]>> = Vec::new();
    let mut is_shorter = false;
    for (key, start, value) in view::whole_members(body, span) {
        let inner = (key == "extensions" && names.contains(&"tasks")).then(|| shortened(body, value.clone(), &[TASKS])).flatten();
        is_shorter |= inner.is_some() || names.contains(&key.as_ref());
        match inner {
            Some(inner) => kept.push([body.get(start..value.start).unwrap_or_default(), &inner].concat().into()),
            None if names.contains(&key.as_ref()) => {}
            None => kept.push(body.get(start..value.end).unwrap_or_default().into()),
        }
    }
    is_shorter.then(|| [b"{".as_slice(), &kept.join(&b','), b"}"].concat())
}

#[cfg(test)]
mod tests {
    use super::super::message::parse_incoming;
    use super::*;

    fn left(result: &str, names: &[&str]) -> String {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        let incoming = parse_incoming(Bytes::from(text)).expect("a message");
        let body = without(&incoming, names.iter().copied());
        let body = String::from_utf8(body.to_vec()).expect("text");
        body.strip_prefix(r#"{"jsonrpc":"2.0","id":1,"result":"#)
            .and_then(|rest| rest.strip_suffix('}'))
            .expect("framed")
            .to_owned()
    }

    #[test]
    fn pit_28_only_what_is_named_goes_and_all_else_stays_byte_for_byte() {
        let all = r#"{ "x":1.10,"capabilities" : { "tools" : {"listChanged":true} , "prompts":{}, "resources":{"subscribe": true},"completions":{},"tasks":{"list":{}},"logging":{},"experimental":{"z":[ 1 ]}},"y":[1 , 2] }"#;
        assert_eq!(left(all, &[]), all);
        let due = r#"{ "x":1.10,"capabilities" : {"tools" : {"listChanged":true},"resources":{"subscribe": true},"logging":{},"experimental":{"z":[ 1 ]}},"y":[1 , 2] }"#;
        assert_eq!(left(all, &["prompts", "completions", "tasks"]), due);
        let none = r#"{"capabilities":{"tools":{ }}}"#;
        assert_eq!(left(none, &["prompts", "tasks"]), none);
        assert_eq!(left(r#"{"capabilities":{"prompts":{}}}"#, &["prompts"]), r#"{"capabilities":{}}"#);
        for odd in ["{}", "[]", r#"{"capabilities":[]}"#, r#"{"capabilities":{"prompts2":{"prompts":{}}}}"#] {
            assert_eq!(left(odd, &["prompts"]), odd);
        }
    }

    #[test]
    fn pit_28_tasks_go_as_an_extension_too() {
        let all = r#"{"capabilities":{"extensions":{"a/b":{"tasks":1},"io.modelcontextprotocol/tasks":{}},"tools":{}},"z":1}"#;
        assert_eq!(left(all, &["tasks", "prompts"]), r#"{"capabilities":{"extensions":{"a/b":{"tasks":1}},"tools":{}},"z":1}"#);
        let both = r#"{"capabilities":{"prompts":{},"extensions":{"io.modelcontextprotocol/tasks":{}},"tasks":{}}}"#;
        assert_eq!(left(both, &["tasks", "prompts"]), r#"{"capabilities":{"extensions":{}}}"#);
        assert_eq!(left(all, &["prompts"]), all);
    }
}
