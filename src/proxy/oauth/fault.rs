//! Every way the token endpoint can say no, with its one text (RFC 6749 section 5.2, RFC 8707 section 2). Never says which part of a
//! credential was wrong, and never what exists to whom it does not concern.

use bytes::Bytes;
use http::StatusCode;
use serde_json::json;

/// Why no token is given, or none ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OauthFault {
    /// Another HTTP method.
    NotPost,
    /// A body that is over its cap.
    TooLarge,
    /// Not a request of this kind; what is wrong.
    Malformed(&'static str),
    /// The client did not prove itself; whether it tried with the Authorization header, and the slug it is counted under.
    Client { by_header: bool, why: &'static str },
    /// An assertion that cannot count; what is wrong with it.
    Assertion(&'static str),
    /// Too many wrong proofs from here, or too many tokens for this client; seconds to wait.
    TooMany { seconds: u64 },
    /// An assertion that the process before this one may have seen; seconds until none can be any more.
    Early { seconds: u64 },
    /// Another grant than client_credentials.
    Grant,
    /// A scope there is none of, or that this client's grants do not reach.
    Scope(String),
    /// No resource, several, or one that is not served here.
    Target(&'static str),
    /// It could not be recorded, so it does not happen.
    Ledger,
    /// There is no key to sign with.
    NoKey,
    /// The end of the token counts, but it is not stored yet.
    NotStored,
}

impl OauthFault {
    /// The word of the specification.
    pub fn error(&self) -> &'static str {
        match self {
            Self::NotPost | Self::TooLarge | Self::Malformed(_) => "invalid_request",
            Self::Client { .. } | Self::Assertion(_) => "invalid_client",
            Self::Grant => "unsupported_grant_type",
            Self::Scope(_) => "invalid_scope",
            Self::Target(_) => "invalid_target",
            Self::TooMany { .. } | Self::Early { .. } | Self::Ledger | Self::NoKey | Self::NotStored => "temporarily_unavailable",
        }
    }

    /// The slug it is counted under.
    pub fn slug(&self) -> &'static str {
        match self {
            Self::NotPost | Self::TooLarge | Self::Malformed(_) => "oauth.invalid_request",
            Self::Client { why, .. } => why,
            Self::Assertion(_) => "oauth.assertion",
            Self::TooMany { .. } => "oauth.too_many",
            Self::Grant => "oauth.unsupported_grant_type",
            Self::Scope(_) => "oauth.invalid_scope",
            Self::Target(_) => "oauth.invalid_target",
            Self::Ledger => "ledger.unavailable",
            Self::Early { .. } | Self::NoKey | Self::NotStored => "oauth.unavailable",
        }
    }

    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NotPost => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Client { .. } | Self::Assertion(_) => StatusCode::UNAUTHORIZED,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Early { .. } | Self::Ledger | Self::NoKey | Self::NotStored => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// Whether the answer names how a client proves itself (RFC 6749: only where it tried by the header).
    pub fn challenges(&self) -> bool {
        matches!(self, Self::Client { by_header: true, .. })
    }

    /// Seconds to wait before trying again.
    pub fn wait(&self) -> Option<u64> {
        match self {
            Self::TooMany { seconds } | Self::Early { seconds } => Some(*seconds),
            Self::Ledger | Self::NoKey | Self::NotStored => Some(5),
            _ => None,
        }
    }

    /// The document.
    pub fn to_body(&self) -> Bytes {
        json!({"error": self.error(), "error_description": self.text()}).to_string().into()
    }

    fn text(&self) -> String {
        match self {
            Self::NotPost => "This endpoint takes POST only.".into(),
            Self::TooLarge => "The form is too large.".into(),
            Self::Malformed(what) => format!("The request cannot be understood: {what}."),
            Self::Client { .. } => {
                "This client did not prove itself. Show its secret, or an assertion signed with one of its keys.".into()
            }
            Self::Assertion(what) => format!("The assertion does not count: {what}."),
            Self::TooMany { seconds } => format!("Too many requests. Wait {seconds} s, then try again."),
            Self::Early { seconds } => format!(
                "This server has just started, and takes no assertion that was made within its first minute. Wait {seconds} s, then make a new one."
            ),
            Self::Grant => "Only grant_type=client_credentials is served here.".into(),
            Self::Scope(what) => format!("{what} Nothing was given. Ask the operator."),
            Self::Target(what) => format!("{what} Send resource=, the URL of the MCP server exactly as its metadata names it."),
            Self::Ledger => "The ledger cannot be written, and nothing is given unrecorded. Ask the operator.".into(),
            Self::NoKey => "There is no key to sign tokens with. Ask the operator.".into(),
            Self::NotStored => "The token is refused from now on, but that could not be stored yet. Try again.".into(),
        }
    }
}
