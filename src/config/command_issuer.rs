//! `[[command]]` in `credentials.toml`: somebody else's system that issues and ends tokens, reached by commands on this host. Never holds a secret: what the
//! commands need they read from standard input, and they start only where they were approved.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check_vault::{climbs, is_variable};
use super::http_issuer::SECRET;
use crate::base::ids::check_name;

/// A step of a rotation lasts less than its lease, and may run three commands.
const LONGEST_TIMEOUT: u64 = 30;
const LONGEST: usize = 4_000;

/// Tokens of one issuer for one server, made and ended by commands. Their name in commands is `command/NAME`. No shell reads a command; each gets one line of
/// JSON on standard input, and an exit status other than 0 is a failure (docs/OPERATING.md).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CommandIssuerConfig {
    /// What it is called.
    pub name: String,
    /// The server that is sent the token.
    pub server: String,
    /// Its header or variable, of those in `secret_headers` or `secret_env`.
    pub secret: String,
    /// What stands there, with `{secret}` where the token is.
    #[serde(default = "bare")]
    pub value: String,
    /// Makes a token: program, as an absolute path, and arguments. Reads `{"label"}`; writes `{"id","token"}`, or the bare token, whose id is the label then.
    pub create: Vec<String>,
    /// Ends one. Reads `{"id"}`, and `token` when it is at hand; one that is gone already is a success.
    pub revoke: Vec<String>,
    /// Names the tokens there are as `[{"id","label"}]`. Without it a token that was made in the moment of a crash stays there until somebody ends it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<String>,
    /// Whether each of them also reads `admin`, the secret that this host keeps for them: `lifeboat credential admin command/NAME`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub admin: bool,
    /// Variables of their environment that are no secrets. They have these, `PATH` and `LANG`, and no others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Seconds after which one is ended and has failed, 30 at most.
    #[serde(default = "timeout_seconds")]
    pub timeout_seconds: u64,
}

fn bare() -> String {
    SECRET.to_owned()
}

fn timeout_seconds() -> u64 {
    20
}

impl CommandIssuerConfig {
    /// What is wrong with it: the key and what would be right.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for (key, name) in [("name", &self.name), ("server", &self.server)] {
            found.extend(check_name(name).err().map(|why| (key, why.to_owned())));
        }
        if self.value.matches(SECRET).count() != 1 || self.value.len() > LONGEST || self.value.chars().any(char::is_control) {
            found.push(("value", format!("must be one line with {SECRET} once")));
        }
        for (key, words) in [("create", &self.create), ("revoke", &self.revoke), ("list", &self.list)] {
            let program = words.first().map_or("", String::as_str);
            let whole = program.starts_with('/') && !climbs(program) && !program.ends_with('/');
            let none = key == "list" && words.is_empty();
            if !whole && !none {
                found.push((key, "must begin with the absolute path of a program; no shell reads it".to_owned()));
            }
            if words.iter().any(|word| word.contains('\0')) {
                found.push((key, "must hold no NUL character".to_owned()));
            }
        }
        if let Some((name, _)) = self.env.iter().find(|(name, value)| !is_variable(name) || value.contains('\0')) {
            found.push(("env", format!("{name} is no environment variable")));
        }
        if !(1..=LONGEST_TIMEOUT).contains(&self.timeout_seconds) {
            found.push(("timeout_seconds", format!("must be from 1 to {LONGEST_TIMEOUT}")));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_that_cannot_work_is_said_by_its_key() {
        let fine = || CommandIssuerConfig {
            name: "hub".into(),
            server: "github".into(),
            secret: "authorization".into(),
            value: "Bearer {secret}".into(),
            create: vec!["/usr/local/bin/hub-token".into(), "create".into()],
            revoke: vec!["/usr/local/bin/hub-token".into(), "revoke".into()],
            timeout_seconds: 20,
            ..CommandIssuerConfig::default()
        };
        assert_eq!(fine().faults(), []);
        let with = |change: fn(&mut CommandIssuerConfig)| {
            let mut config = fine();
            change(&mut config);
            config.faults().into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(with(|c| c.value = "x".into()), ["value"]);
        assert_eq!(with(|c| c.create.clear()), ["create"]);
        assert_eq!(with(|c| c.create[0] = "hub-token".into()), ["create"]);
        assert_eq!(with(|c| c.revoke[0] = "/usr/../bin/x".into()), ["revoke"]);
        assert_eq!(with(|c| c.list = vec!["x".into()]), ["list"]);
        assert_eq!(with(|c| c.create[1].push('\0')), ["create"]);
        assert_eq!(with(|c| drop(c.env.insert("A B".into(), String::new()))), ["env"]);
        assert_eq!(with(|c| c.timeout_seconds = 31), ["timeout_seconds"]);
    }
}
