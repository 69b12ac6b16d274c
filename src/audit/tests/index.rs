//! The derived index: paging, filters, aggregates, rebuilding.

use tokio_util::sync::CancellationToken;

use super::*;
use crate::audit::{Filter, Page, query};

struct Served {
    ledger: Ledger,
    recorder: Recorder,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn serve(home: &Home) -> Served {
    let (ledger, recorder) = home.open();
    let stop = CancellationToken::new();
    let task = tokio::spawn(ledger.clone().run_index(stop.clone()));
    Served { ledger, recorder, stop, task }
}

impl Served {
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
        self.ledger.shutdown().await;
    }
}

fn seqs(page: &Page) -> Vec<u64> {
    page.events.iter().map(|event| event.seq).collect()
}

async fn mixed(home: &Home, recorder: &Recorder) {
    for n in 0..40 {
        let client = if n % 2 == 0 { "even" } else { "odd" };
        let mut event = call(client, &format!("t{}", n % 4));
        if n % 5 == 0 {
            event.decision = Some("refuse".into());
            event.status = Some("refused".into());
            event.reason = Some("policy.no_grant".into());
        }
        if n % 8 == 1 {
            event.status = Some("upstream_error".into());
            event.class = Some("write".into());
            event.kind = "call.outcome".into();
        }
        recorder.record(event, Durability::Written).await.unwrap();
        home.clock.advance_ms(30_000);
    }
    let action = Event::action("ana", "kill.engage", "all");
    recorder.record(action, Durability::Synced).await.unwrap();
}

fn filters(home: &Home) -> Vec<Filter> {
    let some = |text: &str| Some(text.to_owned());
    let early = Timestamp::parse("2026-11-22T03:14:02.008Z").unwrap();
    let base = Filter::default;
    vec![
        base(),
        Filter { client: some("odd"), ..base() },
        Filter { tool: some("demo/t1"), ..base() },
        Filter { tool: some("t1"), server: some("demo"), ..base() },
        Filter { tool: some("t1"), ..base() },
        Filter { server: some("other"), ..base() },
        Filter { server: some("demo"), client: some("even"), ..base() },
        Filter { since: Some(early.plus_ms(300_000)), until: Some(early.plus_ms(600_000)), ..base() },
        Filter { since: Some(early.plus_ms(99_000_000)), ..base() },
        Filter { until: Some(early.plus_ms(-1)), ..base() },
        Filter { status: some("ok"), ..base() },
        Filter { status: some("upstream_error"), ..base() },
        Filter { decision: some("refuse"), ..base() },
        Filter { decision: some("permit"), class: some("write"), ..base() },
        Filter { class: some("read"), ..base() },
        Filter { reason: some("policy.no_grant"), client: some("even"), ..base() },
        Filter { kind: some("call.outcome"), ..base() },
        Filter { request_id: some("req_odd_t3"), ..base() },
        Filter { operator: some("ana"), ..base() },
        Filter { text: some("KILL.engage"), ..base() },
        Filter { until: Some(home.clock.at_now()), limit: Some(1_000), ..base() },
    ]
}

trait AtNow {
    fn at_now(&self) -> Timestamp;
}

impl AtNow for ManualClock {
    fn at_now(&self) -> Timestamp {
        crate::base::clock::Clock::now(self)
    }
}

#[tokio::test]
async fn every_filter_finds_what_reading_the_segments_finds_page_by_page() {
    let home = Home::new();
    let served = serve(&home);
    mixed(&home, &served.recorder).await;
    for filter in filters(&home) {
        let whole = query::scan(&home.dir(), &Filter { limit: Some(1_000), ..filter.clone() }).unwrap();
        let mut found = Vec::new();
        let mut page = Filter { limit: Some(7), ..filter.clone() };
        loop {
            let got = served.ledger.query(&page).await.unwrap();
            assert!(got.events.len() <= 7);
            found.extend(got.events);
            let Some(next) = got.next else { break };
            page.after = Some(next);
        }
        assert_eq!(found, whole.events, "{filter:?}");
        assert!(found.windows(2).all(|pair| pair[0].seq > pair[1].seq));
    }
    let fault = served.ledger.query(&Filter { after: Some("x".into()), ..Filter::default() }).await.unwrap_err();
    assert_eq!(fault.kind.word(), "invalid");
    served.end().await;
}

#[tokio::test]
async fn a_query_sees_every_recorded_event_at_once() {
    let home = Home::new();
    let served = serve(&home);
    for n in 1..=20 {
        served.recorder.record(call("c", "t"), Durability::Written).await.unwrap();
        let page = served.ledger.query(&Filter { limit: Some(1), ..Filter::default() }).await.unwrap();
        assert_eq!(seqs(&page), [n]);
    }
    served.end().await;
}

#[tokio::test]
async fn a_deleted_damaged_or_foreign_index_is_built_anew() {
    let home = Home::new();
    let served = serve(&home);
    mixed(&home, &served.recorder).await;
    let all = Filter { limit: Some(1_000), ..Filter::default() };
    let before = served.ledger.query(&all).await.unwrap();
    assert_eq!(before.events.len(), 41);
    let totals = served.ledger.totals(Timestamp(0)).await.unwrap();
    served.end().await;
    let other = Home::new();
    let foreign = serve(&other);
    fill(&foreign.recorder, 41).await;
    foreign.ledger.query(&all).await.unwrap();
    foreign.end().await;
    for spoil in 0..4 {
        let path = home.dir().join("index.db");
        match spoil {
            0 => std::fs::remove_file(&path).unwrap(),
            1 => std::fs::write(&path, b"this is no database, whatever its name says").unwrap(),
            2 => {
                let mut bytes = std::fs::read(&path).unwrap();
                bytes.iter_mut().skip(4_096).for_each(|byte| *byte = 0xa5);
                std::fs::write(&path, bytes).unwrap();
            }
            _ => drop(std::fs::copy(other.dir().join("index.db"), &path).unwrap()),
        }
        let served = serve(&home);
        let mut after = served.ledger.query(&all).await;
        for _ in 0..5 {
            if after.is_err() {
                after = served.ledger.query(&all).await;
            }
        }
        assert_eq!(after.unwrap(), before, "case {spoil}");
        assert_eq!(served.ledger.totals(Timestamp(0)).await.unwrap(), totals, "case {spoil}");
        served.end().await;
    }
}

#[tokio::test]
async fn the_dashboards_counts_add_up() {
    let home = Home::new();
    let start = home.clock.at_now();
    let served = serve(&home);
    mixed(&home, &served.recorder).await;
    served.recorder.stranger(std::net::IpAddr::from([10, 0, 0, 1]), "auth.missing");
    served.recorder.stranger(std::net::IpAddr::from([10, 0, 0, 1]), "auth.missing");
    eventually("strangers", || served.ledger.state().last_seq >= 42).await;
    served.ledger.query(&Filter::default()).await.unwrap();
    let totals = served.ledger.totals(start).await.unwrap();
    // 40 calls, of them 8 refused (one of which its status makes an error, but the refusal counts) and 2 strangers.
    assert_eq!((totals.calls, totals.refused), (42, 10));
    assert_eq!(totals.permitted + totals.upstream_error, 32);
    let buckets = served.ledger.counts(start, home.clock.at_now(), 300_000).await.unwrap();
    assert!(buckets.windows(2).all(|pair| pair[1].start.since_ms(pair[0].start) == 300_000));
    assert_eq!(buckets.iter().map(|b| b.permitted + b.refused + b.upstream_error).sum::<u64>(), 42);
    let reasons = served.ledger.refusals_by_reason(start).await.unwrap();
    assert_eq!((reasons[0].reason.as_str(), reasons[0].count), ("policy.no_grant", 8));
    assert_eq!(reasons[0].top_client.as_deref(), Some("even"));
    assert_eq!(reasons[1].reason, "auth.missing");
    served.end().await;
}

#[tokio::test]
async fn a_busy_ledger_is_indexed_while_it_is_written() {
    let mut home = Home::new();
    home.settings.segment = ByteSize::kib(64);
    let served = serve(&home);
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let recorder = served.recorder.clone();
            tokio::spawn(async move { fill(&recorder, 200).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let filter = Filter { tool: Some("demo/t7".into()), ..Filter::default() };
    let page = served.ledger.query(&filter).await.unwrap();
    assert_eq!(page.events.len(), 20);
    served.end().await;
    assert_eq!(home.check().events, 4_000);
}

#[tokio::test]
async fn a_text_is_looked_for_in_stretches_and_found_at_last() {
    let home = Home::new();
    std::fs::create_dir_all(home.dir()).unwrap();
    let (mut head, mut out) = (crate::audit::chain::Head::genesis(), Vec::new());
    for n in 0..60_000 {
        let mut event = call("c", if n == 3 { "needle" } else { "hay" });
        head = crate::audit::chain::seal(&mut event, &head, &mut out).unwrap();
    }
    std::fs::write(home.segment(1), out).unwrap();
    let served = serve(&home);
    let mut filter = Filter { text: Some("NEEDLE".into()), ..Filter::default() };
    let mut first = served.ledger.query(&filter).await;
    for _ in 0..20 {
        if first.is_err() {
            first = served.ledger.query(&filter).await;
        }
    }
    let first = first.unwrap();
    assert!(first.events.is_empty() && first.next.is_some());
    filter.after = first.next;
    let second = served.ledger.query(&filter).await.unwrap();
    assert_eq!((seqs(&second), second.next), (vec![4], None));
    served.end().await;
}
