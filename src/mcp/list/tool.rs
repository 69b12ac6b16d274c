//! What a tool says of itself. Never a reason to trust it: hints of a server may only lower what the configuration grants.

use super::super::json::view;

/// The annotations that name a class; none where absent or no boolean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    pub read_only: Option<bool>,
    pub destructive: Option<bool>,
    pub idempotent: Option<bool>,
    pub open_world: Option<bool>,
}

/// Reads `annotations` of a tool definition as written.
pub fn hints(raw_tool: &[u8]) -> Hints {
    let mut hints = Hints::default();
    let Some(annotations) = view::member(raw_tool, view::root(raw_tool), "annotations") else { return hints };
    for (key, value) in view::members(raw_tool, annotations) {
        let value = match raw_tool.get(value) {
            Some(b"true") => Some(true),
            Some(b"false") => Some(false),
            _ => None,
        };
        match key.as_ref() {
            "readOnlyHint" => hints.read_only = value,
            "destructiveHint" => hints.destructive = value,
            "idempotentHint" => hints.idempotent = value,
            "openWorldHint" => hints.open_world = value,
            _ => {}
        }
    }
    hints
}
