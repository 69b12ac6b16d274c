//! What a step saw, as an operator reads it: the evidence of a rotation, fact by fact, in words. Pure; it leaves out only what is null and the bytes of certificates, and adds nothing.

use serde_json::{Map, Value};

use crate::admin::shell::sentence;
use crate::base::clock::Timestamp;
use crate::web::human;

/// One fact: what it is about, empty for a whole sentence, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// `Refused`.
    pub about: String,
    /// `lbc_k7q2… at listener main (HTTP 401)`.
    pub seen: String,
}

/// Words for what the fields of evidence are called; all others read as they are.
const ABOUT: [(&str, &str); 23] = [
    ("accepted", "Accepted"),
    ("answer", "It answered"),
    ("answered_as", "Answered as"),
    ("called", "Called"),
    ("discarded", "New version discarded"),
    ("expires_at", "Ends by itself"),
    ("for", "Waits for"),
    ("forced", "By order"),
    ("id", "Its name there"),
    ("kid", "Key"),
    ("listeners", "At work"),
    ("ms", "Milliseconds"),
    ("not_after", "Valid until"),
    ("not_called", "Not called"),
    ("old", "Old one"),
    ("new", "New one"),
    ("orphans", "Ended from tries before"),
    ("overlap", "While both counted"),
    ("window", "While both counted"),
    ("rejected", "Refused"),
    ("tools", "Tools listed"),
    ("until", "Looked at again"),
    ("version", "New version"),
];

/// The evidence of a step, fact by fact. What a step did and what was seen of it afterwards stand in one list.
pub(super) fn told(evidence: &Value, now: Timestamp) -> Vec<Fact> {
    let mut facts = Vec::new();
    gather(evidence, now, &mut facts);
    // What was done and what was seen of it may be the same.
    let mut once = Vec::with_capacity(facts.len());
    for fact in facts {
        if !once.contains(&fact) {
            once.push(fact);
        }
    }
    once
}

fn gather(evidence: &Value, now: Timestamp, facts: &mut Vec<Fact>) {
    let Value::Object(fields) = evidence else {
        return facts.extend(value(evidence, now).map(|seen| Fact { about: String::new(), seen }));
    };
    for (field, seen) in fields {
        match (field.as_str(), seen) {
            ("said" | "why", Value::String(text)) => facts.push(Fact { about: String::new(), seen: sentence(text) }),
            ("done" | "seen" | "facts", Value::Object(_)) => gather(seen, now, facts),
            ("class", Value::String(class)) => facts.push(Fact { about: "Cause".to_owned(), seen: cause(class) }),
            _ => facts.extend(value(seen, now).map(|seen| Fact { about: about(field), seen })),
        }
    }
}

fn about(field: &str) -> String {
    let known = ABOUT.iter().find(|(name, _)| *name == field);
    known.map_or_else(|| sentence(&plain(field)).trim_end_matches('.').to_owned(), |(_, word)| (*word).to_owned())
}

/// `activated_at` is when it was `activated`.
fn plain(field: &str) -> String {
    field.strip_suffix("_at").unwrap_or(field).replace('_', " ")
}

/// Words for what was seen; nothing for what was not.
fn value(seen: &Value, now: Timestamp) -> Option<String> {
    match seen {
        Value::Null => None,
        Value::Bool(true) => Some("yes".to_owned()),
        Value::Bool(false) => Some("no".to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) if text.is_empty() => Some("empty".to_owned()),
        Value::Array(all) if all.is_empty() => Some("none".to_owned()),
        Value::String(text) if text.starts_with("-----BEGIN ") => Some(pem(text)),
        Value::String(text) => Some(Timestamp::parse(text).map_or_else(|| text.clone(), |at| moment(at, now))),
        Value::Array(all) => {
            let apart = if all.iter().any(Value::is_object) { "; " } else { ", " };
            let all: Vec<String> = all.iter().filter_map(|one| value(one, now)).collect();
            (!all.is_empty()).then(|| all.join(apart))
        }
        Value::Object(fields) => Some(answer(fields).unwrap_or_else(|| listed(fields, now))),
    }
}

/// How one listener answered to one key: refused or let in, or what could be done with it there.
fn answer(fields: &Map<String, Value>) -> Option<String> {
    let text = |field: &str| fields.get(field).and_then(Value::as_str);
    let number = |field: &str| fields.get(field).and_then(Value::as_u64);
    let listener = text("listener")?;
    if let (Some(kid), Some(status)) = (text("kid"), number("status")) {
        return Some(format!("{kid} at listener {listener} (HTTP {status})"));
    }
    let mut said = format!("at listener {listener}, {} of {} listed", human::plural(number("tools")?, "tool"), text("server")?);
    if let Some(called) = text("called") {
        said.push_str(&format!(", {called} called"));
    }
    if let Some(why) = text("not_called") {
        said.push_str(&format!(", nothing called ({why})"));
    }
    if let Some(token) = fields.get("token").and_then(Value::as_object) {
        let seconds = token.get("expires_in").and_then(Value::as_u64).unwrap_or_default();
        said.push_str(&format!(", with a token of {seconds} s"));
    }
    Some(said)
}

/// What a long text of base64 is; its bytes are in the ledger.
fn pem(text: &str) -> String {
    let kind = text.trim_start_matches('-').trim_start_matches("BEGIN ").split("-----").next().unwrap_or_default();
    format!("{} (PEM, {})", kind.to_lowercase(), human::plural(text.lines().count() as u64, "line"))
}

fn listed(fields: &Map<String, Value>, now: Timestamp) -> String {
    let named = |(field, seen): (&String, &Value)| Some(format!("{} {}", plain(field), value(seen, now)?));
    fields.iter().filter_map(named).collect::<Vec<_>>().join(", ")
}

fn moment(at: Timestamp, now: Timestamp) -> String {
    format!("{} {} UTC", human::day(at, now), human::clock(at))
}

/// What follows from a class of failure.
fn cause(class: &str) -> String {
    match class {
        "transient" => "may pass: it is tried again by itself".to_owned(),
        "permanent" => "somebody has to change something".to_owned(),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(evidence: &Value) -> Vec<String> {
        let now = Timestamp::parse("2026-11-22T03:14:02.008Z").unwrap();
        told(evidence, now).into_iter().map(|fact| format!("{}|{}", fact.about, fact.seen)).collect()
    }

    #[test]
    fn what_listeners_answered_is_a_line_for_each_side() {
        let seen = json!({
            "accepted": [{"kid": "lbc_new", "listener": "main", "status": 200}],
            "rejected": [{"kid": "lbc_old", "listener": "main", "status": 401}, {"kid": "lbc_old", "listener": "inner", "status": 401}],
        });
        assert_eq!(
            lines(&seen),
            [
                "Accepted|lbc_new at listener main (HTTP 200)",
                "Refused|lbc_old at listener main (HTTP 401); lbc_old at listener inner (HTTP 401)"
            ]
        );
    }

    #[test]
    fn what_was_done_and_what_was_seen_of_it_stand_in_one_list() {
        let both = json!({"done": {"written": ["a.pem", "b.key"]}, "seen": {"said": "the old one signs nothing any more"}});
        assert_eq!(lines(&both), ["Written|a.pem, b.key", "|The old one signs nothing any more."]);
        let made = json!({"version": "lbc_x", "facts": {"created_at": "2026-11-22T03:14:02.008Z", "expires_at": null}});
        assert_eq!(lines(&made), ["Created|22 Nov 03:14:02 UTC", "New version|lbc_x"]);
    }

    #[test]
    fn what_could_be_done_is_a_sentence_and_nothing_stands_twice() {
        let seen = json!({"listeners": [{"listener": "main", "server": "demo", "tools": 7, "called": "demo/read_graph"}]});
        assert_eq!(lines(&seen), ["At work|at listener main, 7 tools of demo listed, demo/read_graph called"]);
        let with_token = json!({"listeners": [{"listener": "main", "server": "demo", "tools": 1, "not_called": "kill.class",
            "token": {"scope": "demo", "expires_in": 600}}]});
        assert_eq!(
            lines(&with_token),
            ["At work|at listener main, 1 tool of demo listed, nothing called (kill.class), with a token of 600 s"]
        );
        assert_eq!(lines(&json!({"done": {"kid": "a"}, "seen": {"kid": "a"}})), ["Key|a"]);
        let pem = json!({"certificate": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"});
        assert_eq!(lines(&pem), ["Certificate|certificate (PEM, 3 lines)"]);
    }

    #[test]
    fn a_failure_says_why_and_what_follows() {
        let failed = json!({"why": "listener main answers 503", "class": "transient", "attempt": 2, "discarded": false});
        let told = lines(&failed);
        assert!(told.contains(&"|Listener main answers 503.".to_owned()), "{told:?}");
        assert!(told.contains(&"Cause|may pass: it is tried again by itself".to_owned()), "{told:?}");
    }

    #[test]
    fn unknown_fields_read_as_they_are_and_nothing_is_left_out() {
        let odd = json!({"signing_requests": 3, "overlap": {"old": [{"kid": "a", "accepted": 4}], "new": null}, "empty": null});
        assert_eq!(lines(&odd), ["While both counted|old accepted 4, kid a", "Signing requests|3"]);
        assert_eq!(lines(&json!({"rejected": [], "overlap": null})), ["Refused|none"]);
        assert_eq!(lines(&Value::Null), Vec::<String>::new());
        assert_eq!(lines(&json!("just words")), ["|just words"]);
    }
}
