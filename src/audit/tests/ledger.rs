//! Recording, restarting, repairing, rotating, keeping.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::sync::Mutex;

use super::*;
use crate::audit::{Filter, Tailed, segment};

#[tokio::test]
async fn events_are_numbered_chained_and_survive_a_restart() {
    let home = Home::new();
    let (ledger, recorder) = home.open();
    for n in 1..=5 {
        let done = recorder.record(call("c", "t"), Durability::Synced).await.unwrap();
        assert_eq!(done.seq, n);
    }
    ledger.shutdown().await;
    assert!(recorder.record(call("c", "t"), Durability::Written).await.is_err());
    let (ledger, recorder) = home.open();
    assert_eq!(recorder.record(call("c", "t"), Durability::Written).await.unwrap().seq, 6);
    assert_eq!(ledger.state().last_seq, 6);
    let report = ledger.verify(Vec::new()).await.unwrap();
    assert_eq!(serde_json::to_string(&report).unwrap(), r#"{"ok":true,"segments":1,"events":6,"first_bad":null}"#);
    for name in ["00000001.jsonl", "checkpoints.jsonl", "reserve"] {
        let mode = std::fs::metadata(home.dir().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(home.text(1).lines().all(|line| serde_json::from_str::<Event>(line).is_ok()));
    ledger.shutdown().await;
}

#[tokio::test]
async fn a_second_process_is_kept_off() {
    let home = Home::new();
    let (ledger, _recorder) = home.open();
    let fault = Ledger::open(home.opening()).err().unwrap();
    assert_eq!(fault.kind.word(), "conflict");
    ledger.shutdown().await;
    let (again, _recorder) = home.open();
    assert!(again.state().ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_commit_syncs_once_for_many() {
    let home = Home::new();
    let disk = Arc::new(FaultyDisk::default());
    let (ledger, recorder) = Ledger::open(home.opening().on(disk.clone())).unwrap();
    let tasks: Vec<_> = (0..400)
        .map(|n| {
            let recorder = recorder.clone();
            tokio::spawn(async move { recorder.record(call("c", &format!("t{n}")), Durability::Synced).await.unwrap().seq })
        })
        .collect();
    let mut seqs = Vec::new();
    for task in tasks {
        seqs.push(task.await.unwrap());
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (1..=400).collect::<Vec<u64>>());
    assert!(disk.syncs.load(Ordering::SeqCst) <= 100, "{} syncs for 400 events", disk.syncs.load(Ordering::SeqCst));
    assert!(ledger.stats().largest > 1);
    ledger.shutdown().await;
    assert!(home.check().ok);
}

#[tokio::test]
async fn a_torn_last_line_is_set_aside_and_told() {
    let home = Home::new();
    let (ledger, recorder) = home.open();
    fill(&recorder, 3).await;
    ledger.shutdown().await;
    let mut file = std::fs::OpenOptions::new().append(true).open(home.segment(1)).unwrap();
    file.write_all(b"{\"seq\":4,\"ts\":\"2026-11-").unwrap();
    assert!(home.check().ok, "a torn tail is no fault");
    let (ledger, recorder) = home.open();
    assert!(ledger.state().ok);
    assert_eq!(ledger.state().last_seq, 4);
    recorder.record(call("c", "t"), Durability::Written).await.unwrap();
    ledger.shutdown().await;
    let repaired: Event = serde_json::from_str(home.text(1).lines().nth(3).unwrap()).unwrap();
    assert_eq!((repaired.kind.as_str(), repaired.action.as_deref()), ("system", Some("ledger.repaired")));
    assert_eq!(std::fs::read(home.dir().join("00000001.torn")).unwrap(), b"{\"seq\":4,\"ts\":\"2026-11-\n");
    assert_eq!((home.check().ok, home.check().events), (true, 5));
}

#[tokio::test]
async fn a_tampered_ledger_is_refused_and_not_touched() {
    let home = Home::new();
    let (ledger, recorder) = home.open();
    fill(&recorder, 4).await;
    ledger.shutdown().await;
    let forged = home.text(1).replacen("\"tool\":\"t2\"", "\"tool\":\"t9\"", 1);
    std::fs::write(home.segment(1), &forged).unwrap();
    let (ledger, recorder) = home.open();
    let state = ledger.state();
    assert!(!state.ok && state.why.unwrap().contains("tampered"));
    assert_eq!(state.last_seq, 2);
    assert!(recorder.record(call("c", "t"), Durability::Written).await.unwrap_err().why.contains("tampered"));
    assert!(ledger.checkpoint("kill").await.is_err());
    let report = ledger.verify(Vec::new()).await.unwrap();
    assert_eq!((report.ok, report.first_bad), (false, Some(3)));
    ledger.shutdown().await;
    assert_eq!(home.text(1), forged);
}

#[tokio::test]
async fn a_ledger_shortened_behind_a_checkpoint_is_refused() {
    let home = Home::new();
    let (ledger, recorder) = home.open();
    fill(&recorder, 4).await;
    ledger.shutdown().await;
    let shorter: String = home.text(1).lines().take(3).map(|line| format!("{line}\n")).collect();
    std::fs::write(home.segment(1), shorter).unwrap();
    assert_eq!(home.check().first_bad, Some(4));
    let (ledger, _recorder) = home.open();
    assert!(!ledger.state().ok);
}

#[tokio::test]
async fn an_intent_without_outcome_reads_unknown_after_a_crash() {
    let home = Home::new();
    let (ledger, recorder) = home.open();
    for (id, done) in [("req_a", true), ("req_b", false)] {
        let intent =
            Event { request_id: Some(id.into()), kind: "call.intent".into(), class: Some("write".into()), ..call("c", "w") };
        recorder.record(intent.clone(), Durability::Synced).await.unwrap();
        if done {
            recorder.record(Event { kind: "call.outcome".into(), ..intent }, Durability::Synced).await.unwrap();
        }
    }
    ledger.shutdown().await;
    for _ in 0..2 {
        let (ledger, _recorder) = home.open();
        ledger.shutdown().await;
    }
    let events: Vec<Event> = home.text(1).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let unknown: Vec<&Event> = events.iter().filter(|e| e.status.as_deref() == Some("unknown")).collect();
    assert_eq!(unknown.len(), 1);
    assert_eq!((unknown[0].request_id.as_deref(), unknown[0].executed.as_deref()), (Some("req_b"), Some("unknown")));
    assert_eq!(unknown[0].kind, "call.outcome");
}

#[tokio::test]
async fn closed_segments_are_packed_and_read_like_open_ones() {
    let mut home = Home::new();
    home.settings.segment = ByteSize(4_096);
    let (ledger, recorder) = home.open();
    fill(&recorder, 60).await;
    let packed = || segment::list(&home.dir()).unwrap().iter().filter(|s| s.form == segment::Form::Packed).count();
    eventually("packed", || packed() >= 3).await;
    let report = ledger.verify(Vec::new()).await.unwrap();
    assert_eq!((report.ok, report.events), (true, 60));
    assert!(report.segments >= 4);
    let mut out = Vec::new();
    let filter = Filter { tool: Some("demo/t7".into()), ..Filter::default() };
    assert_eq!(ledger.export(&mut out, &filter).unwrap(), 1);
    assert!(String::from_utf8(out).unwrap().contains("\"tool\":\"t7\""));
    let mut tail = ledger.tail(Some(0));
    for seq in 1..=60 {
        match tail.next().await.unwrap().unwrap() {
            Tailed::Event(event) => assert_eq!(event.seq, seq),
            Tailed::Skipped(count) => panic!("{count} skipped"),
        }
    }
    ledger.shutdown().await;
    let (ledger, recorder) = home.open();
    assert_eq!(recorder.record(call("c", "t"), Durability::Synced).await.unwrap().seq, 61);
    ledger.shutdown().await;
    assert!(home.check().ok);
}

#[tokio::test]
async fn aged_segments_leave_a_signed_tombstone_and_the_rest_verifies() {
    for by_age in [true, false] {
        let mut home = Home::new();
        home.settings.segment = ByteSize(4_096);
        home.settings.keep_days = if by_age { 30 } else { 0 };
        home.settings.keep_size = if by_age { ByteSize(0) } else { ByteSize(4_500) };
        let (ledger, recorder) = home.open();
        fill(&recorder, 30).await;
        home.clock.advance_ms(31 * 86_400_000);
        fill(&recorder, 60).await;
        ledger.shutdown().await;
        let left = segment::list(&home.dir()).unwrap();
        assert!(left[0].number > 1, "nothing was removed, by age: {by_age}");
        let report = home.check();
        assert!(report.ok, "{report:?}");
        let other = Home::new().signer();
        let forged = check(&home.dir(), &other);
        assert!(!forged.ok, "a tombstone of another key counts");
        let first = left[0].number;
        for path in [segment::plain_path(&home.dir(), first), segment::packed_path(&home.dir(), first)] {
            let _ = std::fs::remove_file(path);
        }
        assert!(!home.check().ok, "a segment removed without tombstone is not missed");
    }
}

#[tokio::test]
async fn strangers_become_counted_rows() {
    let home = Home::new();
    let (ledger, recorder) = home.open();
    for n in 0..30_000u32 {
        recorder.stranger(
            std::net::IpAddr::from([10, 0, u8::try_from(n / 256 % 256).unwrap(), u8::try_from(n % 256).unwrap()]),
            "auth.missing",
        );
    }
    eventually("written", || ledger.state().last_seq >= 9).await;
    ledger.shutdown().await;
    let events: Vec<Event> = home.text(1).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.len() <= 18, "{} rows", events.len());
    assert!(events.iter().all(|e| e.kind == "auth.refused" && e.decision.as_deref() == Some("refuse")));
    let sum: u64 = events.iter().map(|e| e.params.as_ref().unwrap()["count"].as_u64().unwrap()).sum();
    assert_eq!(sum, 30_000);
}

#[tokio::test]
async fn checkpoints_are_signed_told_and_stored() {
    let home = Home::new();
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = told.clone();
    let opening = home.opening().sink(Box::new(move |checkpoint| sink.lock().unwrap().push(checkpoint.clone())));
    let (ledger, recorder) = Ledger::open(opening).unwrap();
    fill(&recorder, 2).await;
    let made = ledger.checkpoint("kill").await.unwrap();
    assert_eq!((made.seq, made.why.as_str()), (2, "kill"));
    assert!(made.is_signed_by(ledger.public_key()));
    assert!(!crate::audit::Checkpoint { seq: 3, ..made.clone() }.is_signed_by(ledger.public_key()));
    eventually("told", || told.lock().unwrap().first() == Some(&made)).await;
    ledger.shutdown().await;
    let stored = crate::audit::checkpoint::load(&home.dir()).unwrap().checkpoints;
    assert_eq!(stored.iter().map(|c| c.why.as_str()).collect::<Vec<_>>(), ["kill", "stop"]);
}

#[tokio::test]
async fn a_slow_tail_is_told_what_it_missed() {
    let home = Home::new();
    let (ledger, recorder) = home.open();
    let mut tail = ledger.tail(None);
    let tasks: Vec<_> = (0..30)
        .map(|_| {
            let recorder = recorder.clone();
            tokio::spawn(async move { fill(&recorder, 500).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(tail.next().await.unwrap(), Some(Tailed::Skipped(9_999)));
    match tail.next().await.unwrap().unwrap() {
        Tailed::Event(event) => assert_eq!(event.seq, 10_000),
        Tailed::Skipped(count) => panic!("{count} skipped"),
    }
}
