//! `[[postgres]]` in `credentials.toml`: the roles of a PostgreSQL database that a server logs in with, and how its variables say so. Never holds a password.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::ids::check_name;

/// Stands for the role in a variable.
pub const ROLE: &str = "{role}";
/// Stands for its password.
pub const PASSWORD: &str = "{password}";
/// Roles that PostgreSQL keeps for itself begin so.
const RESERVED: &str = "pg_";
/// The longest name that PostgreSQL does not cut.
const LONGEST_ROLE: usize = 63;
const LONGEST_TEXT: usize = 2_000;
const NAME: &str = "must be 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit";
const MOST_DAYS: u32 = 3_650;

/// One database credential of one server. Its name in commands is `postgres/NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// What it is called.
    pub name: String,
    /// Host name or address of the database server, as its certificate names it.
    pub host: String,
    /// Its port.
    #[serde(default = "port")]
    pub port: u16,
    /// The database.
    pub database: String,
    /// The database over which Lifeboat changes the roles. None of `roles` and not `owner` may own it: whoever owns a database has code in it.
    #[serde(default = "maintenance")]
    pub maintenance_database: String,
    /// PEM file of the authority that signed the server's certificate, as an absolute path. The certificate must name `host`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Speaks without TLS, which only an address of this host may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_loopback: bool,
    /// The role that Lifeboat logs in with to change the others. Its password is kept sealed on this host: `lifeboat credential admin postgres/NAME`.
    pub admin: String,
    /// The role that holds the privileges and owns the objects; it cannot log in itself. Needed with two roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The two roles that take turns; or one, whose old password ends in the moment its new one is set.
    pub roles: Vec<String>,
    /// Says that one role is meant: between its new password and the start of the server's new process, new connections of the server are refused.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub consent: bool,
    /// A SELECT that must work with the new role before anything uses it. It cannot write.
    pub check: String,
    /// What `current_user` must be after a login: the owner when not given, and the role itself without an owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_user: Option<String>,
    /// Days after which a password ends by itself (VALID UNTIL); 0 means never.
    #[serde(default)]
    pub valid_days: u32,
    /// The stdio server whose variables say which role and password.
    pub server: String,
    /// Its variables, of those in its `secret_env`, with `{role}` and `{password}` where they stand.
    pub variables: BTreeMap<String, String>,
}

fn port() -> u16 {
    5432
}

fn maintenance() -> String {
    "postgres".to_owned()
}

impl PostgresConfig {
    /// What is wrong with it: the key and what would be right.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut must = |fits: bool, key: &'static str, message: &str| {
            if !fits {
                found.push((key, message.to_owned()));
            }
        };
        let line = |text: &str| !text.is_empty() && text.len() <= LONGEST_TEXT && !text.chars().any(char::is_control);
        let role = "must be the name of a role: a small letter or _, then small letters, digits and _, 63 bytes at most, not beginning with pg_";
        must(check_name(&self.name).is_ok(), "name", NAME);
        must(
            line(&self.host) && !self.host.contains(['/', ' ', '@', ':']) || self.is_address(),
            "host",
            "must be a host name or an address",
        );
        must(self.port > 0, "port", "must be from 1 to 65535");
        must(line(&self.database), "database", "must be the name of a database");
        must(line(&self.maintenance_database), "maintenance_database", "must be the name of a database");
        must(is_role(&self.admin), "admin", role);
        must(self.owner.as_deref().is_none_or(is_role), "owner", role);
        must(self.current_user.as_deref().is_none_or(is_role), "current_user", role);
        must(self.roles.iter().all(|name| is_role(name)), "roles", role);
        let others = std::iter::once(&self.admin).chain(&self.owner);
        must(!others.into_iter().any(|name| self.roles.contains(name)), "roles", "must be neither the admin nor the owner");
        let selects = line(&self.check) && self.check.to_ascii_uppercase().starts_with("SELECT ") && !self.check.contains(';');
        must(selects, "check", "must be one SELECT on one line, without a semicolon");
        must(self.valid_days <= MOST_DAYS, "valid_days", "must be from 0 to 3650");
        must(check_name(&self.server).is_ok(), "server", NAME);
        found.extend(self.tls().err().into_iter().chain(self.strategy().err()).map(|(key, message)| (key, message.to_owned())));
        found.extend(self.templates().err().map(|message| ("variables", message)));
        found
    }

    fn is_address(&self) -> bool {
        self.host.parse::<std::net::IpAddr>().is_ok()
    }

    fn tls(&self) -> Result<(), (&'static str, &'static str)> {
        let loopback = self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        match self.ca.as_deref() {
            None if !self.plain_loopback => Err(("ca", "is needed: the authority that signed the server's certificate")),
            Some(_) if self.plain_loopback => Err(("plain_loopback", "goes without ca: a connection has TLS or has none")),
            None if !loopback => Err(("plain_loopback", "is for an address of this host alone, such as 127.0.0.1")),
            Some(path) if !path.starts_with('/') || path.contains('\0') || path.split('/').any(|part| part == "..") => {
                Err(("ca", "must be the absolute path of a file, without '..'"))
            }
            _ => Ok(()),
        }
    }

    fn strategy(&self) -> Result<(), (&'static str, &'static str)> {
        match self.roles.as_slice() {
            [a, b] if a == b => Err(("roles", "must be two different roles")),
            [_, _] if self.owner.is_none() => {
                Err(("owner", "is needed with two roles: what one creates must not belong to it alone"))
            }
            [_, _] if self.consent => Err(("consent", "is for one role; two take turns without a gap")),
            [_, _] => Ok(()),
            [_] if self.consent => Ok(()),
            [_] => Err((
                "consent",
                "is needed with one role: from its new password until the server's new process runs, new connections are refused. Two roles have no such gap",
            )),
            _ => Err(("roles", "must be two roles, or one with consent = true")),
        }
    }

    fn templates(&self) -> Result<(), String> {
        let named = |word: &str| self.variables.values().filter(|text| text.contains(word)).count();
        for (variable, text) in &self.variables {
            if text.len() > LONGEST_TEXT || text.chars().any(char::is_control) {
                return Err(format!("{variable} must be one line of 2000 bytes at most"));
            }
            if text.matches(PASSWORD).count() > 1 || text.replace(PASSWORD, "").replace(ROLE, "").contains(['{', '}']) {
                return Err(format!("{variable} may hold {ROLE}, and {PASSWORD} once, and no other brace"));
            }
            if !text.contains(PASSWORD) && !text.contains(ROLE) {
                return Err(format!(
                    "{variable} must hold {PASSWORD} or {ROLE}: anything else stands in the server's own variables"
                ));
            }
        }
        match self.roles.len() {
            _ if named(PASSWORD) == 0 => Err(format!("one of them must hold {PASSWORD}")),
            2 if named(ROLE) == 0 => Err(format!("with two roles one of them must hold {ROLE}")),
            _ => Ok(()),
        }
    }

    /// Who `current_user` must be after a login as one of the roles.
    pub fn expected_user<'a>(&'a self, role: &'a str) -> &'a str {
        self.current_user.as_deref().or(self.owner.as_deref()).unwrap_or(role)
    }

    /// The variables for a role and a password.
    pub fn render(&self, role: &str, password: &str) -> Vec<(String, String)> {
        let fill = |text: &String| text.replace(ROLE, role).replace(PASSWORD, password);
        self.variables.iter().map(|(variable, text)| (variable.clone(), fill(text))).collect()
    }

    /// Which role and password some variables name: the ones that would make them, when there are such.
    pub fn read(&self, value: impl Fn(&str) -> Option<String>) -> Option<(String, String)> {
        self.roles.iter().find_map(|role| {
            let mut password: Option<String> = None;
            for (variable, text) in &self.variables {
                let (value, text) = (value(variable)?, text.replace(ROLE, role));
                match text.split_once(PASSWORD) {
                    None if value == text => {}
                    None => return None,
                    Some((before, after)) => {
                        let found = value.strip_prefix(before)?.strip_suffix(after).filter(|found| !found.is_empty())?;
                        if password.get_or_insert_with(|| found.to_owned()) != found {
                            return None;
                        }
                    }
                }
            }
            Some((role.clone(), password?))
        })
    }
}

fn is_role(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_');
    first
        && name.len() <= LONGEST_ROLE
        && !name.starts_with(RESERVED)
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> PostgresConfig {
        let dsn = "postgresql://{role}:{password}@db.example.com/notes?sslmode=verify-full";
        PostgresConfig {
            name: "notes".into(),
            host: "db.example.com".into(),
            port: 5432,
            database: "notes".into(),
            maintenance_database: "postgres".into(),
            ca: Some("/etc/ssl/db.pem".into()),
            admin: "lifeboat".into(),
            owner: Some("notes".into()),
            roles: vec!["notes_a".into(), "notes_b".into()],
            check: "SELECT 1 FROM note LIMIT 1".into(),
            server: "notes".into(),
            variables: [("DATABASE_URL".to_owned(), dsn.to_owned())].into(),
            ..PostgresConfig::default()
        }
    }

    fn keys(config: &PostgresConfig) -> Vec<&'static str> {
        config.faults().into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn each_thing_that_cannot_work_is_said_by_its_key() {
        assert_eq!(two().faults(), []);
        let one = PostgresConfig { roles: vec!["notes_a".into()], owner: None, consent: true, ..two() };
        assert_eq!(one.faults(), []);
        let cases: [(PostgresConfig, &str); 16] = [
            (PostgresConfig { maintenance_database: "a\nb".into(), ..two() }, "maintenance_database"),
            (PostgresConfig { consent: false, ..one.clone() }, "consent"),
            (PostgresConfig { consent: true, ..two() }, "consent"),
            (PostgresConfig { owner: None, ..two() }, "owner"),
            (PostgresConfig { roles: vec![], ..two() }, "roles"),
            (PostgresConfig { roles: vec!["a".into(), "a".into()], ..two() }, "roles"),
            (PostgresConfig { roles: vec!["notes_a".into(), "lifeboat".into()], ..two() }, "roles"),
            (PostgresConfig { roles: vec!["notes_a".into(), "pg_monitor".into()], ..two() }, "roles"),
            (PostgresConfig { roles: vec!["notes_a".into(), "b\"; DROP".into()], ..two() }, "roles"),
            (PostgresConfig { ca: None, ..two() }, "ca"),
            (PostgresConfig { ca: Some("db.pem".into()), ..two() }, "ca"),
            (PostgresConfig { ca: None, plain_loopback: true, ..two() }, "plain_loopback"),
            (PostgresConfig { plain_loopback: true, ..two() }, "plain_loopback"),
            (PostgresConfig { check: "DELETE FROM note".into(), ..two() }, "check"),
            (PostgresConfig { check: "SELECT 1; SELECT 2".into(), ..two() }, "check"),
            (PostgresConfig { host: "postgres://db".into(), ..two() }, "host"),
        ];
        for (config, key) in cases {
            assert_eq!(keys(&config), [key], "{config:?}");
        }
        let plain = PostgresConfig { host: "127.0.0.1".into(), ca: None, plain_loopback: true, ..two() };
        assert_eq!(plain.faults(), []);
        for text in ["x", "{role}", "{password}", "{role}{password}{password}", "{role}:{password}{x}", "{role}\n{password}"] {
            let config = PostgresConfig { variables: [("URL".to_owned(), text.to_owned())].into(), ..two() };
            assert_eq!(keys(&config), ["variables"], "{text}");
        }
    }

    #[test]
    fn what_was_rendered_is_read_again_and_nothing_else_is() {
        let config = two();
        let dsn = |role: &str, password: &str| config.render(role, password)[0].1.clone();
        assert_eq!(dsn("notes_b", "pw"), "postgresql://notes_b:pw@db.example.com/notes?sslmode=verify-full");
        let read = |text: &str| config.read(|variable| (variable == "DATABASE_URL").then(|| text.to_owned()));
        assert_eq!(read(&dsn("notes_a", "p-w_1")), Some(("notes_a".into(), "p-w_1".into())));
        for odd in
            ["", "postgresql://notes_c:x@db.example.com/notes?sslmode=verify-full", &dsn("notes_a", ""), &dsn("notes_a", "x")[1..]]
        {
            assert_eq!(read(odd), None, "{odd}");
        }
        let parts = [("PGUSER".to_owned(), "{role}".to_owned()), ("PGPASSWORD".to_owned(), "{password}".to_owned())];
        let config = PostgresConfig { variables: parts.into(), ..two() };
        assert_eq!(config.faults(), []);
        let both = |user: &'static str| move |variable: &str| Some(if variable == "PGUSER" { user } else { "secret" }.to_owned());
        assert_eq!(config.read(both("notes_b")), Some(("notes_b".into(), "secret".into())));
        assert_eq!(config.read(both("postgres")), None);
        assert_eq!(config.read(|variable| (variable == "PGUSER").then(|| "notes_a".to_owned())), None);
    }
}
