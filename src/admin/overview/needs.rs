//! What needs somebody, most urgent first. While everything is stopped: what to do next. Pure.

use super::pages::{Facts, Need};
use crate::admin::Admin;
use crate::admin::shell::{Shell, scope_name, sentence};
use crate::web::human;
use crate::web::view::Tone;

/// The list.
pub(super) fn needs(admin: &Admin, facts: &Facts, shell: &Shell) -> Vec<Need> {
    let mut needs = if facts.overview.kill.engaged { next_steps(facts, shell) } else { Vec::new() };
    let engaged = facts.overview.kill.engaged;
    // While something is stopped its own proof is on the page, and a drill can wait.
    let found = facts.overview.needs.iter().filter(|need| !(engaged && need.id.starts_with("kill.")));
    needs.extend(found.map(|need| shown(need, shell)));
    needs.extend(beginnings(admin, facts));
    needs
}

/// What the verb found, with the button that deals with it.
fn shown(need: &super::Need, shell: &Shell) -> Need {
    let text = sentence(&need.detail);
    let title = need.text.clone();
    let plain = Need { tone: Tone::Warn, icon: "warn", title, text, ..Need::default() };
    let may_stop = shell.halt.is_some();
    let to = |button: &str, path: String| Need { button: button.into(), path, ..plain.clone() };
    let anchored = |list: &str| need.href.replacen(&format!("/{list}/"), &format!("/{list}#server-"), 1);
    match need.id {
        "kill.never_proved" | "kill.proof_old" | "kill.unproven" if may_stop => {
            let drill = Need { icon: "clock", post: true, ..to("Run a kill drill", "/kill/drill".into()) };
            if need.id == "kill.never_proved" {
                Need { title: "Press stop once: it was never proved here".into(), ..drill }
            } else {
                drill
            }
        }
        "sandbox.weak" | "tool.lookalike" | "server.down" | "server.unapproved" => to("Open the server", anchored("servers")),
        "key.expires" => to("Open the client", "/clients".into()),
        "first_run.file" => Need { icon: "key", ..plain },
        _ => plain,
    }
}

fn next_steps(facts: &Facts, shell: &Shell) -> Vec<Need> {
    let Some(state) = facts.overview.kill.states.first() else { return Vec::new() };
    let name = scope_name(&state.scope);
    let since = human::clock(state.since);
    let looked = Need {
        tone: Tone::Sea,
        icon: "now",
        title: format!("Find out what happened before {since}"),
        text: format!(
            "Stopped by {}: {}. The calls up to the stop are in the ledger, each with its decision.",
            state.by, state.reason
        ),
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
        title: if name == "everything" {
            "Narrow the stop, then release the rest".into()
        } else {
            format!("Release {name} when it is safe")
        },
        text: "Stop only what did it, then release everything else: first to read-only.".into(),
        button: if may_release { "Narrow or release".into() } else { "Open the kill switch".into() },
        path: "/kill".into(),
        ..Need::default()
    };
    vec![looked, revoke, release]
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
    if facts.overview.servers.is_empty() {
        needs.push(todo(
            "Add the first server",
            "Over HTTPS, or a command on this host. Its tools are read once and classed.",
            "Add a server",
            "/servers#add",
        ));
    }
    if admin.feed.snapshot().clients.is_empty() {
        needs.push(todo(
            "Add the first client",
            "It gets a key, shown once, and calls tools through the proxy.",
            "Add a client",
            "/clients#add",
        ));
    }
    needs
}
