//! `config diff` and `config rollback` for people: the patches as they are, and below them what was done. Never colours: it may go into a file.

use serde_json::Value;

use super::out;

/// The text of an answer.
pub(super) fn text(value: &Value) -> String {
    let files = value["files"].as_array().map(Vec::as_slice).unwrap_or_default();
    if files.is_empty() {
        return "no difference".to_owned();
    }
    let mut text: String = files.iter().filter_map(|file| file["patch"].as_str()).collect();
    if value.get("revision").is_some() {
        let mut rest = value.clone();
        rest["files"] = files.iter().map(|file| file["path"].clone()).collect();
        text += &out::text(&rest);
    }
    text
}
