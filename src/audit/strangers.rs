//! Refusals before authentication, counted per source and reason between two flushes. Bounded: strangers cannot grow the ledger.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Rows written per flush; what does not fit is one row `other`.
pub const ROWS: usize = 8;

// More keys than this between two flushes are counted as `other` at once, so that memory is bounded too.
const KEYS: usize = 4_096;

/// The counts since the last flush.
#[derive(Debug, Default)]
pub struct Strangers(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    by_source: HashMap<(IpAddr, &'static str), u64>,
    other: u64,
}

/// One row of a flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrangerRow {
    /// Where they came from; `None` is the row `other`.
    pub source: Option<IpAddr>,
    /// Why they were refused; `other` in the row of the rest.
    pub reason: &'static str,
    /// How many times.
    pub count: u64,
}

impl Strangers {
    /// Counts one refusal.
    pub fn count(&self, source: IpAddr, reason: &'static str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.by_source.len() >= KEYS && !counts.by_source.contains_key(&(source, reason)) {
            counts.other += 1;
            return;
        }
        *counts.by_source.entry((source, reason)).or_default() += 1;
    }

    /// Takes the counts as rows: the largest eight, then the rest as one.
    pub fn flush(&self) -> Vec<StrangerRow> {
        let counts = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut rows: Vec<StrangerRow> = counts
            .by_source
            .into_iter()
            .map(|((source, reason), count)| StrangerRow { source: Some(source), reason, count })
            .collect();
        rows.sort_by(|a, b| b.count.cmp(&a.count).then(a.source.cmp(&b.source)));
        let rest = counts.other + rows.iter().skip(ROWS).map(|row| row.count).sum::<u64>();
        rows.truncate(ROWS);
        if rest > 0 {
            rows.push(StrangerRow { source: None, reason: "other", count: rest });
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_sources_become_eight_rows_and_other() {
        let strangers = Strangers::default();
        for last in 0..=20u8 {
            for _ in 0..=last {
                strangers.count(IpAddr::from([10, 0, 0, last]), "auth.missing");
            }
        }
        let rows = strangers.flush();
        assert_eq!(rows.len(), ROWS + 1);
        assert_eq!(rows[0].count, 21);
        assert_eq!(rows.iter().map(|r| r.count).sum::<u64>(), (1..=21).sum::<u64>());
        assert_eq!(rows[ROWS].source, None);
        assert!(strangers.flush().is_empty());
    }
}
