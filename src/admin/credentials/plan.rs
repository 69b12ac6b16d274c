//! The rotation plan: who answers for which credential, how it is replaced, when it was last proved and when it is due next; as Markdown, for people and for
//! the configuration's history. Holds neither a secret nor an age, so it changes only when something did.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::inventory;
use super::model::{Credential, Strategy};
use crate::admin::actor::Right;
use crate::admin::{Actor, Admin, tree};
use crate::audit::Event;
use crate::base::clock::Timestamp;
use crate::base::fault::Verb;

/// Its file in the configuration.
pub const FILE: &str = "rotation-plan.md";
/// Who commits it.
const AUTHOR: &str = "lifeboat";

/// The plan.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "RotationPlan")]
pub struct Plan {
    /// Its text.
    pub markdown: String,
    /// Whether the configuration holds it just so.
    pub committed: bool,
}

/// The plan as it would be written now.
///
/// # Errors
/// When database or repository do not answer.
pub async fn read(admin: &Admin, actor: &Actor) -> Verb<Plan> {
    actor.need(Right::Read, "credential.plan")?;
    let markdown = text(&inventory::all(admin).await?);
    let held = tree::head(&admin.repository).await?.files.remove(FILE);
    Ok(Plan { committed: held.as_deref() == Some(markdown.as_bytes()), markdown })
}

/// Commits the plan when it changed.
///
/// # Errors
/// `Denied` without role operator; as `read`.
pub async fn write(admin: &Admin, actor: &Actor) -> Verb<Plan> {
    actor.need(Right::Operate, "credential.plan")?;
    let plan = read(admin, actor).await?;
    if plan.committed {
        return Ok(plan);
    }
    let markdown = plan.markdown.clone();
    let revision = tree::edit(admin, &Actor::system(AUTHOR), "credentials: write the rotation plan", |_, files| {
        let same = files.get(FILE).is_some_and(|held| held == markdown.as_bytes());
        Ok(if same { Vec::new() } else { vec![tree::write(FILE, markdown.clone())] })
    })
    .await?;
    let mut event = Event::action(&actor.name, "credential.plan", FILE);
    event.revision = Some(revision.to_string());
    admin.record(event).await?;
    Ok(Plan { committed: true, ..plan })
}

/// Commits the plan when it changed; whether it did. For the schedule: what it holds changes with a credential and never with the day.
///
/// # Errors
/// As `write`.
pub async fn refresh(admin: &Admin, actor: &Actor) -> Verb<bool> {
    let stale = !read(admin, actor).await?.committed;
    if stale {
        write(admin, actor).await?;
    }
    Ok(stale)
}

fn text(all: &[Credential]) -> String {
    let mut out = String::from(
        "# Rotation plan\nWritten by Lifeboat from what it keeps and from `credentials.toml`; `lifeboat credential plan --commit` writes it anew. Days are UTC.\n\n\
         | credential | owner | held by | how | every | both count | last proved | due | by itself |\n|---|---|---|---|---|---|---|---|---|\n",
    );
    let live = || all.iter().filter(|one| one.state != "ended" && one.kind != "operator-session");
    for one in live() {
        let every = if one.rotate_every_days == 0 { "never".to_owned() } else { format!("{} days", one.rotate_every_days) };
        let cells = [
            format!("`{}`", one.name),
            one.owner.clone().unwrap_or_else(|| "nobody yet".to_owned()),
            one.holder.clone().unwrap_or_default(),
            one.strategy.word().to_owned(),
            every,
            if one.strategy == Strategy::Elsewhere { String::new() } else { one.overlap.clone() },
            one.proved_at.map_or_else(|| "not yet".to_owned(), day),
            one.due_at.map_or_else(String::new, day),
            match one.rotates_at {
                Some(at) => day(at),
                None if one.by_itself => "when the schedule runs".to_owned(),
                None => "no".to_owned(),
            },
        ];
        let cells: Vec<String> = cells.into_iter().map(|cell| cell.replace('|', "\\|")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "| {} |", cells.join(" | "));
    }
    out.push_str("\n## What each rotation does\n");
    let mut told = Vec::new();
    for one in live().filter(|one| !one.means.is_empty()) {
        if !told.contains(&one.kind.as_str()) {
            told.push(&one.kind);
            let _ = writeln!(out, "* **{}**: {}", one.kind, one.means);
        }
    }
    out
}

fn day(at: Timestamp) -> String {
    at.to_string().get(..10).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_cannot_break_the_table_and_nothing_ages() {
        let one = Credential {
            name: "client-key/ci".into(),
            kind: "client-key".into(),
            owner: Some("a|b".into()),
            holder: None,
            strategy: Strategy::Dual,
            state: "ok".into(),
            note: String::new(),
            versions: Vec::new(),
            rotate_every_days: 90,
            due_at: Timestamp::parse("2027-01-02T03:04:05Z"),
            by_itself: true,
            rotates_at: Timestamp::parse("2027-01-04T09:17:00Z"),
            to_fetch: false,
            overlap: "24h".into(),
            means: "Two.".into(),
            rotation: None,
            proved_at: None,
        };
        let text = text(std::slice::from_ref(&one));
        assert!(
            text.contains("| `client-key/ci` | a\\|b |  | dual | 90 days | 24h | not yet | 2027-01-02 | 2027-01-04 |\n"),
            "{text}"
        );
        assert!(text.ends_with("* **client-key**: Two.\n"));
        let ended = Credential { state: "ended".into(), ..one };
        assert!(!super::text(&[ended]).contains("client-key/ci"));
    }
}
