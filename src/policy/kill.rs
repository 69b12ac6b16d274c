//! The kill overlay: what is stopped, how far, and why. Pure. It never edits the configuration and never permits anything.

use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;
use crate::config::Class;

/// What a kill covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Scope {
    /// Every tool of every server for every client.
    Everything,
    /// All of one server.
    Server {
        /// Its name.
        server: String,
    },
    /// One tool.
    Tool {
        /// Its server.
        server: String,
        /// Its name without the server.
        tool: String,
    },
    /// Everything one client does.
    Client {
        /// Its name.
        client: String,
    },
}

impl Scope {
    /// `everything`, `server S`, `tool S/T` or `client C`, for people and JSON.
    pub fn text(&self) -> String {
        match self {
            Self::Everything => "everything".into(),
            Self::Server { server } => format!("server {server}"),
            Self::Tool { server, tool } => format!("tool {server}/{tool}"),
            Self::Client { client } => format!("client {client}"),
        }
    }

    fn covers(&self, server: &str, tool: Option<&str>, client: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Server { server: s } => s == server,
            Self::Tool { server: s, tool: t } => s == server && tool == Some(t.as_str()),
            Self::Client { client: c } => c == client,
        }
    }
}

/// How far a kill goes. `Full` is more restrictive than `ReadOnly`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Write and destructive calls are stopped.
    ReadOnly,
    /// Everything that executes is stopped.
    Full,
}

impl Mode {
    /// `read-only` or `full`, as the command line and JSON have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Full => "full",
        }
    }
}

/// One engaged kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillEntry {
    /// `kd_…`.
    pub decision_id: String,
    /// What it covers.
    pub scope: Scope,
    /// How far it goes.
    pub mode: Mode,
    /// When it was engaged.
    pub since: Timestamp,
    /// Who engaged it: an operator, `local:NAME`, `file` or `signal`.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Everything that is stopped now. Immutable; a change makes a new one with a higher epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KillOverlay {
    /// Rises with each engage and release.
    pub epoch: u64,
    /// At most one per scope.
    pub entries: Vec<KillEntry>,
}

impl KillOverlay {
    /// The most restrictive entry that covers a call, if any stops a call of this class.
    pub fn stops(&self, server: &str, tool: Option<&str>, client: &str, class: Class) -> Option<&KillEntry> {
        self.entries
            .iter()
            .filter(|entry| entry.scope.covers(server, tool, client))
            .filter(|entry| entry.mode == Mode::Full || class > Class::Read)
            .max_by_key(|entry| entry.mode)
    }

    /// Whether anything at all is stopped.
    pub fn engaged(&self) -> bool {
        !self.entries.is_empty()
    }

    /// The overlay after engaging `entry`: it replaces an entry of the same scope unless that one goes further.
    #[must_use]
    pub fn engage(&self, entry: KillEntry) -> Self {
        let mut entries = self.entries.clone();
        match entries.iter_mut().find(|old| old.scope == entry.scope) {
            Some(old) if old.mode > entry.mode => {}
            Some(old) => *old = entry,
            None => entries.push(entry),
        }
        Self { epoch: self.epoch + 1, entries }
    }

    /// The overlay after releasing `scope`, wholly or down to `to`.
    #[must_use]
    pub fn release(&self, scope: &Scope, to: Option<Mode>) -> Self {
        let mut entries = self.entries.clone();
        match to {
            Some(mode) => entries.iter_mut().filter(|e| &e.scope == scope).for_each(|e| e.mode = e.mode.min(mode)),
            None => entries.retain(|entry| &entry.scope != scope),
        }
        Self { epoch: self.epoch + 1, entries }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(scope: Scope, mode: Mode) -> KillEntry {
        KillEntry { decision_id: "kd_1".into(), scope, mode, since: Timestamp(0), by: "ana".into(), reason: "test".into() }
    }

    #[test]
    fn the_most_restrictive_entry_counts() {
        let overlay = KillOverlay::default()
            .engage(entry(Scope::Everything, Mode::ReadOnly))
            .engage(entry(Scope::Client { client: "ci".into() }, Mode::Full));
        assert!(overlay.stops("s", Some("t"), "other", Class::Read).is_none());
        assert!(overlay.stops("s", Some("t"), "other", Class::Write).is_some());
        assert_eq!(overlay.stops("s", Some("t"), "ci", Class::Write).map(|e| e.mode), Some(Mode::Full));
        assert!(overlay.stops("s", None, "ci", Class::Read).is_some());
    }

    #[test]
    fn engaging_never_loosens_and_release_is_by_scope() {
        let full = KillOverlay::default().engage(entry(Scope::Everything, Mode::Full));
        let still = full.engage(entry(Scope::Everything, Mode::ReadOnly));
        assert_eq!(still.entries[0].mode, Mode::Full);
        assert!(still.epoch > full.epoch);
        assert_eq!(still.release(&Scope::Everything, Some(Mode::ReadOnly)).entries[0].mode, Mode::ReadOnly);
        assert!(!still.release(&Scope::Everything, None).engaged());
    }
}
