//! The audit event, exactly as one ledger line holds it (docs/CONTRACT.md, "Audit event"). Absent fields are left out. Never holds a secret.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::clock::Timestamp;

/// One append-only record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Event {
    /// Position in the ledger, from 1, without a gap. The recorder sets it.
    pub seq: u64,
    /// When it was recorded. The recorder sets it.
    pub ts: Timestamp,
    /// `call.intent`, `call.outcome`, `call`, `list`, `auth.refused`, `operator.action` or `system`.
    pub kind: String,
    /// `req_…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Client name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Key id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// First 12 characters of the digest of the proxy's session id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Address of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// Server name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// JSON-RPC method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Tool name without its server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// `read`, `write` or `destructive`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// Shapes of the parameters: name, type, size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// SHA-256 of the raw parameters, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub params_sha256: Option<String>,
    /// `permit` or `refuse`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// Slug of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `ROLE#N` of a permit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    /// `COMMIT+EPOCH` of the policy that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// `ok`, `tool_error`, `refused`, `upstream_error`, `cancelled`, `cut` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `no`, `yes` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executed: Option<String>,
    /// From the first byte of the request to the last of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<f64>,
    /// Size of the request body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
    /// Size of the response body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// DLP findings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Value>,
    /// Who acted, for `operator.action`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// The verb, for `operator.action` and `system`: `kill.engage`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// What was acted on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Hash of the event before it, hex. The recorder sets it.
    pub prev: String,
    /// Hash of this event, hex. The recorder sets it.
    pub hash: String,
}

impl Event {
    /// An event of a kind, everything else absent.
    pub fn of(kind: &str) -> Self {
        Self { kind: kind.to_owned(), ..Self::default() }
    }

    /// An operator's action.
    pub fn action(operator: &str, action: &str, object: impl Into<String>) -> Self {
        Self {
            operator: Some(operator.into()),
            action: Some(action.into()),
            object: Some(object.into()),
            ..Self::of("operator.action")
        }
    }

    /// Something Lifeboat did itself.
    pub fn system(action: &str, object: impl Into<String>) -> Self {
        Self { action: Some(action.into()), object: Some(object.into()), ..Self::of("system") }
    }
}
