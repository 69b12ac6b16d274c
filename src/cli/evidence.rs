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
    let document: Value =
        serde_json::from_str(&file(path)?).map_err(|cause| Fault::invalid(place, format!("is no JSON: {cause}")))?;
    let checked = proof::check(&document, &key).unwrap_or_else(|| check_report(&document, &key));
    let answer = match &checked {
        Ok(sha256) => json!({"ok": true, "sha256": sha256, "signed_by": key_text(&key), "fault": null}),
        Err(fault) => json!({"ok": false, "sha256": null, "signed_by": null, "fault": fault.message}),
    };
    match voice {
        Voice::Json => out::say(&answer.to_string()),
        Voice::Text => out::say(&out::text(&answer)),
    }
    Ok(if checked.is_ok() { DONE } else { CHECK_FAILED })
}
