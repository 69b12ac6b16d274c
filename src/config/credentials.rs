//! `credentials.toml`: whose a credential is, how often it is replaced, and how long the old one and the new one count side by side. Never holds a
//! credential.

use globset::{GlobBuilder, GlobMatcher};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::command_issuer::CommandIssuerConfig;
use super::http_issuer::HttpIssuerConfig;
use super::postgres::PostgresConfig;

/// The file of credentials.
pub const FILE: &str = "credentials.toml";

/// Kinds whose new version nobody has to bring: they can be replaced by the schedule.
pub const BY_ITSELF: [&str; 8] = ["client-key", "client-secret", "token-key", "webhook", "tls", "postgres", "http", "command"];

/// The longest overlap: a year.
pub const LONGEST_OVERLAP_MS: i64 = 365 * 24 * HOUR_MS;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// The whole of `credentials.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Credentials {
    /// What is said of credentials, by their names. The first entry whose pattern fits a name counts, and the defaults of its kind for the rest.
    #[serde(rename = "credential", skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<CredentialEntry>,
    /// Roles of PostgreSQL databases that servers log in with; each is the credential `postgres/NAME`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub postgres: Vec<PostgresConfig>,
    /// Issuers of tokens that servers are sent, reached by HTTP; each is the credential `http/NAME`.
    #[serde(rename = "http", skip_serializing_if = "Vec::is_empty")]
    pub issuers: Vec<HttpIssuerConfig>,
    /// Issuers of tokens that servers are sent, reached by commands on this host; each is the credential `command/NAME`.
    #[serde(rename = "command", skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<CommandIssuerConfig>,
}

/// What is said of the credentials of one pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialEntry {
    /// A pattern of `KIND/NAME`, such as `client-key/*` or `upstream/github:authorization`.
    pub name: String,
    /// Who answers for it: a team or a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Days after which it is due to be replaced; 0 means never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_every_days: Option<u32>,
    /// `when-due`: the schedule `[rotate]` begins the rotation when it is due. For kinds whose new version nobody has to bring: `client-key`,
    /// `webhook`, `tls`, `postgres`, `http` and `command`.
    #[serde(default, skip_serializing_if = "Rotate::is_by_hand")]
    pub rotate: Rotate,
    /// How long the old one counts beside the new one: `now`, or a number with `m`, `h` or `d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<String>,
    /// Seconds that the old one must rest before it is taken for given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet_seconds: Option<u32>,
    /// Who holds it besides Lifeboat, and where: said to whoever has to wait for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// The tool, `SERVER/TOOL` without required arguments, that a new client key or secret must be able to call before the old one ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
}

/// Who begins a rotation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rotate {
    /// Somebody orders it.
    #[default]
    ByHand,
    /// The schedule does when it is due.
    WhenDue,
}

impl Rotate {
    fn is_by_hand(&self) -> bool {
        *self == Self::ByHand
    }
}

impl Credentials {
    /// The server that a credential of another system is for.
    pub fn server_of(&self, name: &str) -> Option<&str> {
        let (kind, bare) = name.split_once('/')?;
        match kind {
            "postgres" => self.postgres.iter().find(|one| one.name == bare).map(|one| one.server.as_str()),
            "http" => self.issuers.iter().find(|one| one.name == bare).map(|one| one.server.as_str()),
            "command" => self.commands.iter().find(|one| one.name == bare).map(|one| one.server.as_str()),
            _ => None,
        }
    }

    /// What is said of a credential.
    pub fn of(&self, name: &str) -> Option<&CredentialEntry> {
        self.entries.iter().find(|entry| pattern(&entry.name).is_ok_and(|pattern| pattern.is_match(name)))
    }
}

/// Reads a pattern of names; `*` does not cross the slash between kind and name.
///
/// # Errors
/// A sentence that says what is wrong.
pub fn pattern(text: &str) -> Result<GlobMatcher, String> {
    let built = GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build();
    let fits = text.contains('/') && text.len() <= 200;
    let built = built.ok().filter(|_| fits).map(|glob| glob.compile_matcher());
    built.ok_or_else(|| format!("\"{text}\" is no pattern of credentials, such as \"client-key/*\""))
}

/// Reads an overlap, in milliseconds.
///
/// # Errors
/// A sentence that says how one is written.
pub fn overlap_ms(text: &str) -> Result<i64, String> {
    let wrong = || format!("\"{text}\" is no overlap: write now, or a number with m, h or d, such as 24h; 365d at most");
    let text = text.trim();
    if text == "now" {
        return Ok(0);
    }
    let unit = match text.chars().last() {
        Some('m') => MINUTE_MS,
        Some('h') => HOUR_MS,
        Some('d') => 24 * HOUR_MS,
        _ => return Err(wrong()),
    };
    let digits = text.get(..text.len() - 1).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let count: i64 = digits.and_then(|digits| digits.parse().ok()).ok_or_else(wrong)?;
    let ms = count.checked_mul(unit).filter(|ms| (1..=LONGEST_OVERLAP_MS).contains(ms));
    ms.ok_or_else(wrong)
}

/// An overlap as `overlap_ms` reads it.
pub fn overlap_text(ms: i64) -> String {
    match ms {
        ..=0 => "now".to_owned(),
        days if days % (24 * HOUR_MS) == 0 && days > 2 * 24 * HOUR_MS => format!("{}d", days / (24 * HOUR_MS)),
        hours if hours % HOUR_MS == 0 => format!("{}h", hours / HOUR_MS),
        rest => format!("{}m", (rest / MINUTE_MS).max(1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_are_read_as_they_are_written() {
        for (text, ms) in [("now", 0), ("1h", HOUR_MS), ("24h", 24 * HOUR_MS), ("7d", 168 * HOUR_MS), ("30m", 30 * MINUTE_MS)] {
            assert_eq!(overlap_ms(text), Ok(ms));
            assert_eq!(overlap_text(ms), text);
        }
        for bad in ["", "0h", "h", "-1h", "366d", "1y", "1.5h", "é", "99999999999999999999h", "now now"] {
            assert!(overlap_ms(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_first_pattern_that_fits_counts() {
        let entry = |name: &str, owner: &str| CredentialEntry {
            name: name.into(),
            owner: Some(owner.into()),
            rotate_every_days: None,
            rotate: Rotate::ByHand,
            overlap: None,
            quiet_seconds: None,
            holder: None,
            canary: None,
        };
        let credentials =
            Credentials { entries: vec![entry("client-key/ci*", "ci"), entry("client-key/*", "all")], ..Credentials::default() };
        let owner = |name: &str| credentials.of(name).and_then(|entry| entry.owner.clone());
        assert_eq!(owner("client-key/ci-1").as_deref(), Some("ci"));
        assert_eq!(owner("client-key/web").as_deref(), Some("all"));
        assert_eq!(owner("tls/server"), None);
        assert!(pattern("*").is_err() && pattern("a/[").is_err());
    }
}
