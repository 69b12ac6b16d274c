//! Whether anybody outside of this host would hear of an alert. Only asks; sends nothing.

use super::{Check, State, check, ok};
use crate::admin::alerts::receivers;
use crate::admin::{Actor, Admin};

pub(super) async fn checks(admin: &Admin) -> Vec<Check> {
    const NAME: &str = "alerts";
    let found = match receivers::list(admin, &Actor::system("doctor")).await {
        Ok(found) => found.receivers,
        Err(fault) => return vec![check(NAME, State::Warn, fault.to_string(), "lifeboat alert receiver list")],
    };
    if found.is_empty() {
        let mend = "lifeboat alert receiver add NAME --url URL, or let your monitoring read lifeboat status --json";
        return vec![check(NAME, State::Warn, "there is no receiver: who does not look at the dashboard hears of no alert", mend)];
    }
    let wrong: Vec<String> = found
        .iter()
        .filter(|one| one.state != "ready")
        .map(|one| format!("{} is not told: {}", one.name, one.why.as_deref().unwrap_or("it fails")))
        .collect();
    if wrong.is_empty() {
        return vec![ok(NAME, format!("{} receivers, none of which failed last", found.len()))];
    }
    vec![check(NAME, State::Warn, wrong.join("; "), "lifeboat alert test, and mend what it names")]
}
