//! The ledger as its own command shows it, walked to the end. Reads no file of the ledger: a test believes what an auditor can get.

use serde_json::Value;

use crate::harness::Lifeboat;

/// Every event that fits the filters, newest first.
pub fn query(lifeboat: &Lifeboat, filters: &[&str]) -> Vec<Value> {
    let mut events = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut args = vec!["audit", "query", "--limit", "1000"];
        args.extend_from_slice(filters);
        if let Some(cursor) = &after {
            args.extend_from_slice(&["--after", cursor]);
        }
        let page = lifeboat.json(&args);
        events.extend(page["events"].as_array().expect("audit query has events").iter().cloned());
        after = match &page["next"] {
            Value::Null => return events,
            Value::String(cursor) => Some(cursor.clone()),
            other => Some(other.to_string()),
        };
    }
}

/// How many events the ledger holds; panics unless it verifies.
pub fn verified(lifeboat: &Lifeboat) -> u64 {
    let verdict = lifeboat.json(&["audit", "verify"]);
    assert_eq!(verdict["ok"], true, "{verdict}");
    verdict["events"].as_u64().expect("audit verify counts events")
}

/// The end of a call: a read's one event, or a write's outcome.
pub fn is_outcome(event: &Value) -> bool {
    event["kind"] == "call" || event["kind"] == "call.outcome"
}

/// Milliseconds since 1970 of an RFC 3339 stamp in UTC, `2026-11-22T17:05:09.123Z`.
pub fn millis(stamp: &str) -> i64 {
    let part = |from: usize, to: usize| {
        stamp.get(from..to).and_then(|digits| digits.parse::<i64>().ok()).unwrap_or_else(|| panic!("stamp {stamp}"))
    };
    let (year, month, day) = (part(0, 4), part(5, 7), part(8, 10));
    // Days from civil, counted from March so that the leap day comes last.
    let shifted = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + of_year - 719_468;
    ((days * 24 + part(11, 13)) * 60 + part(14, 16)) * 60_000 + part(17, 19) * 1000 + part(20, 23)
}

#[test]
fn stamps_become_milliseconds() {
    assert_eq!(millis("1970-01-01T00:00:00.000Z"), 0);
    assert_eq!(millis("2026-11-22T17:05:09.123Z"), 1_795_367_109_123);
}
