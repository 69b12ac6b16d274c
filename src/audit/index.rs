//! Keeps `audit/index.db` up with the ledger by reading the segments, and answers queries from it. A missing, damaged or foreign index
//! is built anew while everything else runs. Never the source of anything.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::block;
use super::chain;
use super::query::{Bucket, Filter, Page, ReasonCount, Totals};
use super::segment::{self, Cursor, Lines};
use super::state::Shared;
use super::store::{self, IndexEnd, Store, StoreFault};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};

const BATCH: usize = 1_024;
// Events are gathered this long when nobody asks for them: one transaction for many.
const GATHER: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_millis(500);
const FORGET: Duration = Duration::from_secs(600);
/// How long a query waits for the index.
pub const PATIENCE: Duration = Duration::from_secs(2);
const MINUTE: i64 = 60_000;

/// The derived index of one ledger.
pub struct Index {
    dir: PathBuf,
    shared: Arc<Shared>,
    store: ArcSwapOption<Store>,
    indexed: watch::Sender<u64>,
    hurry: Notify,
    spoiled: Notify,
}

impl Index {
    /// The index of the ledger in `dir`; nothing is opened until `run`.
    pub fn new(dir: &Path, shared: Arc<Shared>) -> Self {
        let (hurry, spoiled) = (Notify::new(), Notify::new());
        Self { dir: dir.to_owned(), shared, store: ArcSwapOption::empty(), indexed: watch::Sender::new(0), hurry, spoiled }
    }

    /// Follows the ledger until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            let fault = tokio::select! {
                () = stop.cancelled() => break,
                () = self.spoiled.notified() => StoreFault::Spoiled("a query found it damaged".into()),
                fault = self.follow() => fault,
            };
            self.close().await;
            match fault {
                StoreFault::Spoiled(why) => {
                    tracing::warn!(why, "the ledger's index is built anew");
                    store::wipe(&self.dir);
                }
                StoreFault::Later(why) => tracing::warn!(why, "the ledger's index waits"),
            }
            // Also after a wipe: a disk that spoils every index must not keep a core busy.
            tokio::select! {
                () = stop.cancelled() => break,
                () = sleep(RETRY) => {}
            }
        }
        self.close().await;
    }

    async fn close(&self) {
        if let Some(store) = self.store.swap(None) {
            store.close().await;
        }
        self.indexed.send_replace(0);
    }

    async fn follow(&self) -> StoreFault {
        match self.keep_up().await {
            Ok(never) => match never {},
            Err(fault) => fault,
        }
    }

    async fn keep_up(&self) -> Result<std::convert::Infallible, StoreFault> {
        let store = Arc::new(Store::open(&self.dir).await?);
        let end = store.end().await?;
        if let Some(end) = &end {
            self.check_ours(end).await?;
        }
        let (mut done, mut mts) = end.map_or((0, i64::MIN), |end| (end.seq, end.mts));
        self.store.store(Some(store.clone()));
        self.indexed.send_replace(done);
        let mut cursor = Cursor::before(done + 1);
        let mut ledger = self.shared.follow();
        let mut forget_at = Instant::now();
        loop {
            if Instant::now() >= forget_at {
                forget_at += FORGET;
                self.forget(&store).await?;
            }
            let wanted = cursor.next_seq();
            if self.shared.last_seq() < wanted {
                // The ledger ends only with the process; then nothing is left to do.
                if timeout(FORGET, ledger.wait_for(|last| *last >= wanted)).await.is_ok() {
                    let _ = timeout(GATHER, self.hurry.notified()).await;
                }
                continue;
            }
            let upto = self.shared.last_seq();
            let lines = self.read(&mut cursor, upto).await?;
            let Some((last, _)) = lines.last() else {
                return Err(StoreFault::Later("the ledger's newest lines cannot be read".into()));
            };
            done = *last;
            let cut = block::cut(&lines, &mut mts);
            let (blocks, tallies) = cut.map_err(|error| StoreFault::Later(format!("an event cannot be read: {error}")))?;
            store.add(blocks, tallies).await?;
            self.indexed.send_replace(done);
        }
    }

    async fn read(&self, cursor: &mut Cursor, upto: u64) -> Result<Lines, StoreFault> {
        let (dir, mut moved) = (self.dir.clone(), cursor.clone());
        let read = tokio::task::spawn_blocking(move || moved.read(&dir, upto, BATCH).map(|lines| (moved, lines))).await;
        let (moved, lines) =
            read.map_err(|error| StoreFault::Later(error.to_string()))?.map_err(|error| StoreFault::Later(error.to_string()))?;
        *cursor = moved;
        Ok(lines)
    }

    // The last indexed event must stand in the ledger with the same bytes, unless retention removed it.
    async fn check_ours(&self, end: &IndexEnd) -> Result<(), StoreFault> {
        let foreign = || StoreFault::Spoiled("it is of another ledger".into());
        if end.seq > self.shared.last_seq() {
            return Err(foreign());
        }
        let lines = self.read(&mut Cursor::before(end.seq), self.shared.last_seq()).await?;
        match lines.first() {
            Some((seq, line)) if *seq == end.seq && *line != end.line => Err(foreign()),
            _ => Ok(()),
        }
    }

    // What retention removed from the ledger leaves the index too.
    async fn forget(&self, store: &Store) -> Result<(), StoreFault> {
        let dir = self.dir.clone();
        let first = tokio::task::spawn_blocking(move || first_seq(&dir)).await.ok().flatten();
        let Some(first) = first.filter(|first| *first > 1) else { return Ok(()) };
        while store.forget(first).await? {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// As `Ledger::query`.
    ///
    /// # Errors
    /// As `Ledger::query`.
    pub async fn query(&self, filter: &Filter) -> Verb<Page> {
        let (before, size) = (filter.before()?, filter.page_size());
        let wanted = self.shared.last_seq();
        let store = self.reach(wanted).await?;
        let found = store.newest(filter, before, size + 1).await.map_err(|fault| self.fault(fault))?;
        let mut page = Page::of(found.events, size);
        if page.next.is_none() {
            page.next = found.unread.map(|seq| seq.to_string());
        }
        Ok(page)
    }

    async fn reach(&self, wanted: u64) -> Verb<Arc<Store>> {
        let mut indexed = self.indexed.subscribe();
        if *indexed.borrow() < wanted {
            self.hurry.notify_one();
        }
        let reached = timeout(PATIENCE, indexed.wait_for(|done| *done >= wanted)).await.is_ok();
        let done = *self.indexed.borrow();
        match self.store.load_full() {
            Some(store) if reached => Ok(store),
            _ => Err(Fault::unavailable(format!("the ledger's index is being built: it is at event {done} of {wanted}"))),
        }
    }

    fn fault(&self, fault: StoreFault) -> Fault {
        if matches!(fault, StoreFault::Spoiled(_)) {
            self.spoiled.notify_one();
        }
        Fault::unavailable("the ledger's index cannot be read").because(fault)
    }

    fn opened(&self) -> Verb<Arc<Store>> {
        self.store.load_full().ok_or_else(|| Fault::unavailable("the ledger's index is being opened"))
    }

    /// As `Ledger::counts`.
    ///
    /// # Errors
    /// As `Ledger::counts`.
    pub async fn counts(&self, since: Timestamp, until: Timestamp, bucket_ms: i64) -> Verb<Vec<Bucket>> {
        // Whole minutes are what the index keeps; more than a year of them is nobody's chart.
        let width = (bucket_ms.max(MINUTE) / MINUTE) * MINUTE;
        let start = since.0.div_euclid(width) * width;
        let start = start.max(until.0 - 600_000 * width);
        let found = self.opened()?.outcomes(start.div_euclid(MINUTE), until.0.div_euclid(MINUTE)).await;
        let mut buckets = BTreeMap::new();
        let mut at = start;
        while at <= until.0 {
            buckets.insert(at, Bucket { start: Timestamp(at), ..Bucket::default() });
            at += width;
        }
        for (minute, outcome, n) in found.map_err(|fault| self.fault(fault))? {
            if let Some((_, bucket)) = buckets.range_mut(..=minute * MINUTE).next_back() {
                count(bucket, &outcome, n);
            }
        }
        Ok(buckets.into_values().collect())
    }

    /// As `Ledger::totals`.
    ///
    /// # Errors
    /// As `Ledger::totals`.
    pub async fn totals(&self, since: Timestamp) -> Verb<Totals> {
        let found = self.opened()?.outcomes(since.0.div_euclid(MINUTE), i64::MAX).await;
        let mut sum = Bucket::default();
        for (_, outcome, n) in found.map_err(|fault| self.fault(fault))? {
            count(&mut sum, &outcome, n);
        }
        let Bucket { permitted, refused, upstream_error, .. } = sum;
        Ok(Totals { calls: permitted + refused + upstream_error, permitted, refused, upstream_error })
    }

    /// As `Ledger::refusals_by_reason`.
    ///
    /// # Errors
    /// As `Ledger::refusals_by_reason`.
    pub async fn refusals_by_reason(&self, since: Timestamp) -> Verb<Vec<ReasonCount>> {
        let found = self.opened()?.refusals(since.0.div_euclid(MINUTE)).await.map_err(|fault| self.fault(fault))?;
        let mut reasons: BTreeMap<String, (u64, Tops, Tops)> = BTreeMap::new();
        for (reason, client, tool, n) in found {
            let n = u64::try_from(n).unwrap_or(0);
            let (count, clients, tools) = reasons.entry(reason).or_default();
            *count += n;
            *clients.entry(client).or_default() += n;
            *tools.entry(tool).or_default() += n;
        }
        let mut counts: Vec<ReasonCount> = reasons
            .into_iter()
            .map(|(reason, (count, clients, tools))| ReasonCount { reason, count, top_client: top(clients), top_tool: top(tools) })
            .collect();
        counts.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.reason.cmp(&b.reason)));
        Ok(counts)
    }
}

type Tops = HashMap<String, u64>;

fn top(counts: Tops) -> Option<String> {
    let named = counts.into_iter().filter(|(name, _)| !name.is_empty());
    named.max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0))).map(|(name, _)| name)
}

fn count(bucket: &mut Bucket, outcome: &str, n: i64) {
    let n = u64::try_from(n).unwrap_or(0);
    match outcome {
        "refused" => bucket.refused += n,
        "upstream_error" => bucket.upstream_error += n,
        _ => bucket.permitted += n,
    }
}

fn first_seq(dir: &Path) -> Option<u64> {
    let oldest = segment::list(dir).ok()?.first()?.number;
    let line = segment::first_line(dir, oldest).ok()??;
    chain::link(&line).map(|link| link.seq)
}
