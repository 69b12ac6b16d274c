//! Which keys nobody may write in another case. Never applies to what stands inside `arguments`, `result` or unknown members.
//!
//! Some parsers match keys without regard to case, and fold `ſ` and `K` (CVE-2026-27896): for them a second spelling is the same key.

pub(super) const TOP: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error"];

pub(super) const PARAMS: &[&str] = &[
    "name",
    "uri",
    "arguments",
    "_meta",
    "taskId",
    "requestState",
    "inputResponses",
    "requestId",
    "progressToken",
    "protocolVersion",
    "capabilities",
    "clientInfo",
    "cursor",
    "ref",
    "argument",
    "context",
    "task",
    "level",
    "reason",
    "notifications",
];

pub(super) const META: &[&str] = &[
    "progressToken",
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/subscriptionId",
    "io.modelcontextprotocol/related-task",
];

pub(super) const REFERENCE: &[&str] = &["type", "name", "uri"];

/// True where `key` is another spelling of one of the reserved keys, not the key itself.
pub(in crate::mcp) fn is_variant(key: &str, reserved: &[&str]) -> bool {
    if reserved.contains(&key) {
        return false;
    }
    reserved.iter().any(|name| key.chars().map(fold).eq(name.chars().map(fold)))
}

/// Simple case folding as far as it can reach ASCII: the letters themselves, long s, the Kelvin sign, and the two Turkish letters that
/// upper- or lower-casing takes to `i`.
fn fold(letter: char) -> char {
    match letter {
        '\u{17F}' => 's',
        '\u{212A}' => 'k',
        '\u{130}' | '\u{131}' => 'i',
        other => other.to_ascii_lowercase(),
    }
}
