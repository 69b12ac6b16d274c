//! What needs somebody, most urgent first. While everything is stopped: what to do next. Pure.

use super::pages::{Facts, Need};
use crate::admin::Admin;
use crate::admin::shell::{Shell, scope_name};
use crate::web::human;
use crate::web::view::Tone;

const PROOF_OLD_MS: i64 = 30 * 86_400_000;

/// The list.
pub fn needs(admin: &Admin, facts: &Facts, shell: &Shell) -> Vec<Need> {
    let mut needs = if facts.status.engaged { next_steps(facts, shell) } else { Vec::new() };
    needs.extend(weak_sandboxes(facts));
    needs.extend(configuration(admin));
    needs.extend(servers(facts));
    needs.extend(beginnings(admin, facts));
    if !facts.status.engaged {
        needs.extend(old_proof(facts, shell));
    }
    needs
}

fn warn(title: String, text: String, button: &str, path: &str) -> Need {
    Need { tone: Tone::Warn, icon: "warn", title, text, button: button.into(), path: path.into(), post: false }
}

fn next_steps(facts: &Facts, shell: &Shell) -> Vec<Need> {
    let Some(state) = facts.status.states.first() else { return Vec::new() };
    let name = scope_name(&state.scope);
    let since = human::clock(state.since);
    let looked = Need {
        tone: Tone::Sea,
        icon: "now",
        title: format!("Find out what happened before {since}"),
        text: format!("Stopped by {}: {}. The calls up to the stop are in the ledger, each with its decision.", state.by, state.reason),
        button: "Look at the calls".into(),
        path: format!("/activity?until={}", state.since),
        post: false,
    };
    let revoke = Need {
        icon: "todo",
        title: "Revoke the key of the client that did it".into(),
        text: "A key ends at once, without overlap, and stays refused after the release.".into(),
        button: "Open clients".into(),
        path: "/clients".into(),
        ..Need::default()
    };
    let may_release = crate::admin::OperatorRole::Admin.word() == shell.me.role;
    let release = Need {
        icon: "todo",
        title: if name == "everything" { "Narrow the stop, then release the rest".into() } else { format!("Release {name} when it is safe") },
        text: "Stop only what did it, then release everything else: first to read-only.".into(),
        button: if may_release { "Narrow or release".into() } else { "Open the kill switch".into() },
        path: "/kill".into(),
        ..Need::default()
    };
    vec![looked, revoke, release]
}

fn weak_sandboxes(facts: &Facts) -> Vec<Need> {
    let weak = facts.servers.iter().filter(|server| server.sandbox.starts_with("not confined"));
    weak.map(|server| warn(format!("{} runs without a sandbox", server.name), crate::admin::shell::sentence(&server.sandbox), "Open the server", &format!("/servers#{}", server.name)))
        .collect()
}

fn configuration(admin: &Admin) -> Option<Need> {
    let refused = admin.publisher.refused()?;
    let commit: String = refused.commit.chars().take(7).collect();
    let first = refused.faults.first().cloned().unwrap_or_default();
    let text = format!("{}. The revision before it keeps running. {first}", human::plural(refused.faults.len() as u64, "fault"));
    Some(Need { button: String::new(), ..warn(format!("Commit {commit} of the configuration is refused"), text, "", "") })
}

fn servers(facts: &Facts) -> Vec<Need> {
    let mut needs = Vec::new();
    for server in &facts.servers {
        let path = format!("/servers#{}", server.name);
        if server.state == "unapproved" {
            let text = format!("Its command line has not been approved on this host, so it is not started: {}", server.target);
            needs.push(warn(format!("{} waits for approval", server.name), text, "Review the server", &path));
        } else if server.state == "down" {
            let why = if server.detail.is_empty() { "It does not answer.".to_owned() } else { crate::admin::shell::sentence(&server.detail) };
            needs.push(warn(format!("{} is down", server.name), why, "Open the server", &path));
        }
    }
    needs
}

fn beginnings(admin: &Admin, facts: &Facts) -> Vec<Need> {
    let mut needs = Vec::new();
    let todo = |title: &str, text: &str, button: &str, path: &str| Need {
        icon: "todo",
        title: title.into(),
        text: text.into(),
        button: button.into(),
        path: path.into(),
        ..Need::default()
    };
    if facts.servers.is_empty() {
        needs.push(todo("Add the first server", "Over HTTPS, or a command on this host. Its tools are read once and classed.", "Add a server", "/servers#add"));
    }
    if admin.feed.snapshot().clients.is_empty() {
        needs.push(todo("Add the first client", "It gets a key, shown once, and calls tools through the proxy.", "Add a client", "/clients#add"));
    }
    needs
}

fn old_proof(facts: &Facts, shell: &Shell) -> Option<Need> {
    let (title, text) = match &facts.status.last_proof {
        None => ("Press stop once".to_owned(), "The kill switch has not been proved on this deployment. A drill stops nothing but its own canary.".to_owned()),
        Some(proof) if !proof.effective => ("The last kill proof failed".to_owned(), "A listener did not answer. Run a drill and look at it.".to_owned()),
        Some(proof) if shell.now.since_ms(proof.at) > PROOF_OLD_MS => {
            (format!("The last kill proof is {} old", human::ago(proof.at, shell.now).replace(" ago", "")), "A drill takes under a second.".to_owned())
        }
        Some(_) => return None,
    };
    let may = shell.halt.is_some();
    Some(Need {
        tone: Tone::Warn,
        icon: "clock",
        title,
        text,
        button: if may { "Run a kill drill".into() } else { String::new() },
        path: "/kill/drill".into(),
        post: true,
    })
}
