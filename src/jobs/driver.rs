//! Looks at every schedule when the scheduler pokes and at least twice a minute, and works on what is due. A timer that fires twice, late or never
//! changes nothing: the table says what is due.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job as Timer, JobScheduler};
use tokio_util::sync::CancellationToken;

use super::decide::{Due, decide};
use super::{Job, store};
use crate::base::clock::SharedClock;
use crate::base::fault::Verb;
use crate::db::Db;

const LOOK: Duration = Duration::from_secs(30);
/// Every minute: schedules have no finer slots.
const EVERY_MINUTE: &str = "0 * * * * *";

/// Drives the jobs until `stop`. A job that fails is said in its slot and in the log; the others go on.
pub async fn drive(db: Db, clock: SharedClock, jobs: Vec<Arc<dyn Job>>, stop: CancellationToken) {
    if let Err(fault) = store::interrupt(&db, clock.now()).await {
        tracing::warn!(%fault, "the slots of the last run cannot be closed");
    }
    let (poke, mut poked) = mpsc::channel(1);
    // Without a scheduler the look every half minute is enough; it only makes work begin on the minute.
    let mut scheduler = scheduler(poke).await;
    if scheduler.is_none() {
        tracing::warn!("the scheduler cannot be started; schedules are looked at every 30 s");
    }
    loop {
        for job in &jobs {
            if stop.is_cancelled() {
                break;
            }
            let worked = stop.run_until_cancelled(look(&db, &clock, job.as_ref())).await;
            if let Some(Err(fault)) = worked {
                tracing::warn!(job = job.name(), %fault, "a schedule cannot be kept");
            }
        }
        tokio::select! {
            () = stop.cancelled() => break,
            _ = poked.recv(), if scheduler.is_some() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    if let Some(scheduler) = &mut scheduler {
        let _ = scheduler.shutdown().await;
    }
}

async fn scheduler(poke: mpsc::Sender<()>) -> Option<JobScheduler> {
    let scheduler = JobScheduler::new().await.ok()?;
    let timer = Timer::new_async(EVERY_MINUTE, move |_, _| {
        // Full means that a look is coming anyway.
        let _ = poke.try_send(());
        Box::pin(async {})
    });
    scheduler.add(timer.ok()?).await.ok()?;
    scheduler.start().await.ok()?;
    Some(scheduler)
}

async fn look(db: &Db, clock: &SharedClock, job: &dyn Job) -> Verb<()> {
    let (name, now) = (job.name(), clock.now());
    let Some(slots) = job.slots() else { return Ok(()) };
    let Some(last) = store::last(db, name).await? else {
        // What was due before there was a schedule is nobody's loss.
        store::take(db, name, now, ("begun", None), now).await?;
        return Ok(());
    };
    match decide(&slots, last, now, job.grace_ms()) {
        Due::No => Ok(()),
        Due::Skip(slot) => {
            let reason = "it was due too long ago when this host could begin";
            store::take(db, name, slot, ("skipped", Some(reason)), now).await.map(|_| ())
        }
        Due::Run(slot) => {
            if store::take(db, name, slot, ("running", None), now).await? {
                tracing::info!(job = name, due = %slot, "scheduled work begins");
                let (state, reason) = match job.run().await {
                    Ok(reason) => ("done", reason),
                    Err(fault) => ("failed", fault.to_string()),
                };
                store::end(db, name, slot, (state, &reason), clock.now()).await?;
                tracing::info!(job = name, due = %slot, state, reason, "scheduled work is over");
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

    use super::*;
    use crate::base::clock::{Clock, Timestamp};
    use crate::base::fault::Fault;
    use crate::config::schedules::Slots;
    use crate::db::Migrations;

    struct Hands(AtomicI64);

    impl Clock for Hands {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.load(Ordering::SeqCst))
        }
    }

    #[derive(Default)]
    struct Daily {
        runs: AtomicUsize,
        fails: bool,
    }

    impl Job for Daily {
        fn name(&self) -> &'static str {
            "daily"
        }

        fn slots(&self) -> Option<Slots> {
            Slots::parse("0 2 * * *").ok()
        }

        fn grace_ms(&self) -> i64 {
            26 * 3_600_000
        }

        fn run(&self) -> Pin<Box<dyn Future<Output = Verb<String>> + Send + '_>> {
            self.runs.fetch_add(1, Ordering::SeqCst);
            Box::pin(async { if self.fails { Err(Fault::unavailable("no")) } else { Ok("yes".to_owned()) } })
        }
    }

    async fn db(dir: &tempfile::TempDir) -> Db {
        Db::open(&dir.path().join("state.db"), &Migrations::embedded().unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn rec_26_each_slot_is_worked_on_once_and_its_end_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (db, job) = (db(&dir).await, Daily::default());
        let hands = Arc::new(Hands(AtomicI64::new(Timestamp::parse("2026-11-28T12:00:00Z").unwrap().0)));
        let clock: SharedClock = hands.clone();
        let set = |text: &str| hands.0.store(Timestamp::parse(text).unwrap().0, Ordering::SeqCst);
        let runs = || job.runs.load(Ordering::SeqCst);
        look(&db, &clock, &job).await.unwrap();
        assert_eq!((runs(), store::newest(&db, "daily").await.unwrap()), (0, None), "nothing was due before it began");
        for (time, count) in [
            ("2026-11-29T01:59:00Z", 0),
            ("2026-11-29T02:00:10Z", 1),
            ("2026-11-29T02:00:40Z", 1),
            ("2026-11-26T02:00:00Z", 1),
            ("2026-12-05T09:00:00Z", 2),
            ("2026-12-05T09:00:30Z", 2),
        ] {
            set(time);
            look(&db, &clock, &job).await.unwrap();
            assert_eq!(runs(), count, "{time}");
        }
        let newest = store::newest(&db, "daily").await.unwrap().unwrap();
        assert_eq!((newest.due_at.to_string().as_str(), newest.state.as_str()), ("2026-12-05T02:00:00.000Z", "done"));
        let failing = Daily { fails: true, ..Daily::default() };
        set("2026-12-06T02:00:00Z");
        look(&db, &clock, &failing).await.unwrap();
        assert_eq!(store::newest(&db, "daily").await.unwrap().unwrap().reason.as_deref(), Some("no"));
        set("2026-12-09T05:00:00Z");
        store::take(&db, "daily", Timestamp(hands.now().0), ("running", None), hands.now()).await.unwrap();
        store::interrupt(&db, hands.now()).await.unwrap();
        assert_eq!(store::newest(&db, "daily").await.unwrap().unwrap().state, "interrupted");
    }

    #[tokio::test]
    async fn the_scheduler_pokes_and_a_stop_ends_it() {
        let dir = tempfile::tempdir().unwrap();
        let (poke, mut poked) = mpsc::channel(1);
        let scheduler = JobScheduler::new().await.unwrap();
        let timer = Timer::new_async("* * * * * *", move |_, _| {
            let _ = poke.try_send(());
            Box::pin(async {})
        });
        scheduler.add(timer.unwrap()).await.unwrap();
        scheduler.start().await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), poked.recv()).await.expect("it pokes within five seconds").unwrap();
        let (stop, job) = (CancellationToken::new(), Arc::new(Daily::default()));
        let clock: SharedClock = Arc::new(crate::base::clock::SystemClock);
        let driving = tokio::spawn(drive(db(&dir).await, clock, vec![job], stop.clone()));
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), driving).await.expect("it ends").unwrap();
    }
}
