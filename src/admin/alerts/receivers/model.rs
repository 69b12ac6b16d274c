//! Receivers of alerts in words, exactly as commands and API print them. A secret stands in the one answer that shows it, and nowhere else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::clock::Timestamp;

/// A receiver to add.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AddReceiver {
    /// What to call it.
    pub name: String,
    /// `https://…`, or `http://` on loopback with `plain_loopback`.
    pub url: String,
    /// Patterns of rules; none means every rule.
    pub rules: Vec<String>,
    /// Allows loopback, and `http://` there.
    pub plain_loopback: bool,
    /// Private address ranges that the host name may resolve to.
    pub allow_addresses: Vec<String>,
    /// Absolute path, on Lifeboat's host, of the CA certificates that sign it.
    pub ca: Option<String>,
}

/// A new secret, shown this once.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReceiverSecret {
    /// The receiver.
    pub receiver: String,
    /// Where it is.
    pub url: String,
    /// `whsec_…`: what its signatures are checked with.
    pub secret: String,
    /// Until when the secret before signs too.
    pub old_until: Option<Timestamp>,
}

/// A receiver was removed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReceiverRemoved {
    /// The receiver.
    pub receiver: String,
    /// The running revision without it.
    pub revision: String,
}

/// One receiver.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Receiver {
    /// What it is called.
    pub name: String,
    /// `ready`, `no_secret`, `paused` (it said 410 Gone) or `failing` (its last attempt failed).
    pub state: String,
    /// Why, when it is not ready.
    pub why: Option<String>,
    /// Where it is.
    pub url: String,
    /// Patterns of rules.
    pub rules: Vec<String>,
    /// Since when its secret counts.
    pub secret_since: Option<Timestamp>,
    /// Until when the secret before signs too.
    pub old_until: Option<Timestamp>,
    /// Notices that wait for it.
    pub waiting: u64,
    /// How the notice ended that ended last: `delivered`, `given_up` or `dropped`.
    pub last: Option<String>,
    /// When that was.
    pub last_at: Option<Timestamp>,
    /// Notices that wait or ended, the newest.
    pub deliveries: Vec<Delivery>,
}

/// One notice to one receiver.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Delivery {
    /// `msg_…`, what `webhook-id` says.
    pub id: String,
    /// `alert.open`, `alert.ack`, `alert.resolve` or `alert.test`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Of which alert.
    pub alert: String,
    /// `waiting`, `delivered`, `given_up` or `dropped`.
    pub state: String,
    /// How often it was tried.
    pub attempts: u32,
    /// The status of the last answer.
    pub status: Option<u16>,
    /// Why the last attempt failed.
    pub why: Option<String>,
    /// How long the last attempt took.
    pub ms: Option<u64>,
    /// When it came about.
    pub made_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When it is tried next.
    pub next_at: Option<Timestamp>,
}

/// What the watchdog saw.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct WatchdogView {
    /// Who is asked.
    pub url: String,
    /// How often.
    pub every_seconds: u64,
    /// When it was last answered.
    pub last_ok: Option<Timestamp>,
    /// How many attempts in a row failed.
    pub failures: u32,
    /// Why the last one failed.
    pub why: Option<String>,
}

/// Every receiver.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ReceiverList {
    /// As they stand in `alerts.toml`.
    pub receivers: Vec<Receiver>,
    /// Who is told that alerts are looked for; nobody when it is not configured.
    pub watchdog: Option<WatchdogView>,
}

/// Whom to send a test.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TestOrder {
    /// One receiver; all of them when not given.
    pub receiver: Option<String>,
}

/// How a test ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Tested {
    /// There are receivers, and the test arrived at each.
    pub ok: bool,
    /// One for each receiver.
    pub receivers: Vec<TestedReceiver>,
    /// Why nothing was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// How a test ended at one receiver.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TestedReceiver {
    /// The receiver.
    pub name: String,
    /// It answered 2xx.
    pub ok: bool,
    /// Its status.
    pub status: Option<u16>,
    /// How long it took.
    pub ms: u64,
    /// Why it failed.
    pub why: Option<String>,
}
