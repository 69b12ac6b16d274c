//! The report of a drill: signed, chained to the one before, and kept as it was signed. Never changed afterwards.

use serde_json::Value;

use super::model::{Drill, Signed};
use super::store::{self, Ended};
use crate::admin::actor::Right;
use crate::admin::vaults::{self, report, sidecar};
use crate::admin::{Actor, Admin};
use crate::audit::PublicKey;
use crate::base::fault::{Fault, Verb};

const DOMAIN: &str = "lifeboat-drill-v1\n";

fn value(drill: &Drill) -> Verb<Value> {
    serde_json::to_value(drill).map_err(|e| Fault::bug("a report cannot be written").because(e))
}

/// SHA-256 of a report as it is signed, hex.
///
/// # Errors
/// `Bug` when it cannot be written.
pub(super) fn digest(drill: &Drill) -> Verb<String> {
    value(drill).map(|value| report::digest(&value))
}

/// Signs and stores a report.
///
/// # Errors
/// When the database does not answer.
pub(super) async fn keep(admin: &Admin, drill: &Drill) -> Verb<()> {
    let (report, prev) = (value(drill)?, store::last(&admin.db).await?);
    let (report, sha256) = (sidecar::canonical(&report), report::digest(&report));
    let signature = vaults::sign(admin, &report::text(DOMAIN, &sha256, prev.as_deref()));
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
    let _: Signed = serde_json::from_value(document.clone()).map_err(|e| wrong(&format!("is no report of a drill: {e}")))?;
    report::check(document, DOMAIN, key)
}
