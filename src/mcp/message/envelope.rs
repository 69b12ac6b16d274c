//! The top level of a message: the six members of JSON-RPC 2.0. Never looks into `params`, `result` or `error`.

use std::ops::Range;

use super::super::json::view;
use super::super::method;
use super::{Id, Kind, keys};

/// Who sent it: a server may answer with a null id where it could not read ours.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Server,
}

#[derive(Debug)]
pub(super) struct Envelope {
    pub kind: Kind,
    pub id: Option<Range<usize>>,
    pub method: Option<Box<str>>,
    pub params: Option<Range<usize>>,
    pub result: Option<Range<usize>>,
    pub error: Option<Range<usize>>,
}

#[derive(Default)]
struct Members {
    jsonrpc: Option<Range<usize>>,
    id: Option<Range<usize>>,
    method: Option<Range<usize>>,
    params: Option<Range<usize>>,
    result: Option<Range<usize>>,
    error: Option<Range<usize>>,
}

/// Reads the top level of a checked body; the error says what is wrong with it.
pub(super) fn read(text: view::Text<'_>, sender: Sender) -> Result<Envelope, &'static str> {
    let found = collect(text)?;
    let body = text.bytes();
    let version = found.jsonrpc.and_then(|span| view::string(body, span));
    if version.as_deref() != Some("2.0") {
        return Err("jsonrpc must be \"2.0\"");
    }
    let method = match found.method {
        None => None,
        Some(span) => Some(view::string(body, span).ok_or("method must be a string")?.into_owned().into_boxed_str()),
    };
    let (kind, id) = match (method.is_some(), found.id) {
        (true, None) => (Kind::Notification, None),
        (true, Some(id)) => (Kind::Request, Some(valid_id(body, id)?)),
        (false, None) => return Err("neither method nor id"),
        (false, Some(id)) if sender == Sender::Server && found.error.is_some() && body.get(id.clone()) == Some(b"null") => {
            (Kind::Response, None)
        }
        (false, Some(id)) => (Kind::Response, Some(valid_id(body, id)?)),
    };
    let envelope = Envelope { kind, id, method, params: found.params, result: found.result, error: found.error };
    envelope.shape(body)?;
    Ok(envelope)
}

fn collect(text: view::Text<'_>) -> Result<Members, &'static str> {
    let mut found = Members::default();
    for (key, value) in view::members(text, view::root(text.bytes())) {
        match key.as_ref() {
            "jsonrpc" => found.jsonrpc = Some(value),
            "id" => found.id = Some(value),
            "method" => found.method = Some(value),
            "params" => found.params = Some(value),
            "result" => found.result = Some(value),
            "error" => found.error = Some(value),
            other if keys::is_variant(other, keys::TOP) => return Err("a key that differs from a reserved one only by case"),
            _ => {}
        }
    }
    Ok(found)
}

fn valid_id(body: &[u8], span: Range<usize>) -> Result<Range<usize>, &'static str> {
    let is_id = body.get(span.clone()).and_then(Id::from_raw).is_some();
    if is_id { Ok(span) } else { Err("id must be a string of at most 256 bytes or an integer") }
}

impl Envelope {
    fn shape(&self, body: &[u8]) -> Result<(), &'static str> {
        if self.params.as_ref().is_some_and(|span| !view::is_object(body, span)) {
            return Err("params must be an object");
        }
        if self.error.as_ref().is_some_and(|span| !view::is_object(body, span)) {
            return Err("error must be an object");
        }
        match self.kind {
            Kind::Response if self.params.is_some() => Err("params without method"),
            Kind::Response if self.result.is_some() == self.error.is_some() => Err("a response holds one of result and error"),
            Kind::Request | Kind::Notification if self.result.is_some() || self.error.is_some() => {
                Err("a message holds a method or an outcome, not both")
            }
            _ => Ok(()),
        }
    }

    /// A request method without id would be executed by some servers and answered by none; a notification with id waits for ever.
    pub(super) fn shape_of_client(&self) -> Result<(), &'static str> {
        let Some(name) = &self.method else { return Ok(()) };
        match (self.kind, method::kind_of(name).is_notification()) {
            (Kind::Notification, false) => Err("a request lacks its id"),
            (Kind::Request, true) => Err("a notification carries an id"),
            _ => Ok(()),
        }
    }
}
