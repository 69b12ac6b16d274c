//! Every way a request can be refused, with its one text. Texts are read by people and by agents: they say what happened, whether
//! the tool ran, and what to do. Never carries content of the request or of the server.

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

use super::oauth::OauthFault;
use super::rotation::RotationFault;
use super::{arguments, authn};
use crate::config::Class;
use crate::inspect::schema::Misfit;
use crate::mcp::era::Era;
use crate::mcp::fault::{INVALID_PARAMS, METHOD_NOT_FOUND, WireFault};
use crate::mcp::reply;
use crate::policy::Mode;

/// Whether the tool ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executed {
    /// Certainly not.
    No,
    /// Certainly.
    Yes,
    /// It was sent and no answer says.
    Unknown,
}

impl Executed {
    /// The word in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Yes => "yes",
            Self::Unknown => "unknown",
        }
    }
}

/// How a server failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Not reached, not ready, or its answer was none.
    Unavailable,
    /// No first byte in time.
    Timeout,
    /// It showed the wrong certificate or stands at an address that is not allowed.
    Untrusted,
    /// It, or we for it, said before doing anything that the call is not taken now. Says nothing about how well it is.
    Declined,
}

/// Why a request is not served.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// An operator stopped it; `executed` is not `No` when it was cut in flight.
    Killed { mode: Mode, executed: Executed },
    /// No grant permits it; one of the `policy.…` slugs.
    Policy(&'static str),
    /// The arguments do not fit the tool's schema; answered as a result of the tool, so that an agent reads it.
    Arguments { misfit: Box<Misfit>, era: Era },
    /// The tool's schema cannot be used, so nothing can be held against it.
    SchemaUnusable,
    /// Too many calls a second.
    Rate { after: Duration },
    /// Too many calls in flight.
    Concurrency,
    /// The request is over its cap, in bytes.
    RequestSize { limit: u64 },
    /// The answer is over its cap, in bytes.
    ResponseSize { limit: u64, executed: Executed },
    /// The server failed.
    Upstream { failure: Failure, executed: Executed, class: Class, detail: &'static str },
    /// The server failed so often in a row that it is left alone for a while.
    Resting { after: Duration },
    /// The ledger takes no event.
    Ledger { executed: Executed },
    /// No credential, or one that does not count. Holds the challenge and the slug the stranger is counted under.
    Unauthenticated { challenge: String, why: &'static str },
    /// A token whose scopes do not reach what its client's grants do. Holds the challenge that says which would.
    Scope { challenge: String },
    /// The credential was ended while the call was under way.
    Lapsed { executed: Executed },
    /// No token is given, or none ended.
    Oauth(OauthFault),
    /// No successor of a key is given.
    Rotation(RotationFault),
    /// A Host or Origin that is not ours.
    Foreign(&'static str),
    /// No message, or headers that disagree with it.
    Wire(WireFault),
    /// A path that is not served.
    NoPath,
    /// An HTTP method that is not served at this path.
    NoMethod,
    /// The same at a path that is only read.
    ReadOnly,
    /// A session that is unknown, over, or somebody else's.
    NoSession,
    /// An event to resume from that this session has not seen.
    NoEvent,
    /// A task that is unknown, over, or somebody else's.
    NoTask,
    /// The body did not arrive in time.
    Slow,
    /// A fault in Lifeboat itself.
    Broken { executed: Executed },
}

impl Refusal {
    /// A failed server, told so that a write that may have run never reads as "try again".
    pub fn upstream(failure: Failure, executed: Executed, class: Class, detail: &'static str) -> Self {
        Self::Upstream { failure, executed, class, detail }
    }

    /// The slug of the ledger and of `data.reason`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Killed { mode: Mode::Full, .. } => "kill.engaged",
            Self::Killed { mode: Mode::ReadOnly, .. } => "kill.read_only",
            Self::Policy(slug) => slug,
            Self::Arguments { .. } => "schema.arguments",
            Self::SchemaUnusable => "tool.schema_unusable",
            Self::Rate { .. } => "rate.client",
            Self::Concurrency => "rate.concurrency",
            Self::RequestSize { .. } => "size.request",
            Self::ResponseSize { .. } => "size.response",
            Self::Upstream { failure: Failure::Timeout, .. } => "upstream.timeout",
            Self::Upstream { failure: Failure::Untrusted, .. } => "upstream.untrusted",
            Self::Upstream { executed: Executed::Unknown, class, .. } if *class > Class::Read => "upstream.outcome_unknown",
            Self::Upstream { .. } | Self::Resting { .. } => "upstream.unavailable",
            Self::Ledger { .. } => "ledger.unavailable",
            Self::Unauthenticated { why, .. } | Self::Foreign(why) => why,
            Self::Scope { .. } => "auth.insufficient_scope",
            Self::Lapsed { .. } => "auth.revoked",
            Self::Oauth(fault) => fault.slug(),
            Self::Rotation(fault) => fault.slug(),
            Self::Wire(fault) if fault.code == METHOD_NOT_FOUND => "wire.unknown_method",
            Self::Wire(_) => "wire.malformed",
            Self::NoPath => "wire.no_path",
            Self::NoMethod | Self::ReadOnly => "wire.no_method",
            Self::NoSession => "wire.no_session",
            Self::NoEvent => "wire.no_event",
            Self::NoTask => "task.unknown",
            Self::Slow => "wire.slow_body",
            Self::Broken { .. } => "bug",
        }
    }

    /// The HTTP status: 200 for what is answered in-band (docs/CONTRACT.md, "Refusals").
    pub fn status(&self) -> StatusCode {
        match self {
            Self::RequestSize { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
            Self::Foreign(_) | Self::Scope { .. } => StatusCode::FORBIDDEN,
            Self::Oauth(fault) => fault.status(),
            Self::Rotation(fault) => fault.status(),
            Self::Wire(fault) => StatusCode::from_u16(fault.status).unwrap_or(StatusCode::BAD_REQUEST),
            Self::NoPath | Self::NoSession | Self::NoEvent => StatusCode::NOT_FOUND,
            Self::NoMethod | Self::ReadOnly => StatusCode::METHOD_NOT_ALLOWED,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::OK,
        }
    }

    /// Whether the tool ran.
    pub fn executed(&self) -> Executed {
        match self {
            Self::Killed { executed, .. }
            | Self::Upstream { executed, .. }
            | Self::Ledger { executed }
            | Self::ResponseSize { executed, .. }
            | Self::Lapsed { executed }
            | Self::Broken { executed } => *executed,
            _ => Executed::No,
        }
    }

    /// The JSON-RPC error response.
    pub fn to_body(&self, id_raw: Option<&[u8]>, request_id: &str) -> Bytes {
        if let Self::Wire(fault) = self {
            let mut fault = fault.clone();
            fault.id_raw = fault.id_raw.or_else(|| id_raw.map(<[u8]>::to_vec));
            return fault.to_body().into();
        }
        if let Self::Oauth(fault) = self {
            return fault.to_body();
        }
        if let Self::Rotation(fault) = self {
            return fault.to_body(request_id);
        }
        if let Self::Arguments { misfit, era } = self {
            return arguments::answer(id_raw, request_id, self.reason(), (misfit, *era));
        }
        let mut data = json!({
            "reason": if let Self::Unauthenticated { why, .. } = self { authn::told(why) } else { self.reason() },
            "request_id": request_id,
            "executed": self.executed().word(),
            "retry": self.retry(),
        });
        if let Some(after) = self.retry_after_ms() {
            data["retry_after_ms"] = json!(after);
        }
        reply::error(id_raw, self.code(), &self.message(), &data).into()
    }

    fn code(&self) -> i64 {
        match self {
            Self::Killed { .. } => -31001,
            Self::Policy(_) | Self::Lapsed { .. } => -31002,
            Self::Rate { .. } | Self::Concurrency => -31003,
            Self::SchemaUnusable => -31004,
            Self::RequestSize { .. } | Self::ResponseSize { .. } => -31006,
            Self::Upstream { .. } | Self::Resting { .. } => -31007,
            Self::Ledger { .. } => -31008,
            Self::Wire(fault) => fault.code,
            Self::NoTask => INVALID_PARAMS,
            Self::Broken { .. } => -32603,
            _ => -32600,
        }
    }

    fn retry(&self) -> &'static str {
        match self {
            Self::Killed { .. } | Self::Policy(_) | Self::SchemaUnusable | Self::Lapsed { .. } => "ask_operator",
            Self::Upstream { failure: Failure::Untrusted, .. } => "ask_operator",
            Self::Ledger { executed: Executed::No } => "ask_operator",
            _ if self.retry_after_ms().is_some() => "after",
            _ => "no",
        }
    }

    fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::Rate { after } | Self::Resting { after } => u64::try_from(after.as_millis()).ok(),
            Self::Concurrency => Some(250),
            Self::Upstream { failure: Failure::Untrusted, .. } => None,
            Self::Upstream { executed: Executed::No, .. } | Self::Upstream { class: Class::Read, .. } => Some(2_000),
            _ => None,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Killed { mode, executed } => killed(*mode, *executed),
            Self::Policy(slug) => policy(slug).to_owned(),
            Self::Arguments { misfit, .. } => arguments::sentence(misfit),
            Self::SchemaUnusable => {
                "The schema of this tool's arguments cannot be used, so no call can be checked. The call did not run. Ask the operator.".into()
            }
            Self::Rate { after } => format!(
                "Too many calls: this client's rate is used up. The call did not run. Wait {} ms, then try again.",
                after.as_millis()
            ),
            Self::Concurrency => {
                "Too many calls of this client are in flight. The call did not run. Wait until one of them ends.".into()
            }
            Self::RequestSize { limit } => {
                format!("The request is larger than {limit} bytes. It did not run. Send a smaller one.")
            }
            Self::ResponseSize { limit, .. } => format!(
                "The server answered with more than {limit} bytes, so the answer was withheld. Ask for less; do not repeat a call \
                 that changes something."
            ),
            Self::Upstream { failure, executed, class, detail } => upstream(*failure, *executed, *class, detail),
            Self::Resting { after } => format!(
                "The server behind this address has failed several times in a row and is left alone for a while. The call did not run. \
                 Try again in {} ms.",
                after.as_millis()
            ),
            Self::Ledger { executed } => ledger(*executed).to_owned(),
            Self::Unauthenticated { .. } => "A credential is needed: Authorization: Bearer with a client key or an access token that counts.".into(),
            Self::Scope { .. } => {
                "This token was not given for what this tool does. The call did not run. Get one with the scope that the challenge names.".into()
            }
            Self::Lapsed { executed } => lapsed(*executed).into(),
            Self::Oauth(fault) => fault.error().into(),
            Self::Rotation(fault) => fault.text(),
            Self::Foreign(_) => "This Host or Origin is not served here.".into(),
            Self::Wire(fault) => fault.message.clone(),
            Self::NoPath => "Nothing is served at this path.".into(),
            Self::NoMethod | Self::ReadOnly => "This HTTP method is not served here.".into(),
            Self::NoSession => "Session not found. Initialize a new one.".into(),
            Self::NoTask => "Task not found.".into(),
            Self::NoEvent => {
                "This session has no such event to resume from. What was asked may have run; do not repeat it blindly.".into()
            }
            Self::Slow => "The body of the request did not arrive in time.".into(),
            Self::Broken { executed: Executed::No } => "Lifeboat met a fault of its own. The call did not run.".into(),
            Self::Broken { .. } => {
                "Lifeboat met a fault of its own. Whether the call ran is unknown: do not repeat it; tell your user.".into()
            }
        }
    }
}

fn killed(mode: Mode, executed: Executed) -> String {
    let what = match mode {
        Mode::Full => "Stopped by an operator: the kill switch is engaged.",
        Mode::ReadOnly => "Stopped by an operator: only calls that change nothing are served now.",
    };
    let ran = match executed {
        Executed::No => "The call did not run.",
        Executed::Yes => "The call had run; its answer was withheld.",
        Executed::Unknown => "The call was cut in flight; whether it ran is unknown.",
    };
    format!("{what} {ran} Do not retry and do not look for another way; tell your user.")
}

fn lapsed(executed: Executed) -> &'static str {
    match executed {
        Executed::No => "The credential of this call was revoked. The call did not run. Do not retry; ask the operator.",
        _ => {
            "The credential of this call was revoked while it was under way; whether it ran is unknown. Do not repeat it; tell your user."
        }
    }
}

fn policy(slug: &str) -> &'static str {
    match slug {
        "policy.class" => {
            "Not permitted: this client's grants do not reach what this tool does. The call did not run. Do not retry; ask the operator."
        }
        "policy.unknown_tool" => "There is no such tool on this server. The call did not run. List the tools again.",
        "policy.unknown_server" => "There is no such server here. The call did not run. Check the address or ask the operator.",
        _ => "Not permitted: no grant of this client names this. The call did not run. Do not retry; ask the operator.",
    }
}

fn upstream(failure: Failure, executed: Executed, class: Class, detail: &str) -> String {
    let what = match failure {
        Failure::Unavailable | Failure::Declined => "The server behind this address cannot serve the call",
        Failure::Timeout => "The server behind this address did not answer in time",
        Failure::Untrusted => "The server behind this address is not the one that was approved",
    };
    let ran = match (executed, class) {
        (Executed::No, _) if failure == Failure::Untrusted => "The call did not run. Ask the operator.",
        (Executed::No, _) => "The call did not run. Try again later.",
        (_, Class::Read) => "It was sent; it changes nothing, so it may be tried again later.",
        (Executed::Yes, _) => "The call did run. Do not repeat it; tell your user.",
        (Executed::Unknown, _) => "Whether the call ran is unknown. Do not repeat it; find out what happened or tell your user.",
    };
    format!("{what}: {detail}. {ran}")
}

fn ledger(executed: Executed) -> &'static str {
    match executed {
        Executed::No => "The ledger cannot be written, and nothing runs unrecorded. The call did not run. Ask the operator.",
        Executed::Yes => {
            "The call did run, but its outcome could not be recorded, so the answer is withheld. Do not repeat it; ask the operator."
        }
        Executed::Unknown => {
            "The outcome of the call could not be recorded. Whether it ran is unknown. Do not repeat it; ask the operator."
        }
    }
}
