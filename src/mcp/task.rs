//! What a message says of a task: 2025-11-25 (basic/utilities/tasks) and the extension io.modelcontextprotocol/tasks of 2026-07-28. Never
//! reads the result of one.

use serde::Deserialize;
use serde_json::Value;

use super::message::{Incoming, Message};

/// Bytes of a task's id: it is kept for as long as the task may run.
pub const LONGEST_ID: usize = 1_024;

/// A task as its server describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskNote {
    /// Its id, opaque.
    pub id: String,
    /// `working`, `input_required`, `completed`, `failed`, `cancelled`; empty where it is not told.
    pub status: String,
    /// How long the server keeps it, in milliseconds from its creation; none for as long as it likes.
    pub ttl_ms: Option<u64>,
}

impl TaskNote {
    /// Nothing of it runs any more.
    pub fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed" | "cancelled")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    task_id: String,
    #[serde(default)]
    status: Value,
    #[serde(default)]
    ttl: Value,
    #[serde(default)]
    ttl_ms: Value,
}

/// The extension of 2026-07-28.
pub const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// Whether the client of a modern request declares the extension.
pub fn declared(request: &Message) -> bool {
    let meta = request.meta_raw().and_then(|meta| serde_json::from_slice::<Value>(meta).ok());
    meta.is_some_and(|meta| meta["io.modelcontextprotocol/clientCapabilities"]["extensions"].get(EXTENSION).is_some())
}

/// Whether the answer to a request may be a task: the request asks for one, or its client declares the extension.
pub fn may_begin(request: &Message) -> bool {
    let declares = |meta: &[u8]| meta.contains(&b'\\') || meta.windows(5).any(|part| part == b"tasks");
    request.asks_for_task() || request.meta_raw().is_some_and(declares)
}

/// The task that a result has begun in place of the result itself.
pub fn begun(incoming: &Incoming) -> Option<TaskNote> {
    match incoming.result_text("resultType").as_deref() {
        Some("task") => read(incoming.result_raw()?),
        _ => read(incoming.result_member_raw("task")?),
    }
}

/// The task that a notification or the answer to tasks/get and its like describes.
pub fn told(incoming: &Incoming) -> Option<TaskNote> {
    read(incoming.params_raw().or_else(|| incoming.result_raw())?)
}

/// `params.notifications.taskIds` of subscriptions/listen: whose news are asked for. What is no list of texts names a task that nobody has.
pub fn listened(request: &Message) -> Vec<String> {
    let raw = request.param_raw("notifications").unwrap_or_default();
    let ids = serde_json::from_slice::<Value>(raw).ok().and_then(|wanted| wanted.get("taskIds").cloned());
    match ids {
        None | Some(Value::Null) => Vec::new(),
        Some(ids) => serde_json::from_value(ids).unwrap_or_else(|_| vec![String::new()]),
    }
}

fn read(raw: &[u8]) -> Option<TaskNote> {
    let shape: Shape = serde_json::from_slice(raw).ok()?;
    let ttl = shape.ttl_ms.as_f64().or_else(|| shape.ttl.as_f64());
    let status = shape.status.as_str().unwrap_or_default().to_owned();
    // A negative or monstrous lifetime ends at the bounds of the type.
    Some(TaskNote { id: shape.task_id, status, ttl_ms: ttl.map(|ms| ms as u64) })
}

#[cfg(test)]
mod tests {
    use super::super::message::{parse, parse_incoming};
    use super::*;

    fn result(text: &str) -> Incoming {
        parse_incoming(format!(r#"{{"jsonrpc":"2.0","id":1,"result":{text}}}"#).into()).expect("a message")
    }

    #[test]
    fn a_task_is_found_in_either_era() {
        let note = |ttl_ms| Some(TaskNote { id: "t".into(), status: "working".into(), ttl_ms });
        assert_eq!(begun(&result(r#"{"task":{"taskId":"t","status":"working","ttl":60000}}"#)), note(Some(60_000)));
        assert_eq!(begun(&result(r#"{"resultType":"task","taskId":"t","status":"working","ttlMs":null}"#)), note(None));
        for none in [r#"{"resultType":"complete","taskId":"t"}"#, r#"{"task":"t"}"#, r#"{"task":{"taskId":1}}"#, "{}", "[]"] {
            assert_eq!(begun(&result(none)), None, "{none}");
        }
        let over = told(&result(r#"{"taskId":"t","status":"failed","resultType":"complete"}"#)).expect("a task");
        assert!(over.is_over());
    }

    #[test]
    fn who_may_get_a_task_is_seen_however_it_is_spelt() {
        let ask = |params: &str| {
            parse(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"x"{params}}}}}"#).into())
                .expect("a message")
        };
        assert!(may_begin(&ask(r#","task":{}"#)) && may_begin(&ask(r#","t\u0061sk":{}"#)));
        assert!(may_begin(&ask(r#","_meta":{"c":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#)));
        assert!(may_begin(&ask(r#","_meta":{"c":{"extensions":{"io.modelcontextprotocol/t\u0061sks":{}}}}"#)));
        assert!(!may_begin(&ask(r#","_meta":{"progressToken":1}"#)) && !may_begin(&ask("")));
    }
}
