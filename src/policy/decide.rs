//! The one function that decides whether a client may do a thing. Lists are filtered by it too. Never permits by default.

use std::sync::Arc;

use super::snapshot::{ClientEntry, ServerEntry, Snapshot};
use crate::config::Class;

/// Things of a server that execute without being a tool.
const FACETS: [&str; 4] = ["resources", "prompts", "completion", "tasks"];

/// What is asked for on a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked<'a> {
    /// A tool, by its name without the server.
    Tool(&'a str),
    /// Something else that executes: `resources`, `prompts`, `completion`, `tasks`. Grants name it `server/@resources` and so on.
    Facet(&'a str),
}

impl Asked<'_> {
    fn full_name(self, server: &str) -> String {
        match self {
            Self::Tool(tool) => format!("{server}/{tool}"),
            Self::Facet(facet) => format!("{server}/@{facet}"),
        }
    }
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It may be done.
    Permit {
        /// The grant that says so, `ROLE#N`.
        grant: Arc<str>,
        /// The class it counts as.
        class: Class,
    },
    /// It may not.
    Refuse {
        /// `policy.…` slug of docs/CONTRACT.md.
        reason: &'static str,
        /// The class it would count as; destructive when it is not known.
        class: Class,
    },
}

/// The class a thing counts as: the configured one of a tool, read for what is no tool, destructive for the unknown.
pub fn class_of(server: &ServerEntry, asked: Asked<'_>) -> Class {
    match asked {
        Asked::Tool(tool) => server.config.tools.get(tool).map_or(Class::Destructive, |tool| tool.class),
        Asked::Facet(_) => Class::Read,
    }
}

/// Decides. The first grant in role order that names the thing and reaches its class permits it.
pub fn decide(snapshot: &Snapshot, client: &ClientEntry, server: &str, asked: Asked<'_>) -> Decision {
    let refuse = |reason, class| Decision::Refuse { reason, class };
    let full_name = asked.full_name(server);
    let Some(entry) = snapshot.servers.get(server) else {
        return refuse("policy.unknown_server", Class::Destructive);
    };
    let class = class_of(entry, asked);
    let mut named = client.grants.iter().filter(|grant| grant.names(&full_name)).peekable();
    if named.peek().is_none() {
        return refuse("policy.no_grant", class);
    }
    if let Asked::Tool(tool) = asked
        && !entry.config.tools.contains_key(tool)
    {
        return refuse("policy.unknown_tool", class);
    }
    match named.find(|grant| grant.reaches(class)) {
        Some(grant) => Decision::Permit { grant: grant.name.clone(), class },
        None => refuse("policy.class", class),
    }
}

/// The most dangerous class that a client's grants reach on a server; none when they reach nothing there.
pub fn reach(snapshot: &Snapshot, client: &ClientEntry, server: &str) -> Option<Class> {
    permitted(snapshot, client, server).max()
}

/// Whether a client's grants reach anything on a server. Without that it has no business there: no session, no stream, no answer.
pub fn attends(snapshot: &Snapshot, client: &ClientEntry, server: &str) -> bool {
    permitted(snapshot, client, server).next().is_some()
}

fn permitted(snapshot: &Snapshot, client: &ClientEntry, server: &str) -> impl Iterator<Item = Class> {
    let tools = snapshot.servers.get(server).into_iter().flat_map(|entry| entry.config.tools.keys());
    let all = FACETS.into_iter().map(Asked::Facet).chain(tools.map(|tool| Asked::Tool(tool)));
    all.filter_map(move |asked| match decide(snapshot, client, server, asked) {
        Decision::Permit { class, .. } => Some(class),
        Decision::Refuse { .. } => None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::config::{ClientConfig, Desired, GrantConfig, RoleConfig};
    use crate::policy::snapshot::Revision;

    fn snapshot(grants: Vec<(&str, Vec<Class>)>) -> Snapshot {
        let mut desired = Desired::default();
        let server = "[upstream.stdio]\ncommand=[\"@demo\"]\n[tools.read_graph]\nclass=\"read\"\n[tools.add]\nclass=\"write\"\n[tools.\"a*\"]\nclass=\"destructive\"";
        desired.servers.insert("demo".into(), toml::from_str(server).expect("server"));
        let grants = grants
            .into_iter()
            .map(|(tools, classes)| GrantConfig { tools: vec![tools.into()], classes, arguments: None })
            .collect();
        desired.roles.insert("r".into(), RoleConfig { grants });
        let client = ClientConfig { roles: vec!["r".into()], ..ClientConfig::default() };
        desired.clients.insert("c".into(), client);
        Snapshot::build(Revision::default(), &desired, Vec::new(), HashMap::new()).expect("snapshot")
    }

    fn ask(snapshot: &Snapshot, server: &str, asked: Asked<'_>) -> Result<String, &'static str> {
        match decide(snapshot, &snapshot.clients["c"], server, asked) {
            Decision::Permit { grant, .. } => Ok(grant.to_string()),
            Decision::Refuse { reason, .. } => Err(reason),
        }
    }

    #[test]
    fn pit_14_a_grant_must_name_the_tool_with_its_server_and_reach_its_class() {
        let s = snapshot(vec![("demo/*", vec![Class::Read]), ("demo/add", vec![Class::Write])]);
        assert_eq!(ask(&s, "demo", Asked::Tool("read_graph")), Ok("r#1".into()));
        assert_eq!(ask(&s, "demo", Asked::Tool("add")), Ok("r#2".into()));
        assert_eq!(ask(&s, "demo", Asked::Tool("a*")), Err("policy.class"));
        assert_eq!(ask(&s, "demo", Asked::Tool("nope")), Err("policy.unknown_tool"));
        assert_eq!(ask(&s, "other", Asked::Tool("add")), Err("policy.unknown_server"));
        assert_eq!(ask(&s, "demo", Asked::Facet("resources")), Ok("r#1".into()));
        assert!(ask(&s, "demo", Asked::Tool("demo/add")).is_err(), "a client names tools without their server");
        let bare = snapshot(vec![("add", vec![Class::Write])]);
        assert_eq!(ask(&bare, "demo", Asked::Tool("add")), Err("policy.no_grant"), "a grant names them with it");
        let none = snapshot(vec![]);
        assert_eq!(ask(&none, "demo", Asked::Tool("read_graph")), Err("policy.no_grant"));
    }

    #[test]
    fn a_client_attends_only_a_server_where_a_grant_reaches_something() {
        let seen = |grants| {
            let s = snapshot(grants);
            (attends(&s, &s.clients["c"], "demo"), reach(&s, &s.clients["c"], "demo"))
        };
        assert_eq!(seen(vec![("demo/add", vec![Class::Write])]), (true, Some(Class::Write)));
        assert_eq!(seen(vec![("demo/@prompts", vec![Class::Read])]), (true, Some(Class::Read)));
        for nothing in [vec![], vec![("other/*", vec![Class::Read])], vec![("demo/add", vec![Class::Read])]] {
            assert_eq!(seen(nothing), (false, None));
        }
        let s = snapshot(vec![("*/*", vec![Class::Read])]);
        assert!(!attends(&s, &s.clients["c"], "ghost"), "nor one that is not registered");
    }

    #[test]
    fn removing_a_grant_never_permits_more() {
        let all = snapshot(vec![("demo/*", vec![Class::Read, Class::Write]), ("*/add", vec![Class::Write])]);
        let fewer = snapshot(vec![("*/add", vec![Class::Write])]);
        for tool in ["read_graph", "add", "a*", "nope"] {
            if ask(&fewer, "demo", Asked::Tool(tool)).is_ok() {
                assert!(ask(&all, "demo", Asked::Tool(tool)).is_ok());
            }
        }
    }

    #[test]
    fn a_role_that_does_not_exist_is_a_fault_of_the_client_file() {
        let mut desired = Desired::default();
        let client = ClientConfig { roles: vec!["ghost".into()], ..ClientConfig::default() };
        desired.clients.insert("c".into(), client);
        let faults = Snapshot::build(Revision::default(), &desired, Vec::new(), HashMap::new()).expect_err("must fail");
        assert_eq!(faults[0].file, "clients/c.toml");
    }
}
