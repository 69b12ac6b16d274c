//! `credential …` as requests to the API, and how the answers read. Never talks to anybody itself; what somebody brings comes by standard input or a
//! file.

use serde_json::{Value, json};

use super::args::{CredentialCommand, RotateArgs};
use super::order::{Order, file, segment, standard_input};
use super::out;
use crate::base::clock::{Clock, SystemClock, Timestamp};
use crate::base::fault::{Fault, Verb};

/// The order of a command.
///
/// # Errors
/// When the name has no kind; when standard input or the file cannot be read.
pub(super) fn credential(command: &CredentialCommand) -> Verb<Order> {
    Ok(match command {
        CredentialCommand::List => Order::get("/api/v1/credentials"),
        CredentialCommand::Show { name } => Order::get(path(name)?),
        CredentialCommand::Due => Order::get("/api/v1/credential-due").must("ok"),
        CredentialCommand::Rotate(args) => rotate(args)?,
        CredentialCommand::Fetch { name } => Order::post(format!("{}/fetch", path(name)?), json!({})),
        CredentialCommand::Supply { name, file: from } => {
            let text = from.as_deref().map_or_else(standard_input, file)?;
            let value = text.trim_end_matches(['\r', '\n']);
            Order::post(format!("{}/supply", path(name)?), json!({"value": value})).must_not("error")
        }
        CredentialCommand::Admin { name, .. } => {
            let text = standard_input()?;
            let password = text.trim_end_matches(['\r', '\n']);
            Order::post(format!("{}/admin", path(name)?), json!({"password": password}))
        }
        CredentialCommand::Approve { name, digest } => Order::post(format!("{}/approve", path(name)?), json!({"digest": digest})),
        CredentialCommand::Order { name, order, by } => {
            Order::post(format!("{}/order", path(name)?), json!({"order": order, "by": by})).must_not("error")
        }
        CredentialCommand::Revoke { name, since, reason } => {
            let name = name.clone().unwrap_or_default();
            Order::post("/api/v1/credential-revoke", json!({"name": name, "since": since, "reason": reason})).must("ok")
        }
        CredentialCommand::Proofs { id: None } => Order::get("/api/v1/credential-proofs"),
        CredentialCommand::Proofs { id: Some(id) } => Order::get(format!("/api/v1/credential-proofs/{}", segment(id))),
        CredentialCommand::Plan { commit: false } => Order::get("/api/v1/credential-plan"),
        CredentialCommand::Plan { commit: true } => Order::post("/api/v1/credential-plan", json!({})),
    })
}

fn rotate(args: &RotateArgs) -> Verb<Order> {
    if args.prove {
        let order = json!({"all": args.all, "seconds": args.seconds, "rate": args.rate});
        return Ok(Order::post("/api/v1/credential-proofs", order).must("passed").lasting());
    }
    let name = args.name.as_deref().unwrap_or_default();
    let order =
        json!({"overlap": args.overlap, "force": args.force, "reason": args.reason, "note": args.note, "fetch": args.fetch});
    Ok(Order::post(format!("{}/rotate", path(name)?), order).must_not("error"))
}

fn path(name: &str) -> Verb<String> {
    let (kind, rest) = name.split_once('/').ok_or_else(|| {
        Fault::invalid("name", "a credential is called KIND/NAME, such as client-key/ci; see lifeboat credential list")
    })?;
    Ok(format!("/api/v1/credentials/{}/{}", segment(kind), segment(rest)))
}

const DAY_MS: i64 = 86_400_000;
/// Characters of a note in a row; `show` has the whole.
const NOTE: usize = 60;

/// An answer for people.
pub(super) fn text(command: &CredentialCommand, value: &Value) -> String {
    let now = SystemClock.now();
    match command {
        CredentialCommand::List => rows(&value["credentials"], now),
        CredentialCommand::Due if value["ok"] == true => "nothing is due".to_owned(),
        CredentialCommand::Due => rows(&value["credentials"], now),
        CredentialCommand::Show { .. } => detail(value, now),
        CredentialCommand::Rotate(RotateArgs { prove: false, .. })
        | CredentialCommand::Order { .. }
        | CredentialCommand::Supply { .. } => rotation(value),
        _ => out::text(value),
    }
}

/// A list of objects as a table of these columns, in their order.
fn list(all: &Value, row: impl Fn(&Value) -> Value) -> String {
    let rows: Vec<Value> = all.as_array().into_iter().flatten().map(row).collect();
    out::text(&json!({ "rows": rows }))
}

fn rows(all: &Value, now: Timestamp) -> String {
    list(all, |one| {
        let current = &one["versions"][0];
        let note = one["note"].as_str().unwrap_or_default();
        let cut: String = note.chars().take(NOTE).collect();
        json!({
            "name": one["name"], "state": one["state"], "age": age(&current["created_at"], now),
            "due": day(&one["due_at"]), "last used": day(&current["last_used"]),
            "note": if cut.len() < note.len() { format!("{cut}…") } else { cut },
        })
    })
}

fn detail(value: &Value, now: Timestamp) -> String {
    let one = &value["credential"];
    let mut facts = json!({});
    for field in ["name", "state", "note", "strategy", "owner", "holder", "overlap", "means"] {
        if one[field].as_str().is_some_and(|text| !text.is_empty()) {
            facts[field] = one[field].clone();
        }
    }
    facts["due"] = json!(day(&one["due_at"]));
    let version = |version: &Value| {
        json!({"name": version["id"], "state": version["state"], "since": day(&version["created_at"]),
            "age": age(&version["created_at"], now), "last used": day(&version["last_used"])})
    };
    let rotation = |row: &Value| json!({"name": row["id"], "state": row["state"], "started": row["started_at"], "ended": row["ended_at"], "why": row["why"]});
    let step = |step: &Value| json!({"seq": step["seq"], "ts": step["at"], "step": step["step"], "outcome": step["outcome"]});
    let parts = [
        out::text(&facts),
        format!("versions:\n{}", list(&one["versions"], version)),
        format!("rotations:\n{}", list(&value["rotations"], rotation)),
        format!("steps of the newest:\n{}", list(&value["steps"], step)),
    ];
    let commands = value.get("commands").map(|commands| format!("commands:\n{}", out::text(commands)));
    parts.into_iter().chain(commands).collect::<Vec<_>>().join("\n\n")
}

/// How far a rotation is, what comes next, and the new secret when it was asked for. A certificate with its key is for a file: `--json` has it.
fn rotation(value: &Value) -> String {
    let mut lines = vec![format!("name: {}", word(&value["credential"])), format!("state: {}", word(&value["state"]))];
    for field in ["why", "next", "secret"] {
        match value[field].as_str() {
            Some(pem) if pem.contains("-----BEGIN") => lines.push(format!("{field}: PEM, which only --json prints")),
            Some(text) if !text.is_empty() => lines.push(format!("{field}: {text}")),
            _ => {}
        }
    }
    lines.join("\n")
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or("-")
}

fn time(value: &Value) -> Option<Timestamp> {
    Timestamp::parse(value.as_str()?)
}

/// The day of a time.
fn day(value: &Value) -> &str {
    value.as_str().and_then(|text| text.get(..10)).unwrap_or("-")
}

fn age(since: &Value, now: Timestamp) -> String {
    time(since).map_or("-".to_owned(), |at| format!("{}d", now.since_ms(at).max(0) / DAY_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential() -> Value {
        let version =
            |id: &str, state: &str| json!({"id": id, "state": state, "created_at": "2026-11-01T00:00:00Z", "last_used": null});
        json!({"name": "client-key/ci", "kind": "client-key", "state": "due", "note": "x".repeat(300), "means": "y".repeat(300),
            "due_at": "2026-11-09T08:00:00Z", "versions": [version("abc", "current"), version("old", "previous")]})
    }

    #[test]
    fn a_row_holds_what_matters_and_fits_a_terminal() {
        let now = Timestamp::parse("2026-11-11T06:00:00Z").unwrap();
        let shown = rows(&json!([credential()]), now);
        let columns: Vec<&str> = shown.lines().next().unwrap().split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
        assert_eq!(columns, ["name", "state", "age", "due", "last used", "note"]);
        assert!(shown.contains("10d") && shown.contains("2026-11-09") && !shown.contains("yyy"), "{shown}");
        assert!(shown.lines().all(|line| line.chars().count() <= 130), "{shown}");
    }

    #[test]
    fn one_credential_shows_its_versions_and_what_it_means() {
        let now = Timestamp::parse("2026-11-11T06:00:00Z").unwrap();
        let shown = detail(&json!({"credential": credential(), "rotations": [], "steps": []}), now);
        for part in ["abc", "current", "old", "previous", "2026-11-01", "means: yyy", "rotations:\nnone"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("versions=") && !shown.contains("versions: 2"), "{shown}");
    }

    #[test]
    fn a_rotation_says_what_comes_next_and_never_prints_a_key_in_pem() {
        let row = json!({"id": "rot_1", "credential": "tls/server", "state": "draining", "facts": {"a": 1}, "next": "It ends by itself.",
            "secret": "-----BEGIN PRIVATE KEY-----\nMIIE\n", "attempt": 0});
        let shown = rotation(&row);
        assert_eq!(shown.lines().count(), 4, "{shown}");
        assert!(shown.contains("next: It ends by itself.") && !shown.contains("MIIE"), "{shown}");
        let key = json!({"credential": "client-key/ci", "state": "draining", "next": "n", "secret": "lbk_x"});
        assert!(rotation(&key).ends_with("secret: lbk_x"));
    }

    #[test]
    fn a_name_is_a_path_of_two_segments() {
        assert_eq!(path("upstream/github:authorization").unwrap(), "/api/v1/credentials/upstream/github%3Aauthorization");
        assert_eq!(path("client-key/ci").unwrap(), "/api/v1/credentials/client-key/ci");
        assert_eq!(path("ci").unwrap_err().kind.exit(), 64);
    }
}
