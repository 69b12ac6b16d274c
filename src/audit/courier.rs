//! Takes what the tasks of one runtime record to the writer in bundles, and brings the answers back in bundles: each way to another thread and
//! back wakes it once for many events. Never holds an event that the writer could have, but for the rest of one turn of the runtime.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::yield_now;

use super::recorder::{Answer, Entry};

/// Where an answer goes.
#[derive(Debug)]
pub struct Done {
    to: Option<oneshot::Sender<Answer>>,
    bundle: Option<Arc<Bundle>>,
}

impl Done {
    /// Straight to who waits.
    pub(super) fn alone(to: oneshot::Sender<Answer>) -> Self {
        Self { to: Some(to), bundle: None }
    }

    /// Gives the answer. Who asked may be gone; the event stands all the same.
    pub fn send(mut self, answer: Answer) {
        let Some(to) = self.to.take() else { return };
        match &self.bundle {
            Some(bundle) => bundle.lock().push((to, answer)),
            None => drop(to.send(answer)),
        }
    }
}

type Answers = Vec<(oneshot::Sender<Answer>, Answer)>;

/// The answers to what went together; the last one takes them all back.
#[derive(Debug)]
struct Bundle {
    answers: Mutex<Answers>,
    back: mpsc::UnboundedSender<Answers>,
}

impl Bundle {
    fn lock(&self) -> std::sync::MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let answers = mem::take(&mut *self.lock());
        // Where the courier's runtime has ended, nobody is left to be spared.
        if let Err(unsent) = self.back.send(answers) {
            deliver(unsent.0);
        }
    }
}

fn deliver(answers: Answers) {
    for (to, answer) in answers {
        // Who asked may be gone; the event stands all the same.
        let _ = to.send(answer);
    }
}

#[derive(Default)]
struct Desk {
    waiting: Mutex<Vec<Entry>>,
}

/// Cheap to clone. Its task ends with the last clone.
#[derive(Clone)]
pub(super) struct Courier {
    desk: Arc<Desk>,
    bell: Arc<Notify>,
    // Rings when the last clone goes.
    _last: Arc<Ring>,
}

struct Ring(Arc<Notify>);

impl Drop for Ring {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Courier {
    /// Must be called within the runtime whose tasks it serves.
    pub(super) fn new(queue: mpsc::UnboundedSender<Vec<Entry>>) -> Self {
        let (desk, bell) = (Arc::new(Desk::default()), Arc::new(Notify::new()));
        tokio::spawn(serve(Arc::downgrade(&desk), bell.clone(), queue));
        Self { desk, _last: Arc::new(Ring(bell.clone())), bell }
    }

    /// Takes an entry along on the next way.
    pub(super) fn take(&self, entry: Entry) {
        let is_first = {
            let mut waiting = self.desk.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push(entry);
            waiting.len() == 1
        };
        if is_first {
            self.bell.notify_one();
        }
    }
}

async fn serve(desk: Weak<Desk>, bell: Arc<Notify>, queue: mpsc::UnboundedSender<Vec<Entry>>) {
    let (back, mut returns) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            biased;
            Some(answers) = returns.recv() => deliver(answers),
            () = bell.notified() => {
                // Whoever else can go on now may have something to record as well.
                yield_now().await;
                let Some(desk) = desk.upgrade() else { return };
                send(&desk, &back, &queue);
            }
        }
    }
}

fn send(desk: &Desk, back: &mpsc::UnboundedSender<Answers>, queue: &mpsc::UnboundedSender<Vec<Entry>>) {
    let mut entries = mem::take(&mut *desk.waiting.lock().unwrap_or_else(PoisonError::into_inner));
    if entries.is_empty() {
        return;
    }
    let bundle = Arc::new(Bundle { answers: Mutex::new(Vec::with_capacity(entries.len())), back: back.clone() });
    for entry in &mut entries {
        entry.done.bundle = Some(bundle.clone());
    }
    drop(bundle);
    // Without a writer the entries go, and who waits for them learns it by that.
    drop(queue.send(entries));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::runtime::Handle;
    use tokio::sync::watch;
    use tokio::task::JoinSet;
    use tokio::time::{sleep, timeout};

    use super::super::event::Event;
    use super::super::recorder::{Durability, LedgerUnavailable, Queue, Recorded, Recorder};

    fn many() -> (Recorder, Queue) {
        let (recorder, queue) = Recorder::new(Arc::default(), watch::channel(None).1);
        (recorder.for_many(), queue)
    }

    fn record(tasks: &mut JoinSet<Result<Recorded, LedgerUnavailable>>, recorder: &Recorder, name: usize) {
        let recorder = recorder.clone();
        tasks.spawn(async move { recorder.record(Event::system("test", name.to_string()), Durability::Written).await });
    }

    #[tokio::test]
    async fn what_many_record_at_one_time_is_one_bundle_and_each_gets_its_own_answer() {
        let (recorder, mut queue) = many();
        let mut tasks = JoinSet::new();
        (0..16).for_each(|name| record(&mut tasks, &recorder, name));
        let mut group = Vec::new();
        assert_eq!(queue.recv_many(&mut group, 256).await, 16, "the writer is woken once");
        for (seq, entry) in group.into_iter().enumerate() {
            assert_eq!(entry.event.object.as_deref(), Some(seq.to_string().as_str()), "in the order in which they came");
            entry.done.send(Ok(Recorded { seq: seq as u64 }));
        }
        let mut seqs: Vec<u64> = tasks.join_all().await.into_iter().map(|answer| answer.expect("recorded").seq).collect();
        seqs.sort_unstable();
        assert_eq!(seqs, (0..16).collect::<Vec<u64>>());
    }

    #[tokio::test]
    async fn an_event_that_is_never_answered_holds_up_no_other() {
        let (recorder, mut queue) = many();
        let mut tasks = JoinSet::new();
        (0..2).for_each(|name| record(&mut tasks, &recorder, name));
        let mut group = Vec::new();
        assert_eq!(queue.recv_many(&mut group, 256).await, 2);
        drop(group.pop());
        group.remove(0).done.send(Ok(Recorded { seq: 1 }));
        let answers = timeout(Duration::from_secs(5), tasks.join_all()).await.expect("both end");
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    }

    #[tokio::test]
    async fn without_a_writer_who_records_is_told_so() {
        let (recorder, queue) = many();
        drop(queue);
        let told = recorder.record(Event::system("test", "x"), Durability::Synced).await;
        assert_eq!(told.expect_err("nobody writes").why, "the writer has stopped");
    }

    #[tokio::test]
    async fn its_task_ends_with_the_last_who_could_record() {
        let (recorder, _queue) = many();
        let other = recorder.clone();
        drop(recorder);
        sleep(Duration::from_millis(20)).await;
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 1);
        drop(other);
        for _ in 0..200 {
            if Handle::current().metrics().num_alive_tasks() == 0 {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("it goes on without anybody");
    }
}
