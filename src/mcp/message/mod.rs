//! One JSON-RPC message of a client, parsed strictly and kept as the bytes it came in. Never re-encodes: rewriting is replacing spans.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::fault::WireFault;
use super::json::{self, JsonLimits, view};

mod envelope;
mod fields;
mod incoming;
mod keys;
mod splice;
#[cfg(test)]
mod tests;

pub use fields::Reference;
pub use incoming::{Incoming, IncomingFault, parse_incoming};

pub(in crate::mcp) use keys::is_variant as spelled_otherwise;
pub(in crate::mcp) use splice::replace;

use fields::Fields;

/// Which of the three shapes of JSON-RPC a message has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Request,
    Notification,
    Response,
}

/// An id as a value, for tables: `"a"` and `"\u0061"` are the same id. What goes over the wire is always the raw text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id {
    Number(i64),
    Text(String),
}

/// Bytes of an id as written: ids are kept for as long as an answer may come, so nobody may fill the memory with them.
const LONGEST_ID: usize = 256;

impl Id {
    /// A string of at most 256 bytes, or an integer of 64 bits without exponent or fraction; none for anything else.
    pub fn from_raw(raw: &[u8]) -> Option<Self> {
        if raw.len() > LONGEST_ID {
            return None;
        }
        if raw.first() == Some(&b'"') {
            return view::string(raw, 0..raw.len()).map(|text| Self::Text(text.into_owned()));
        }
        if raw == b"-0" || !raw.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-') {
            return None;
        }
        std::str::from_utf8(raw).ok()?.parse().ok().map(Self::Number)
    }
}

/// A message from a client.
#[derive(Clone, Debug)]
pub struct Message {
    body: Bytes,
    skips: view::Skips,
    kind: Kind,
    id: Option<Range<usize>>,
    method: Option<Box<str>>,
    params: Option<Range<usize>>,
    outcome: Option<Range<usize>>,
    fields: Fields,
}

/// Reads one message. 400 for anything that two parsers could read differently, for a request method sent without id, and for fields of
/// the wrong type that a stage decides on. Of a method that does not exist in the era of the message nothing is wanted: [`served`] refuses it.
///
/// [`served`]: super::method::served
pub fn parse(body: Bytes) -> Result<Message, WireFault> {
    let skips = json::outline(&body, JsonLimits::CLIENT)?;
    let text = view::Text::new(&body, &skips);
    let envelope = envelope::read(text, envelope::Sender::Client).map_err(WireFault::invalid_request)?;
    let id_raw = envelope.id.clone().and_then(|id| body.get(id)).map(<[u8]>::to_vec);
    let faulty = |fault: WireFault| fault.with_id(id_raw.as_deref());
    envelope.shape_of_client().map_err(|what| faulty(WireFault::invalid_request(what)))?;
    let fields = match (&envelope.method, &envelope.params) {
        (Some(method), Some(params)) => fields::read(text, params.clone(), method).map_err(faulty)?,
        (Some(method), None) => fields::none(method).map_err(faulty)?,
        (None, _) => Fields::default(),
    };
    Ok(Message {
        kind: envelope.kind,
        id: envelope.id,
        method: envelope.method,
        params: envelope.params,
        outcome: envelope.result.or(envelope.error),
        fields,
        skips,
        body,
    })
}

impl Message {
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The bytes as they came in.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The id as written, quotes included; none for a notification.
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

    /// The object `params` as written.
    pub fn params_raw(&self) -> Option<&[u8]> {
        self.raw(self.params.as_ref())
    }

    /// One member of `params` as written.
    pub fn param_raw(&self, key: &str) -> Option<&[u8]> {
        let span = view::member(self.text(), self.params.clone()?, key)?;
        self.body.get(span)
    }

    /// `result` or `error` of a response, as written.
    pub fn outcome_raw(&self) -> Option<&[u8]> {
        self.raw(self.outcome.as_ref())
    }

    /// `params.name` of tools/call and prompts/get; there it is always present.
    pub fn name(&self) -> Option<&str> {
        self.fields.name.as_deref()
    }

    /// `params.uri` of resources/read, subscribe and unsubscribe; there it is always present.
    pub fn uri(&self) -> Option<&str> {
        self.fields.uri.as_deref()
    }

    /// `params.taskId` of tasks/…; there it is present but for tasks/list.
    pub fn task_id(&self) -> Option<&str> {
        self.fields.task_id.as_deref()
    }

    /// `params.arguments` of tools/call and prompts/get, an object.
    pub fn arguments_raw(&self) -> Option<&[u8]> {
        self.raw(self.fields.arguments.as_ref())
    }

    /// What completion/complete asks about; there it is always present.
    pub fn reference(&self) -> Option<&Reference> {
        self.fields.reference.as_ref()
    }

    /// `params._meta` as written, an object.
    pub fn meta_raw(&self) -> Option<&[u8]> {
        self.raw(self.fields.meta.as_ref())
    }

    /// `params._meta["io.modelcontextprotocol/protocolVersion"]`.
    pub fn meta_version(&self) -> Option<&str> {
        self.fields.version.as_deref()
    }

    /// `params.protocolVersion` of initialize; there it is always present.
    pub fn initialize_version(&self) -> Option<&str> {
        self.fields.initialize_version.as_deref()
    }

    /// `params._meta.progressToken` as written.
    pub fn progress_token_raw(&self) -> Option<&[u8]> {
        self.raw(self.fields.token.as_ref())
    }

    /// `params.requestId` of notifications/cancelled, as written; there it is always present.
    pub fn cancelled_request_id_raw(&self) -> Option<&[u8]> {
        self.raw(self.fields.cancelled.as_ref())
    }

    /// The bytes with another id and, where the message has one and `token` is given, another progress token; all else byte-equal.
    /// Both are JSON as written. A message without id keeps none.
    pub fn with_id_and_token(&self, id: &[u8], token: Option<&[u8]>) -> Bytes {
        splice::splice(&self.body, [(self.id.as_ref(), Some(id)), (self.fields.token.as_ref(), token)])
    }

    /// The bytes of a notifications/cancelled with another `params.requestId`; all else byte-equal.
    pub fn with_cancelled_id(&self, id: &[u8]) -> Bytes {
        splice::splice(&self.body, [(self.fields.cancelled.as_ref(), Some(id))])
    }

    /// The arguments of a call, else all parameters, in order: decoded name and value as written; none where there are none.
    pub fn told(&self) -> impl Iterator<Item = (Cow<'_, str>, &[u8])> {
        let object = self.fields.arguments.as_ref().or(self.params.as_ref()).cloned();
        let members = object.into_iter().flat_map(|object| view::members(self.text(), object));
        members.filter_map(|(name, value)| Some((name, self.body.get(value)?)))
    }

    /// Whether `params.task` is there: the request asks for a task.
    pub fn asks_for_task(&self) -> bool {
        self.fields.task
    }

    fn text(&self) -> view::Text<'_> {
        view::Text::new(&self.body, &self.skips)
    }

    fn raw(&self, span: Option<&Range<usize>>) -> Option<&[u8]> {
        self.body.get(span?.clone())
    }
}
