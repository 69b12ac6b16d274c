//! The policy asked, not used: why one call would be decided as it would, and whether the cases in `policy-tests/` hold. Decides with the
//! proxy's own function and calls nothing.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::actor::Right;
use super::tools::{self, Explained};
use super::{Actor, Admin, tree};
use crate::base::fault::{Fault, Verb};
use crate::config::policy_tests::{self, Expected, Placed, PolicyCase};
use crate::config::repo::Files;
use crate::config::{Class, ConfigFault, Desired};
use crate::inspect::schema::Schema;
use crate::mcp::json::{self, JsonLimits};
use crate::policy::snapshot::Revision;
use crate::policy::{Asked, Decision, Snapshot, decide};

const FOLDER: &str = "policy-tests/";

/// A call to be explained.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainOrder {
    /// The client.
    pub client: String,
    /// `SERVER/TOOL`.
    pub tool: String,
    /// The text of the arguments, a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
}

/// Cases to try.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TestOrder {
    /// What faults call the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Cases as they stand in a file of `policy-tests/`; without them those files are tried.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toml: Option<String>,
}

/// What trying the cases showed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PolicyTested")]
pub struct Tested {
    /// Whether every case holds.
    pub ok: bool,
    /// How many there are.
    pub cases: usize,
    /// How many do not hold.
    pub failed: usize,
    /// Each of them, in the order of files and lines.
    pub results: Vec<CaseResult>,
}

/// One case and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "PolicyCaseResult")]
pub struct CaseResult {
    /// Its file.
    pub file: String,
    /// Its line.
    pub line: usize,
    /// The client.
    pub client: String,
    /// `SERVER/TOOL`.
    pub tool: String,
    /// Whether it holds.
    pub passed: bool,
    /// `permit` or `refuse`, as meant.
    pub expect: String,
    /// `permit` or `refuse`, as decided.
    pub decision: String,
    /// Slug of a refusal.
    pub reason: Option<String>,
    /// `ROLE#N` of a permit.
    pub grant: Option<String>,
    /// The class it counts as.
    pub class: Class,
    /// Why it does not hold; empty when it does.
    pub message: String,
}

/// Decides as the proxy would, and says why.
///
/// # Errors
/// `NotFound` when there is no such client; `Invalid` for arguments that no call could carry.
pub async fn explain(admin: &Admin, actor: &Actor, order: &ExplainOrder) -> Verb<Explained> {
    let mut explained = tools::explain(admin, actor, &order.client, &order.tool)?;
    if let Some(text) = &order.arguments {
        let strict = json::check(text.as_bytes(), JsonLimits::CLIENT);
        strict.map_err(|fault| Fault::invalid("arguments", format!("no call could carry them: {fault}")))?;
        if let Some(reason) = unfit(admin, &order.tool, text).await?.filter(|_| explained.grant.is_some()) {
            explained = Explained { decision: "refuse".to_owned(), reason: Some(reason.to_owned()), grant: None, ..explained };
        }
    }
    Ok(explained)
}

/// What the schema that was taken in with a tool has against arguments.
async fn unfit(admin: &Admin, full: &str, arguments: &str) -> Verb<Option<&'static str>> {
    let snapshot = admin.feed.snapshot();
    let definition = full.split_once('/').and_then(|(server, tool)| snapshot.definition(server, tool));
    let Some(input) = definition.and_then(|definition| definition.input.clone()) else { return Ok(None) };
    let text = arguments.to_owned();
    let comparing = move || match Schema::new(&input).map(|schema| schema.check(Some(text.as_bytes()))) {
        Err(_) => Some("tool.schema_unusable"),
        Ok(Err(_)) => Some("schema.arguments"),
        Ok(Ok(())) => None,
    };
    // It may take long, and the dashboard does not wait for it.
    tokio::task::spawn_blocking(comparing).await.map_err(|cause| Fault::bug("comparing the arguments panicked").because(cause))
}

/// Tries the cases against the working tree, as it would be committed.
///
/// # Errors
/// `Invalid` with every fault when the tree or a file of cases is wrong.
pub async fn test(admin: &Admin, actor: &Actor, order: TestOrder) -> Verb<Tested> {
    actor.need(Right::Read, "policy.test")?;
    let mut files = tree::blocking(&admin.repository, |repository| repository.working_files()).await?;
    let desired = tree::read(&files)?;
    if let Some(text) = order.toml {
        files.retain(|path, _| !path.starts_with(FOLDER));
        files.insert(format!("{FOLDER}{}", order.file.unwrap_or_else(|| "given.toml".to_owned())), text.into_bytes());
    }
    let results = results(&files, &desired).map_err(|faults| ConfigFault::join(&faults))?;
    let failed = results.iter().filter(|result| !result.passed).count();
    Ok(Tested { ok: failed == 0, cases: results.len(), failed, results })
}

/// What is wrong with the cases of a tree: their files, or what they are about.
pub(super) fn faults_of(files: &Files, desired: &Desired) -> Vec<ConfigFault> {
    match results(files, desired) {
        Err(faults) => faults,
        Ok(results) => {
            let failed = results.into_iter().filter(|result| !result.passed);
            failed.map(|result| ConfigFault { file: result.file, line: result.line, message: result.message }).collect()
        }
    }
}

fn results(files: &Files, desired: &Desired) -> Result<Vec<CaseResult>, Vec<ConfigFault>> {
    let mut faults = Vec::new();
    let mut placed: Vec<Placed> = Vec::new();
    for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with(FOLDER) && path.ends_with(".toml")) {
        match policy_tests::read(path, bytes) {
            Ok(cases) => placed.extend(cases),
            Err(found) => faults.extend(found),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let snapshot = Snapshot::build(Revision::default(), desired, Vec::new(), HashMap::new())?;
    Ok(placed.iter().map(|one| tried(&snapshot, one)).collect())
}

fn tried(snapshot: &Snapshot, placed: &Placed) -> CaseResult {
    let case = &placed.case;
    let (server, tool) = case.tool.split_once('/').unwrap_or((case.tool.as_str(), ""));
    let asked = tool.strip_prefix('@').map_or(Asked::Tool(tool), Asked::Facet);
    let decided = match snapshot.clients.get(case.client.as_str()) {
        Some(client) => decide(snapshot, client, server, asked),
        // Its key could not be shown, so nothing of it is ever decided.
        None => Decision::Refuse { reason: "auth.unknown", class: Class::Destructive },
    };
    let (decision, reason, grant, class) = match decided {
        Decision::Permit { grant, class } => (Expected::Permit, None, Some(grant.to_string()), class),
        Decision::Refuse { reason, class } => (Expected::Refuse, Some(reason.to_owned()), None, class),
    };
    let message = if snapshot.clients.contains_key(case.client.as_str()) {
        complaint(case, decision, reason.as_deref(), grant.as_deref(), class)
    } else {
        format!("there is no client {}", case.client)
    };
    CaseResult {
        file: placed.file.clone(),
        line: placed.line,
        client: case.client.clone(),
        tool: case.tool.clone(),
        passed: message.is_empty(),
        expect: case.expect.word().to_owned(),
        decision: decision.word().to_owned(),
        reason,
        grant,
        class,
        message,
    }
}

fn complaint(case: &PolicyCase, decision: Expected, reason: Option<&str>, grant: Option<&str>, class: Class) -> String {
    let because = reason.or(grant).unwrap_or_default();
    let told = format!("{} on {}: {} ({because}, class {})", case.client, case.tool, decision.word(), class.word());
    if case.expect != decision {
        return format!("{told}, but {} is expected", case.expect.word());
    }
    let wrong = [
        case.reason.as_deref().filter(|wanted| Some(*wanted) != reason).map(|wanted| format!("reason {wanted}")),
        case.grant.as_deref().filter(|wanted| Some(*wanted) != grant).map(|wanted| format!("grant {wanted}")),
        case.class.filter(|wanted| *wanted != class).map(|wanted| format!("class {}", wanted.word())),
    ];
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    if wrong.is_empty() { String::new() } else { format!("{told}, but {} is expected", wrong.join(" and ")) }
}
