//! What the values of `credentials.toml` must mean. Never knows which credentials there are.

use super::ConfigFault;
use super::check_server::check_tool_name;
use super::credentials::{BY_ITSELF, Credentials, Rotate, overlap_ms, pattern};
use super::document::Document;

const MOST: usize = 500;
const MOST_DAYS: u32 = 3_650;
const MOST_SECONDS: u32 = 7 * 24 * 3_600;
const LONGEST: usize = 200;

pub(super) fn credentials(document: &Document<'_>, credentials: &Credentials, faults: &mut Vec<ConfigFault>) {
    databases(document, credentials, faults);
    issuers(document, credentials, faults);
    commands(document, credentials, faults);
    if credentials.entries.len() > MOST {
        faults.push(document.at(&["credential"], format!("there may be {MOST} entries at most")));
    }
    for (index, entry) in credentials.entries.iter().enumerate() {
        let at = index.to_string();
        let mut wrong = |key: &str, message: String| faults.push(document.at(&["credential", &at, key], message));
        if let Err(message) = pattern(&entry.name) {
            wrong("name", message);
        }
        let (kind, _) = entry.name.split_once('/').unwrap_or_default();
        if entry.rotate == Rotate::WhenDue && !BY_ITSELF.contains(&kind) {
            let kinds = BY_ITSELF.join(", ");
            wrong(
                "rotate",
                format!("nobody can replace {kind}/… without somebody: by itself go {kinds}, each named in full before the slash"),
            );
        }
        if let Some(Err(message)) = entry.overlap.as_deref().map(overlap_ms) {
            wrong("overlap", message);
        }
        if entry.rotate_every_days.is_some_and(|days| days > MOST_DAYS) {
            wrong("rotate_every_days", format!("must be from 0 to {MOST_DAYS}"));
        }
        if entry.quiet_seconds.is_some_and(|seconds| seconds > MOST_SECONDS) {
            wrong("quiet_seconds", format!("must be from 0 to {MOST_SECONDS}"));
        }
        for (key, text) in [("owner", &entry.owner), ("holder", &entry.holder)] {
            if text.as_deref().is_some_and(|text| text.is_empty() || text.len() > LONGEST || text.chars().any(char::is_control)) {
                wrong(key, format!("must be a text of 1 to {LONGEST} bytes on one line"));
            }
        }
        let is_tool =
            |tool: &str| tool.split_once('/').is_some_and(|(server, tool)| !server.is_empty() && check_tool_name(tool).is_ok());
        if entry.canary.as_deref().is_some_and(|tool| !is_tool(tool)) {
            wrong("canary", "must be a tool with its server, such as demo/read_graph".to_owned());
        }
    }
}

fn databases(document: &Document<'_>, credentials: &Credentials, faults: &mut Vec<ConfigFault>) {
    let mut taken: Vec<(&str, &str)> = Vec::new();
    for (index, one) in credentials.postgres.iter().enumerate() {
        let at = index.to_string();
        for (key, message) in one.faults() {
            faults.push(document.at(&["postgres", &at, key], message));
        }
        if credentials.postgres.iter().take(index).any(|other| other.name == one.name) {
            faults.push(document.at(&["postgres", &at, "name"], format!("there is another [[postgres]] {}", one.name)));
        }
        // Two that change one variable would undo each other's work.
        for variable in one.variables.keys() {
            if taken.contains(&(&one.server, variable)) {
                let message = format!("{variable} of server {} belongs to another [[postgres]] already", one.server);
                faults.push(document.at(&["postgres", &at, "variables"], message));
            }
            taken.push((&one.server, variable));
        }
    }
}

fn issuers(document: &Document<'_>, credentials: &Credentials, faults: &mut Vec<ConfigFault>) {
    for (index, one) in credentials.issuers.iter().enumerate() {
        let at = index.to_string();
        for (path, message) in one.faults() {
            let path: Vec<&str> = ["http", at.as_str()].into_iter().chain(path).collect();
            faults.push(document.at(&path, message));
        }
        let before = || credentials.issuers.iter().take(index);
        if before().any(|other| other.name == one.name) {
            faults.push(document.at(&["http", &at, "name"], format!("there is another [[http]] {}", one.name)));
        }
        let is_same = |other: &super::http_issuer::HttpIssuerConfig| {
            other.server == one.server && other.secret.eq_ignore_ascii_case(&one.secret)
        };
        if before().any(is_same) {
            let message = format!("{} of server {} belongs to another [[http]] already", one.secret, one.server);
            faults.push(document.at(&["http", &at, "secret"], message));
        }
    }
}

fn commands(document: &Document<'_>, credentials: &Credentials, faults: &mut Vec<ConfigFault>) {
    for (index, one) in credentials.commands.iter().enumerate() {
        let at = index.to_string();
        for (key, message) in one.faults() {
            faults.push(document.at(&["command", &at, key], message));
        }
        let before = || credentials.commands.iter().take(index);
        if before().any(|other| other.name == one.name) {
            faults.push(document.at(&["command", &at, "name"], format!("there is another [[command]] {}", one.name)));
        }
        let is_same = |server: &str, secret: &str| server == one.server && secret.eq_ignore_ascii_case(&one.secret);
        let by_http = credentials.issuers.iter().any(|other| is_same(&other.server, &other.secret));
        if by_http || before().any(|other| is_same(&other.server, &other.secret)) {
            let kind = if by_http { "http" } else { "command" };
            let message = format!("{} of server {} belongs to another [[{kind}]] already", one.secret, one.server);
            faults.push(document.at(&["command", &at, "secret"], message));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use crate::config::Desired;

    fn faults(text: &str) -> Vec<String> {
        let files = BTreeMap::from([("credentials.toml".to_owned(), text.as_bytes().to_vec())]);
        Desired::read(&files).err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_somebody_must_bring_is_not_left_to_the_schedule() {
        for name in ["client-key/*", "webhook/pager", "tls/server", "postgres/*", "http/hub", "command/hub"] {
            assert_eq!(faults(&format!("[[credential]]\nname = \"{name}\"\nrotate = \"when-due\"\n")), [""; 0], "{name}");
        }
        for name in ["upstream/*", "recipient/main", "ca/lifeboat", "*/*", "client-*/x", "admin/http:hub", "operator-key/ana"] {
            let found = faults(&format!("[[credential]]\nname = \"{name}\"\nrotate = \"when-due\"\n"));
            assert!(found.len() == 1 && found[0].starts_with("credentials.toml:3: "), "{name}: {found:?}");
            assert_eq!(faults(&format!("[[credential]]\nname = \"{name}\"\nrotate = \"by-hand\"\n")), [""; 0], "{name}");
        }
        assert_eq!(faults("[[credential]]\nname = \"tls/server\"\nrotate = \"daily\"\n").len(), 1);
    }

    #[test]
    fn one_secret_of_a_server_has_one_issuer() {
        let one = |name: &str, secret: &str| {
            format!(
                "[[command]]\nname = \"{name}\"\nserver = \"demo\"\nsecret = \"{secret}\"\ncreate = [\"/bin/a\"]\nrevoke = [\"/bin/b\"]\n"
            )
        };
        assert_eq!(faults(&[one("a", "authorization"), one("b", "x-key")].concat()), [""; 0]);
        let twice = faults(&[one("a", "authorization"), one("b", "Authorization")].concat());
        assert!(twice.len() == 1 && twice[0].starts_with("credentials.toml:10: "), "{twice:?}");
        let named = faults(&[one("a", "authorization"), one("a", "x-key")].concat());
        assert!(named.len() == 1 && named[0].starts_with("credentials.toml:8: "), "{named:?}");
    }
}
