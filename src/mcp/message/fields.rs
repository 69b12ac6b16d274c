//! The members of `params` that a stage decides on, by method. Never types what no stage reads.

use std::ops::Range;

use super::super::era::{Era, META_VERSION, MODERN_VERSION};
use super::super::fault::WireFault;
use super::super::json::view;
use super::super::method::{MethodKind, kind_of};
use super::{Id, keys};

/// What completion/complete completes for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// `ref/prompt`, by name.
    Prompt(Box<str>),
    /// `ref/resource`, by URI or URI template.
    Resource(Box<str>),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub name: Option<Box<str>>,
    pub uri: Option<Box<str>>,
    pub task_id: Option<Box<str>>,
    pub arguments: Option<Range<usize>>,
    pub meta: Option<Range<usize>>,
    pub version: Option<Box<str>>,
    pub initialize_version: Option<Box<str>>,
    pub token: Option<Range<usize>>,
    pub cancelled: Option<Range<usize>>,
    pub reference: Option<Reference>,
    pub task: bool,
}

/// Reads the object `params` at `span`.
pub(super) fn read(message: view::Text<'_>, span: Range<usize>, method: &str) -> Result<Fields, WireFault> {
    let kind = kind_of(method);
    let body = message.bytes();
    let mut fields = Fields::default();
    for (key, value) in view::members(message, span) {
        match (key.as_ref(), kind) {
            ("_meta", _) => read_meta(body, value, &mut fields)?,
            ("name", MethodKind::ToolCall | MethodKind::PromptGet) => fields.name = Some(text(body, value, "name")?),
            ("arguments", MethodKind::ToolCall | MethodKind::PromptGet) => {
                fields.arguments = Some(object(body, value, "arguments")?);
            }
            ("uri", MethodKind::ResourceRead | MethodKind::Subscribe | MethodKind::Unsubscribe) => {
                fields.uri = Some(text(body, value, "uri")?);
            }
            ("taskId", kind) if kind.is_task() => fields.task_id = Some(text(body, value, "taskId")?),
            ("task", _) => fields.task = true,
            ("requestId", MethodKind::Cancelled) => fields.cancelled = Some(id(body, value, "requestId")?),
            ("protocolVersion", MethodKind::Initialize) => {
                fields.initialize_version = Some(text(body, value, "protocolVersion")?);
            }
            ("ref", MethodKind::Complete) => fields.reference = Some(read_reference(body, value)?),
            (other, _) if keys::is_variant(other, keys::PARAMS) => return Err(variant("params")),
            _ => {}
        }
    }
    complete(fields, kind)
}

/// The fields of a message without `params`.
pub(super) fn none(method: &str) -> Result<Fields, WireFault> {
    complete(Fields::default(), kind_of(method))
}

fn complete(fields: Fields, kind: MethodKind) -> Result<Fields, WireFault> {
    // A method that the message's era does not know is refused for that, whatever its params hold (2026-07-28, basic/index: 404, -32601).
    if fields.version.as_deref() == Some(MODERN_VERSION) && !kind.exists_in(Era::Modern) {
        return Ok(fields);
    }
    let (is_present, name) = match kind {
        MethodKind::ToolCall | MethodKind::PromptGet => (fields.name.is_some(), "name"),
        MethodKind::ResourceRead | MethodKind::Subscribe | MethodKind::Unsubscribe => (fields.uri.is_some(), "uri"),
        MethodKind::TaskGet | MethodKind::TaskResult | MethodKind::TaskUpdate | MethodKind::TaskCancel => {
            (fields.task_id.is_some(), "taskId")
        }
        MethodKind::Cancelled => (fields.cancelled.is_some(), "requestId"),
        MethodKind::Initialize => (fields.initialize_version.is_some(), "protocolVersion"),
        MethodKind::Complete => (fields.reference.is_some(), "ref"),
        _ => (true, ""),
    };
    if is_present { Ok(fields) } else { Err(WireFault::invalid_params(format_args!("params.{name} is missing"))) }
}

fn read_meta(body: &[u8], span: Range<usize>, fields: &mut Fields) -> Result<(), WireFault> {
    fields.meta = Some(object(body, span.clone(), "_meta")?);
    for (key, value) in view::members(body, span) {
        match key.as_ref() {
            META_VERSION => fields.version = Some(text(body, value, "_meta.protocolVersion")?),
            "progressToken" => fields.token = Some(id(body, value, "_meta.progressToken")?),
            other if keys::is_variant(other, keys::META) => return Err(variant("params._meta")),
            _ => {}
        }
    }
    Ok(())
}

fn read_reference(body: &[u8], span: Range<usize>) -> Result<Reference, WireFault> {
    let (mut kind, mut name, mut uri) = (None, None, None);
    for (key, value) in view::members(body, object(body, span, "ref")?) {
        match key.as_ref() {
            "type" => kind = Some(text(body, value, "ref.type")?),
            "name" => name = Some(text(body, value, "ref.name")?),
            "uri" => uri = Some(text(body, value, "ref.uri")?),
            other if keys::is_variant(other, keys::REFERENCE) => return Err(variant("params.ref")),
            _ => {}
        }
    }
    match (kind.as_deref(), name, uri) {
        (Some("ref/prompt"), Some(name), None) => Ok(Reference::Prompt(name)),
        (Some("ref/resource"), None, Some(uri)) => Ok(Reference::Resource(uri)),
        _ => Err(WireFault::invalid_params("params.ref is neither a prompt nor a resource")),
    }
}

fn text(body: &[u8], span: Range<usize>, name: &str) -> Result<Box<str>, WireFault> {
    let text = view::string(body, span).ok_or_else(|| wrong(name, "a string"))?;
    Ok(text.into_owned().into_boxed_str())
}

fn object(body: &[u8], span: Range<usize>, name: &str) -> Result<Range<usize>, WireFault> {
    if view::is_object(body, &span) { Ok(span) } else { Err(wrong(name, "an object")) }
}

fn id(body: &[u8], span: Range<usize>, name: &str) -> Result<Range<usize>, WireFault> {
    let is_id = body.get(span.clone()).and_then(Id::from_raw).is_some();
    if is_id { Ok(span) } else { Err(wrong(name, "a string of at most 256 bytes or an integer")) }
}

fn wrong(name: &str, due: &str) -> WireFault {
    WireFault::invalid_params(format_args!("params.{name} must be {due}"))
}

fn variant(place: &str) -> WireFault {
    WireFault::invalid_request(format_args!("a key of {place} differs from a reserved one only by case"))
}
