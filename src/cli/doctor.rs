//! `doctor` for people: one line a check, the mending under what needs it, a count at the end. Never more than the document says.

use serde_json::Value;

// Details are sentences; further ones would leave the screen.
const NAME: usize = 18;

/// The examination as text.
pub(super) fn text(value: &Value) -> String {
    let checks: Vec<&Value> = value["checks"].as_array().into_iter().flatten().collect();
    let count = |state: &str| checks.iter().filter(|check| check["state"] == state).count();
    let mut lines: Vec<String> = Vec::new();
    for check in &checks {
        let get = |key: &str| check[key].as_str().unwrap_or_default();
        lines.push(format!("{:<4}  {:<NAME$}  {}", get("state"), get("name"), get("detail")));
        if !get("mend").is_empty() {
            lines.push(format!("{:<4}  {:<NAME$}  mend: {}", "", "", get("mend")));
        }
    }
    lines.push(String::new());
    lines.push(match (count("fail"), count("warn")) {
        (0, 0) => format!("all {} checks are well", checks.len()),
        (failed, warned) => format!("{failed} failed, {warned} need somebody, {} are well", count("ok")),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_has_its_mending_under_it() {
        let value = serde_json::json!({"ok": false, "checks": [
            {"name": "permissions", "state": "fail", "detail": "x has mode 0644", "mend": "chmod go= x"},
            {"name": "ledger", "state": "ok", "detail": "can be written", "mend": ""}]});
        let shown = text(&value);
        assert!(shown.contains("fail  permissions         x has mode 0644\n"), "{shown}");
        assert!(shown.contains("  mend: chmod go= x\n") && shown.ends_with("1 failed, 0 need somebody, 1 are well"), "{shown}");
    }
}
