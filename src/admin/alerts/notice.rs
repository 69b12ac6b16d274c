//! The body of a notice: one shape, documented in docs/OPERATING.md, never longer than receivers take. Pure.

use serde::Serialize;

use super::Alert;
use crate::base::clock::Timestamp;

// Each byte may become six in JSON; all of it stays under 20 kB.
const LONG: usize = 2_000;
const SHORT: usize = 300;

/// What a notice tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Open,
    Ack,
    Resolve,
    Test,
}

impl Kind {
    /// The word in `type`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Open => "alert.open",
            Self::Ack => "alert.ack",
            Self::Resolve => "alert.resolve",
            Self::Test => "alert.test",
        }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: Timestamp,
    data: &'a Alert,
}

/// The JSON of a notice.
pub(super) fn body(kind: Kind, alert: &Alert, now: Timestamp) -> String {
    let data = Alert {
        object: clip(&alert.object, SHORT),
        text: clip(&alert.text, LONG),
        mend: clip(&alert.mend, SHORT),
        acked_by: alert.acked_by.as_deref().map(|by| clip(by, SHORT)),
        ..alert.clone()
    };
    // A struct of texts and times always has a JSON.
    serde_json::to_string(&Body { kind: kind.word(), timestamp: now, data: &data }).unwrap_or_default()
}

/// What a test says instead of an alert.
pub(super) fn trial(id: String, by: &str, now: Timestamp) -> Alert {
    Alert {
        id,
        rule: "alert.test".to_owned(),
        object: "test".to_owned(),
        state: "open".to_owned(),
        text: format!("a test, asked for by {by}"),
        mend: "nothing; it only shows that alerts arrive".to_owned(),
        opened_at: now,
        acked_at: None,
        acked_by: None,
        resolved_at: None,
    }
}

fn clip(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_has_one_shape_and_stays_under_20_kb() {
        let alert = Alert { rule: "copy.late".into(), ..trial("al_1".into(), "ana", Timestamp(0)) };
        let value: serde_json::Value = serde_json::from_str(&body(Kind::Open, &alert, Timestamp(1))).unwrap();
        assert_eq!((&value["type"], &value["timestamp"]), (&"alert.open".into(), &"1970-01-01T00:00:00.001Z".into()));
        assert_eq!((&value["data"]["id"], &value["data"]["rule"]), (&"al_1".into(), &"copy.late".into()));
        assert_eq!(value.as_object().unwrap().len(), 3);
        for odd in ["\u{1}", "\u{1F6DF}", "\"", "x"] {
            let long = odd.repeat(100_000);
            let huge =
                Alert { text: long.clone(), object: long.clone(), mend: long.clone(), acked_by: Some(long), ..alert.clone() };
            assert!(body(Kind::Open, &huge, Timestamp(1)).len() < 20_000, "{odd:?}");
        }
    }
}
