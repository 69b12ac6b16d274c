//! One message from a server: a line of a stdio child, a body, or the data of an event. Lenient where the specification is, but never lets
//! through what two parsers could read differently.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::super::json::{self, JsonLimits, view};
use super::{Id, Kind, envelope, splice};

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// Why the output of a server is no message. Never holds its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingFault(String);

impl fmt::Display for IncomingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A message from a server.
#[derive(Clone, Debug)]
pub struct Incoming {
    body: Bytes,
    skips: view::Skips,
    kind: Kind,
    id: Option<Range<usize>>,
    method: Option<Box<str>>,
    params: Option<Range<usize>>,
    result: Option<Range<usize>>,
    error: Option<Range<usize>>,
    token: Option<Range<usize>>,
    cancelled: Option<Range<usize>>,
    subscription: Option<Range<usize>>,
}

/// Reads one message from a server. Ids are strings or integers; only an error may carry a null id.
pub fn parse_incoming(body: Bytes) -> Result<Incoming, IncomingFault> {
    let skips = json::outline(&body, JsonLimits::SERVER).map_err(|fault| IncomingFault(fault.to_string()))?;
    let text = view::Text::new(&body, &skips);
    let found = envelope::read(text, envelope::Sender::Server).map_err(|what| IncomingFault(what.to_owned()))?;
    let param = |key| found.params.clone().and_then(|params| view::member(text, params, key));
    let token = if found.method.as_deref() == Some("notifications/progress") { param("progressToken") } else { None };
    let cancelled = if found.method.as_deref() == Some("notifications/cancelled") { param("requestId") } else { None };
    for span in [&token, &cancelled].into_iter().flatten() {
        if body.get(span.clone()).and_then(Id::from_raw).is_none() {
            return Err(IncomingFault("a progress token or request id that is neither string nor integer".to_owned()));
        }
    }
    let holder = found.params.clone().or_else(|| found.result.clone());
    let meta = holder.and_then(|holder| view::member(text, holder, "_meta"));
    let subscription = meta.and_then(|meta| view::member(text, meta, SUBSCRIPTION));
    Ok(Incoming {
        kind: found.kind,
        id: found.id,
        method: found.method,
        params: found.params,
        result: found.result,
        error: found.error,
        token,
        cancelled,
        subscription,
        skips,
        body,
    })
}

impl Incoming {
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The bytes as they came in.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The id as written; none for a notification and for an error without a usable id.
    pub fn id_raw(&self) -> Option<&[u8]> {
        self.raw(self.id.as_ref())
    }

    pub fn id(&self) -> Option<Id> {
        self.id_raw().and_then(Id::from_raw)
    }

    /// None for a response.
    pub fn method(&self) -> Option<&str> {
        self.method.as_deref()
    }

    pub fn params_raw(&self) -> Option<&[u8]> {
        self.raw(self.params.as_ref())
    }

    /// One member of `params` as written.
    pub fn param_raw(&self, key: &str) -> Option<&[u8]> {
        self.member(self.params.as_ref(), key)
    }

    /// True for a JSON-RPC error response. A tool's own failure is `is_tool_error`.
    pub fn is_error(&self) -> bool {
        self.error.is_some()
    }

    /// `error.code`; none where there is no error or its code is no integer.
    pub fn error_code(&self) -> Option<i64> {
        let raw = self.member(self.error.as_ref(), "code")?;
        std::str::from_utf8(raw).ok()?.parse().ok()
    }

    pub fn error_raw(&self) -> Option<&[u8]> {
        self.raw(self.error.as_ref())
    }

    pub fn result_raw(&self) -> Option<&[u8]> {
        self.raw(self.result.as_ref())
    }

    /// One member of an object `result` as written.
    pub fn result_member_raw(&self, key: &str) -> Option<&[u8]> {
        self.member(self.result.as_ref(), key)
    }

    /// One string member of an object `result`, decoded: `resultType`, `protocolVersion`, `nextCursor`, `taskId`.
    pub fn result_text(&self, key: &str) -> Option<String> {
        let raw = self.result_member_raw(key)?;
        view::string(raw, 0..raw.len()).map(std::borrow::Cow::into_owned)
    }

    /// `result.isError` is true: the tool ran and failed.
    pub fn is_tool_error(&self) -> bool {
        self.result_member_raw("isError") == Some(b"true")
    }

    /// `params.progressToken` of notifications/progress, as written.
    pub fn progress_token_raw(&self) -> Option<&[u8]> {
        self.raw(self.token.as_ref())
    }

    /// `params.requestId` of notifications/cancelled, as written.
    pub fn cancelled_request_id_raw(&self) -> Option<&[u8]> {
        self.raw(self.cancelled.as_ref())
    }

    /// `_meta["io.modelcontextprotocol/subscriptionId"]` of `params` or `result`, as written: the id of the subscriptions/listen request.
    pub fn subscription_id_raw(&self) -> Option<&[u8]> {
        self.raw(self.subscription.as_ref())
    }

    /// The bytes with another id, for a response; where it carries a subscription id equal to the old one, that is replaced too.
    pub fn with_id(&self, id: &[u8]) -> Bytes {
        let same = self.subscription.as_ref().filter(|_| self.subscription_id_raw().and_then(Id::from_raw) == self.id());
        splice::splice(&self.body, [(self.id.as_ref(), Some(id)), (same, Some(id))])
    }

    /// The bytes of notifications/progress with another token; all else byte-equal.
    pub fn with_progress_token(&self, token: &[u8]) -> Bytes {
        splice::splice(&self.body, [(self.token.as_ref(), Some(token))])
    }

    /// The bytes of notifications/cancelled with another `params.requestId`; all else byte-equal.
    pub fn with_cancelled_id(&self, id: &[u8]) -> Bytes {
        splice::splice(&self.body, [(self.cancelled.as_ref(), Some(id))])
    }

    /// The bytes with another subscription id; all else byte-equal.
    pub fn with_subscription_id(&self, id: &[u8]) -> Bytes {
        splice::splice(&self.body, [(self.subscription.as_ref(), Some(id))])
    }

    /// The bytes with another `result`, JSON as written; all else byte-equal.
    pub fn with_result(&self, result: &[u8]) -> Bytes {
        splice::splice(&self.body, [(self.result.as_ref(), Some(result))])
    }

    pub(in crate::mcp) fn result_span(&self) -> Option<Range<usize>> {
        self.result.clone()
    }

    fn raw(&self, span: Option<&Range<usize>>) -> Option<&[u8]> {
        self.body.get(span?.clone())
    }

    fn member(&self, span: Option<&Range<usize>>, key: &str) -> Option<&[u8]> {
        let value = view::member(view::Text::new(&self.body, &self.skips), span?.clone(), key)?;
        self.body.get(value)
    }
}
