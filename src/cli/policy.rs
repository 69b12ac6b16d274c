//! `policy test` for people: what does not hold, by file and line, and the count. Never more than the document says.

use serde_json::Value;

/// The results as text.
pub(super) fn text(value: &Value) -> String {
    let number = |key: &str| value[key].as_u64().unwrap_or(0);
    if number("cases") == 0 {
        return "there are no cases; they stand in config/policy-tests/NAME.toml (docs/CONFIG.md)".to_owned();
    }
    let failed = value["results"].as_array().into_iter().flatten().filter(|result| result["passed"] != true);
    let get = |result: &Value, key: &str| result[key].as_str().unwrap_or_default().to_owned();
    let mut lines: Vec<String> =
        failed.map(|result| format!("{}:{}: {}", get(result, "file"), result["line"], get(result, "message"))).collect();
    lines.push(match number("failed") {
        0 => format!("all {} cases hold", number("cases")),
        failed => format!("{failed} of {} cases do not hold", number("cases")),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_hold_is_named_by_line() {
        let results = json!([{"file": "policy-tests/ci.toml", "line": 2, "passed": false, "message": "refused"}, {"passed": true}]);
        let shown = text(&json!({"cases": 2, "failed": 1, "results": results}));
        assert_eq!(shown, "policy-tests/ci.toml:2: refused\n1 of 2 cases do not hold");
        assert_eq!(text(&json!({"cases": 3, "failed": 0, "results": []})), "all 3 cases hold");
    }
}
