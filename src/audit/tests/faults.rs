//! Disks that are full, fail or hang.

use std::time::Instant;

use super::*;

const EIO: u64 = 5;
const ENOSPC: u64 = 28;

async fn outcome(recorder: &Recorder) -> bool {
    recorder.record(Event { kind: "call.outcome".into(), ..call("c", "t") }, Durability::Synced).await.is_ok()
}

#[tokio::test]
async fn flt_07_a_full_disk_refuses_loses_nothing_and_recovers() {
    let home = Home::new();
    let disk = Arc::new(FaultyDisk::default());
    let (ledger, recorder) = Ledger::open(home.opening().on(disk.clone())).unwrap();
    fill(&recorder, 3).await;
    // Full: the reserve is given up, but even that is not enough.
    disk.append.store(ENOSPC, Ordering::SeqCst);
    disk.reserve.store(ENOSPC, Ordering::SeqCst);
    assert!(recorder.record(call("c", "t"), Durability::Synced).await.is_err());
    assert!(!ledger.state().ok);
    assert!(!home.dir().join("reserve").exists());
    // The reserve made room: what has begun is completed, nothing new begins.
    disk.append.store(0, Ordering::SeqCst);
    assert!(outcome(&recorder).await);
    let refused = recorder.record(call("c", "t"), Durability::Written).await.unwrap_err();
    assert_eq!(refused.why, "the disk is full");
    assert!(recorder.record(Event::action("ana", "kill.engage", "all"), Durability::Synced).await.is_ok());
    disk.reserve.store(0, Ordering::SeqCst);
    eventually("recovered", || ledger.state().ok).await;
    assert!(recorder.record(call("c", "t"), Durability::Synced).await.is_ok());
    ledger.shutdown().await;
    let report = home.check();
    assert_eq!((report.ok, report.events), (true, 3 + 2 + 1 + 1), "{report:?}");
    assert!(home.text(1).contains("\"action\":\"ledger.recovered\""));
}

#[tokio::test]
async fn flt_07_a_real_full_file_system() {
    let home = Home::new();
    let mount = home.root.path().join("small");
    std::fs::create_dir(&mount).unwrap();
    let mounted = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(&mount).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        // Not root: the injected fault of the test before stands for this one.
        return;
    }
    let settings = Audit { reserve: ByteSize(65_536), ..Audit::default() };
    let opening = Opening::new(mount.join("audit"), settings, home.clock.clone(), home.signer());
    let (ledger, recorder) = Ledger::open(opening).unwrap();
    std::fs::write(mount.join("ballast"), vec![0u8; 120 * 1024]).unwrap();
    let mut written = 0;
    while recorder.record(call("c", "t"), Durability::Synced).await.is_ok() {
        written += 1;
        assert!(written < 10_000, "the disk never fills");
    }
    assert!(!ledger.state().ok);
    assert!(outcome(&recorder).await, "the reserve completes what has begun");
    std::fs::remove_file(mount.join("ballast")).unwrap();
    let freed = Instant::now();
    eventually("recovered", || ledger.state().ok).await;
    assert!(freed.elapsed() < Duration::from_secs(5));
    assert!(recorder.record(call("c", "t"), Durability::Synced).await.is_ok());
    let last = ledger.state().last_seq;
    ledger.shutdown().await;
    let report = check(&mount.join("audit"), &home.signer());
    let unmounted = std::process::Command::new("umount").arg(&mount).status().unwrap();
    assert!(unmounted.success());
    assert_eq!((report.ok, report.events), (true, last), "{report:?}");
    assert!(last >= written + 3);
}

#[tokio::test]
async fn flt_08_a_failed_sync_is_never_told_as_durable() {
    let home = Home::new();
    let disk = Arc::new(FaultyDisk::default());
    let (ledger, recorder) = Ledger::open(home.opening().on(disk.clone())).unwrap();
    // Written, not synced: these must be carried over.
    fill(&recorder, 3).await;
    disk.sync.store(EIO, Ordering::SeqCst);
    assert!(recorder.record(call("c", "lost"), Durability::Synced).await.is_err());
    let state = ledger.state();
    assert!(!state.ok && state.last_seq == 3, "{state:?}");
    // Without the fault gone, nothing at all is taken: the sync of the same file is not tried again as if it could succeed.
    assert!(!outcome(&recorder).await);
    assert!(recorder.record(call("c", "t"), Durability::Written).await.is_err());
    disk.sync.store(0, Ordering::SeqCst);
    eventually("recovered", || ledger.state().ok).await;
    assert_eq!(recorder.record(call("c", "t"), Durability::Synced).await.unwrap().seq, 5);
    assert!(ledger.state().segment >= 2, "goes on in the same file");
    let report = ledger.verify(Vec::new()).await.unwrap();
    assert_eq!((report.ok, report.events), (true, 5), "{report:?}");
    ledger.shutdown().await;
    assert!(home.check().ok);
    assert!(!home.text(ledger.state().segment).contains("\"lost\""));
}

#[tokio::test]
async fn flt_08_a_failed_write_leaves_no_half_line() {
    let home = Home::new();
    let disk = Arc::new(FaultyDisk::default());
    let (ledger, recorder) = Ledger::open(home.opening().on(disk.clone())).unwrap();
    fill(&recorder, 2).await;
    disk.append.store(EIO, Ordering::SeqCst);
    assert!(recorder.record(call("c", "t"), Durability::Written).await.is_err());
    disk.append.store(0, Ordering::SeqCst);
    eventually("recovered", || ledger.state().ok).await;
    fill(&recorder, 2).await;
    ledger.shutdown().await;
    let report = home.check();
    assert_eq!((report.ok, report.events), (true, 5), "{report:?}");
}

#[tokio::test]
async fn flt_09_a_full_queue_refuses_within_a_quarter_second() {
    let home = Home::new();
    let disk = Arc::new(FaultyDisk::default());
    let (_ledger, recorder) = Ledger::open(home.opening().on(disk.clone())).unwrap();
    disk.hang_ms.store(2_000, Ordering::SeqCst);
    // One group is with the writer, the queue fills behind it.
    let waiting: Vec<_> = (0..crate::audit::recorder::QUEUE + 600)
        .map(|_| {
            let recorder = recorder.clone();
            tokio::spawn(async move { recorder.record(call("c", "t"), Durability::Written).await.is_ok() })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    let refused = recorder.record(call("c", "t"), Durability::Written).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_millis(600), "{:?}", begun.elapsed());
    assert_eq!(refused.why, "the queue is full");
    disk.hang_ms.store(0, Ordering::SeqCst);
    let mut taken = 0;
    for task in waiting {
        taken += u32::from(task.await.unwrap());
    }
    assert!(taken >= 8_192, "{taken}");
}

#[tokio::test]
async fn flt_26_a_stuck_sink_of_checkpoints_holds_up_neither_the_ledger_nor_the_other_sinks() {
    let home = Home::new();
    let told = Arc::new(AtomicU64::new(0));
    let counter = told.clone();
    let (_never, stuck) = std::sync::mpsc::channel::<()>();
    let stuck = std::sync::Mutex::new(stuck);
    let opening =
        home.opening().sink(Box::new(move |_| assert!(stuck.lock().unwrap().recv().is_err()))).sink(Box::new(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        }));
    let (ledger, recorder) = Ledger::open(opening).unwrap();
    for _ in 0..200 {
        recorder.record(call("c", "t"), Durability::Written).await.unwrap();
        ledger.checkpoint("test").await.unwrap();
    }
    eventually("the sink that is not stuck has every checkpoint", || told.load(Ordering::SeqCst) >= 200).await;
}
