//! The report of a drill: signed, chained to the one before, and kept as it was signed. Never changed afterwards.

use serde_json::Value;

use super::model::{Drill, Signed};
use super::store::{self, Ended};
use crate::admin::actor::Right;
use crate::admin::{Actor, Admin, vaults};
use crate::audit::PublicKey;
use crate::base::fault::{Fault, Verb};
use crate::crypto::archive::hex;
use crate::crypto::keys::sha256;

const DOMAIN: &str = "lifeboat-drill-v1\n";

fn canonical(drill: &Drill) -> Verb<String> {
    let value = serde_json::to_value(drill).map_err(|e| Fault::bug("a report cannot be written").because(e))?;
    Ok(vaults::sidecar::canonical(&value))
}

/// SHA-256 of a report as it is signed, hex.
///
/// # Errors
/// `Bug` when it cannot be written.
pub(super) fn digest(drill: &Drill) -> Verb<String> {
    Ok(hex(&sha256(canonical(drill)?.as_bytes())))
}

/// What is signed: the report's digest and that of the one before.
fn text(sha256: &str, prev: Option<&str>) -> String {
    format!("{DOMAIN}{sha256}\n{}\n", prev.unwrap_or_default())
}

/// Signs and stores a report.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn keep(admin: &Admin, drill: &Drill) -> Verb<()> {
    let (report, sha256, prev) = (canonical(drill)?, digest(drill)?, store::last(&admin.db).await?);
    let signature = vaults::sign(admin, &text(&sha256, prev.as_deref()));
    let ms = |seconds: f64| {
        std::time::Duration::try_from_secs_f64(seconds).map_or(0, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
    };
    let ended = Ended {
        id: &drill.id,
        at: drill.ended_at,
        passed: drill.passed,
        rto_ms: ms(drill.rto_seconds),
        rpo_ms: ms(drill.rpo_seconds),
        report: &report,
        sha256: &sha256,
        prev: prev.as_deref(),
        signature: &signature,
    };
    store::end(&admin.db, &ended).await
}

/// One drill's report with its proof.
///
/// # Errors
/// `NotFound` when there is none.
pub async fn show(admin: &Admin, actor: &Actor, id: &str) -> Verb<Signed> {
    actor.need(Right::Read, "drill.show")?;
    let none = || Fault::not_found(format!("there is no report of a drill {id}"));
    let (report, sha256, prev, signature) = store::report(&admin.db, id).await?.ok_or_else(none)?;
    let report: Drill = serde_json::from_str(&report).map_err(|e| Fault::bug("a stored report cannot be read").because(e))?;
    Ok(Signed { report, sha256, prev, key_public: vaults::trust(admin), signature })
}

/// Whether a report is as it was signed by `key`.
///
/// # Errors
/// `Invalid`, saying what does not fit.
pub fn check(document: &Value, key: &PublicKey) -> Verb<String> {
    let wrong = |why: &str| Fault::invalid("report", why.to_owned());
    let signed: Signed = serde_json::from_value(document.clone()).map_err(|e| wrong(&format!("is no report of a drill: {e}")))?;
    // The one field that the signature does not cover must say what was trusted beforehand.
    if signed.key_public != vaults::key_text(key) {
        return Err(wrong("names another key than the one that is trusted"));
    }
    let mut bare = document.clone();
    if let Some(map) = bare.as_object_mut() {
        for field in ["sha256", "prev", "key_public", "signature"] {
            map.remove(field);
        }
    }
    // The document as it is, not as this version would write it: a field that was added is a change as well.
    let sha256 = hex(&sha256(vaults::sidecar::canonical(&bare).as_bytes()));
    if sha256 != signed.sha256 {
        return Err(wrong("was changed: its digest is another"));
    }
    if !key.verify(&text(&sha256, signed.prev.as_deref()), &signed.signature) {
        return Err(wrong(&format!("is not signed by {}", key.id())));
    }
    Ok(sha256)
}
