//! `evidence verify`: whether a signed report is as it was signed. Needs nothing but the report and a public key, and never believes the key that
//! the report itself names.

use serde_json::{Value, json};

use super::args::EvidenceCommand;
use super::order::file;
use super::out::{self, Voice};
use super::rebuild::trusted;
use crate::admin::credentials::proof;
use crate::admin::drills::check_report;
use crate::admin::vaults::key_text;
use crate::audit::PublicKey;
use crate::base::fault::{Fault, Verb};
use crate::config::paths::DataDir;

const DONE: u8 = 0;
const CHECK_FAILED: u8 = 2;

/// Checks, and says what does not fit.
pub(super) fn evidence(data: &DataDir, command: &EvidenceCommand, voice: Voice) -> Verb<u8> {
    let EvidenceCommand::Verify { file: path, trust } = command;
    let key = match trust {
        Some(text) => trusted(text)?,
        None => trusted(&file(&data.instance_pub())?)?,
    };
    let place = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|cause| Fault::invalid(place.clone(), "cannot be read").because(cause))?;
    let (document, kind, checked) = checked(&bytes, &place, &key);
    let answer = answer(&document, &kind, &checked, &key_text(&key));
    match voice {
        Voice::Json => out::say(&answer.to_string()),
        Voice::Text => out::say(&out::text(&answer)),
    }
    Ok(if checked.is_ok() { DONE } else { CHECK_FAILED })
}

/// What stands in a file, what kind of report it is, and whether it is as it was signed. One that was cut or holds a strange byte may be no JSON any more:
/// that is a report which was changed, too.
fn checked(bytes: &[u8], place: &str, key: &PublicKey) -> (Value, Value, Verb<String>) {
    let document: Value = match serde_json::from_slice(bytes) {
        Ok(document) => document,
        Err(cause) => return (Value::Null, Value::Null, Err(Fault::invalid(place, format!("{place} is no JSON: {cause}")))),
    };
    match proof::check(&document, key) {
        Some(checked) => (document.clone(), document["kind"].clone(), checked),
        None => (document.clone(), json!("drill"), check_report(&document, key)),
    }
}

/// `ok` is about the signature; what the report says stands beside it, and only when it is as it was signed.
fn answer(document: &Value, kind: &Value, checked: &Verb<String>, signed_by: &str) -> Value {
    match checked {
        Ok(sha256) => json!({"ok": true, "kind": kind, "passed": document["passed"], "summary": document["summary"],
            "sha256": sha256, "signed_by": signed_by, "fault": null}),
        Err(fault) => json!({"ok": false, "kind": null, "passed": null, "summary": null,
            "sha256": null, "signed_by": null, "fault": fault.message}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rec_24_a_file_that_is_no_json_any_more_is_a_report_that_was_changed() {
        let key = trusted("ed25519/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        for bytes in [&b""[..], b"{\"kind\":\"drill\"", b"{\"summary\":\"\xff\"}", b"{}"] {
            let (document, kind, checked) = checked(bytes, "report.json", &key);
            let said = answer(&document, &kind, &checked, "ed25519/x");
            assert_eq!((checked.is_err(), &said["ok"]), (true, &json!(false)), "{said}");
        }
    }

    #[test]
    fn a_report_of_what_failed_says_so_and_one_that_was_changed_says_nothing() {
        let report = json!({"passed": false, "summary": "two steps failed"});
        let good = answer(&report, &json!("drill"), &Ok("ab".to_owned()), "ed25519/x");
        assert_eq!((&good["ok"], &good["passed"], &good["kind"]), (&json!(true), &json!(false), &json!("drill")));
        assert!(out::text(&good).contains("passed: false") && out::text(&good).contains("summary: two steps failed"));
        let changed = answer(&report, &json!("drill"), &Err(Fault::invalid("report", "was changed")), "ed25519/x");
        assert_eq!((&changed["ok"], &changed["passed"], &changed["summary"]), (&json!(false), &Value::Null, &Value::Null));
    }
}
