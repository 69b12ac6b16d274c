//! The report of a proof: judged, signed, chained to the one before, stored and written beside the data as a file that is checked offline. Never changed
//! afterwards.

use serde_json::Value;

use super::model::{KIND, Proof, ProofLine, Side, Signed};
use super::store::{self, New};
use super::{Seen, chart, make};
use crate::admin::Admin;
use crate::admin::vaults::{self, report, sidecar};
use crate::audit::PublicKey;
use crate::base::fault::{Fault, Verb};
use crate::crypto::archive::hex;
use crate::crypto::files::{self, Readers};
use crate::crypto::keys::sha256;

const DOMAIN: &str = "lifeboat-rotation-proof-v1\n";

fn is_two_sided((accepted, rejected): &(Vec<Side>, Vec<Side>)) -> bool {
    !accepted.is_empty()
        && accepted.iter().all(|side| side.status == 200)
        && rejected.len() == accepted.len()
        && rejected.iter().all(|side| side.status == 401)
}

/// From what was seen to the report, with its chart.
pub(super) fn compose(admin: &Admin, seen: Seen) -> (Proof, String) {
    let two_sided = is_two_sided(&seen.keys) && is_two_sided(&seen.secrets);
    let ((new_accepted, old_rejected), (secret_accepted, secret_rejected)) = (seen.keys, seen.secrets);
    let traffic = seen.traffic;
    let quiet = traffic.requests > 0 && traffic.failed == 0 && traffic.moved == traffic.loops;
    let failed: Vec<&str> = seen.credentials.iter().filter(|one| !one.passed).map(|one| one.name.as_str()).collect();
    let summary = match (quiet, two_sided, failed.as_slice()) {
        (true, true, []) => format!(
            "{} requests, none failed, p99 {} ms before and {} ms while {} were rotated; new accepted, old rejected at {} of {} listeners",
            traffic.requests,
            traffic.p99_before_ms,
            traffic.p99_during_ms,
            seen.credentials.iter().filter(|one| one.rotation.is_some() && one.state != "skipped").count(),
            new_accepted.len(),
            new_accepted.len()
        ),
        (false, ..) if traffic.requests == 0 => "no request was made: there is no listener".to_owned(),
        (false, ..) => format!(
            "{} of {} requests failed: {}",
            traffic.failed,
            traffic.requests,
            traffic.first_failure.as_deref().unwrap_or("not every client moved to the new key")
        ),
        (true, false, _) => {
            "the two sides were not seen: the new key and secret must be accepted and the old ones refused at every listener"
                .to_owned()
        }
        (true, true, failed) => format!("not where they should be: {}", failed.join(", ")),
    };
    let called = seen.target.tool.map_or(seen.target.server.clone(), |tool| format!("{}/{tool}", seen.target.server));
    let mut proof = Proof {
        kind: KIND.to_owned(),
        id: seen.id,
        passed: quiet && two_sided && failed.is_empty(),
        summary,
        started_at: seen.started_at,
        ended_at: admin.clock.now(),
        by: seen.by,
        called,
        traffic,
        new_accepted,
        old_rejected,
        secret_accepted,
        secret_rejected,
        credentials: seen.credentials,
        chart_sha256: String::new(),
        revision: admin.feed.snapshot().revision.to_string(),
        program: format!("lifeboat {}", env!("CARGO_PKG_VERSION")),
    };
    let drawn = chart::draw(&proof);
    proof.chart_sha256 = hex(&sha256(drawn.as_bytes()));
    (proof, drawn)
}

/// Signs and stores a report, and writes it with its chart into `proofs/`.
///
/// # Errors
/// When the database does not answer. A file that cannot be written is no reason: the report is stored.
pub(super) async fn keep(admin: &Admin, proof: Proof, chart: &str) -> Verb<Signed> {
    let value = serde_json::to_value(&proof).map_err(|e| Fault::bug("a proof cannot be written").because(e))?;
    let (report, sha256, prev) = (sidecar::canonical(&value), report::digest(&value), store::last(&admin.db).await?);
    let signature = vaults::sign(admin, &report::text(DOMAIN, &sha256, prev.as_deref()));
    let line = ProofLine { id: proof.id.clone(), made_at: proof.ended_at, made_by: proof.by.clone(), passed: proof.passed };
    let new = New { line: &line, report: &report, chart, sha256: &sha256, prev: prev.as_deref(), signature: &signature };
    store::add(&admin.db, &new).await?;
    let signed = Signed { report: proof, sha256, prev, key_public: vaults::trust(admin), signature };
    if let Err(fault) = write(admin, &signed, chart) {
        tracing::warn!(%fault, "a proof is stored, and not beside the data");
    }
    Ok(signed)
}

fn write(admin: &Admin, signed: &Signed, chart: &str) -> Verb<()> {
    let folder = admin.data.root().join("proofs");
    make(&folder)?;
    let mut text = serde_json::to_vec_pretty(signed).map_err(|e| Fault::bug("a proof cannot be written").because(e))?;
    text.push(b'\n');
    files::write(&folder.join(format!("{}.json", signed.report.id)), &text, Readers::Owner)?;
    files::write(&folder.join(format!("{}.svg", signed.report.id)), chart.as_bytes(), Readers::Owner)
}

/// One report with its signature.
///
/// # Errors
/// `NotFound`; when the database does not answer.
pub(super) async fn read(admin: &Admin, id: &str) -> Verb<Signed> {
    let none = || Fault::not_found(format!("there is no proof {id}"));
    let (report, sha256, prev, signature) = store::report(&admin.db, id).await?.ok_or_else(none)?;
    let report: Proof = serde_json::from_str(&report).map_err(|e| Fault::bug("a stored proof cannot be read").because(e))?;
    Ok(Signed { report, sha256, prev, key_public: vaults::trust(admin), signature })
}

/// Whether a document is a proof of rotations as it was signed by `key`; `None` when it is something else.
///
/// # Errors
/// `Invalid`, saying what does not fit.
pub fn check(document: &Value, key: &PublicKey) -> Option<Verb<String>> {
    (document["kind"] == KIND).then(|| checked(document, key))
}

fn checked(document: &Value, key: &PublicKey) -> Verb<String> {
    let wrong = |why: &str| Fault::invalid("report", why.to_owned());
    let _: Signed = serde_json::from_value(document.clone()).map_err(|e| wrong(&format!("is no proof of a rotation: {e}")))?;
    report::check(document, DOMAIN, key)
}
