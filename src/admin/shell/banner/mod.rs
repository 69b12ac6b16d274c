//! The banner: what is stopped, in the exact words of the kill flow, proved or not. Pure.

use crate::admin::kill;
use crate::base::clock::Timestamp;
use crate::web::human;

/// The banner: one at a time, the worst.
#[derive(Clone, Debug)]
pub struct Banner {
    /// `fire`, `stopped` or `warn`.
    pub class: &'static str,
    /// Its icon.
    pub icon: &'static str,
    /// The claim.
    pub claim: String,
    /// One sentence with numbers.
    pub detail: String,
    /// The word of its link.
    pub link: &'static str,
    /// Whether a proof is still open.
    pub open: bool,
}

/// What a scope's text is called in a sentence: `ci-runner` for `client ci-runner`.
pub fn scope_name(scope: &str) -> &str {
    scope.split_once(' ').map_or(scope, |(_, name)| name)
}

/// The banner for what is stopped: everything first, then the unproven, then the first of the rest.
pub fn banner(status: &kill::Status, listeners: usize, now: Timestamp) -> Option<Banner> {
    // A full stop that was released to read-only has a proof of the full stop; of what holds now it proves nothing.
    let proof_of = |s: &kill::State| status.last_proof.as_ref().filter(|p| p.decision_id == s.decision_id && p.mode == s.mode);
    let proved_once = |s: &kill::State| status.last_proof.as_ref().is_some_and(|p| p.decision_id == s.decision_id);
    let unproven = |s: &&kill::State| proof_of(s).is_some_and(|proof| !proof.effective);
    let whole = |s: &&kill::State| s.scope == "everything" && s.mode == "full";
    let states = &status.states;
    let worst = states.iter().find(unproven).or_else(|| states.iter().find(whole)).or_else(|| states.first())?;
    let proof = proof_of(worst);
    let by = format!("{} UTC by {}: {}", human::clock(worst.since), worst.by, worst.reason);
    let made = |class, icon, claim: String, detail: String, open| Some(Banner { class, icon, claim, detail, link: "Manage", open });
    match proof {
        Some(proof) if !proof.effective => {
            let silent: Vec<&str> = proof.proofs.iter().filter(|p| !p.refused).map(|p| p.listener.as_str()).collect();
            let proved = proof.proofs.len() - silent.len();
            let detail = format!(
                "{proved} of {} listeners proved in 5 s. {} did not answer. Fence it now: take it off the network or stop its process.",
                proof.proofs.len().max(listeners),
                if silent.is_empty() { "No listener".to_owned() } else { silent.join(", ") }
            );
            made("fire", "warn", "Engaged, unproven".into(), detail, false)
        }
        None if !proved_once(worst) && now.since_ms(worst.since) < 6_000 => {
            let claim = format!("Stopping. 0 of {listeners} listeners proved.");
            made(if whole(&worst) { "stopped" } else { "warn" }, "stop", claim, by, true)
        }
        _ if whole(&worst) => {
            let took = proof.and_then(|p| p.effective_ms).map(|ms| format!(" in {ms} ms")).unwrap_or_default();
            let proved = proof.map(|p| proved_text(p) + " · ").unwrap_or_default();
            made("stopped", "stop", format!("Stopped everywhere{took}"), format!("{proved}{by}"), false)
        }
        _ => Some(partial(worst, proof, states.len(), by)),
    }
}

fn proved_text(proof: &kill::Proof) -> String {
    let cut = human::plural(proof.cut_in_flight as u64, "call");
    format!("Proved at {0} of {0} listeners · {cut} in flight cut", proof.proofs.len())
}

fn partial(state: &kill::State, proof: Option<&kill::Proof>, stops: usize, by: String) -> Banner {
    let name = scope_name(&state.scope);
    let (claim, first) = match state.mode.as_str() {
        "read-only" => (format!("Read-only for {name}"), "Writes and destructive calls are stopped"),
        _ => (format!("Stopped for {name}"), "Its calls are refused; all others go on"),
    };
    let proved = proof.and_then(|p| p.effective_ms.map(|ms| format!(" · proved at {0} of {0} in {ms} ms", p.proofs.len())));
    let more = if stops > 1 { format!(" · {} more engaged", human::plural((stops - 1) as u64, "stop")) } else { String::new() };
    let detail = format!("{first}{} · {by}{more}", proved.unwrap_or_default());
    Banner { class: "warn", icon: "stop", claim, detail, link: "Manage", open: false }
}

#[cfg(test)]
mod tests;
