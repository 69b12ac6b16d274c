//! Stops at their servers the tasks that a kill covers. Never waits for a server that does not answer: what it cannot stop it records.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::Shared;
use super::task_table::{Task, TaskKey};
use super::upstream;
use crate::audit::{Durability, Event};

const AT_ONCE: usize = 32;
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Task: cancels what each new kill covers.
pub(super) async fn serve(shared: Arc<Shared>) {
    let mut epochs = shared.feed.watch_kill();
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        for (key, task) in shared.table.take_stopped(&shared.feed.kill()) {
            shared.tasks.spawn(stop(shared.clone(), places.clone(), (key, task)));
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.table.woken() => {}
            changed = epochs.changed() => if changed.is_err() { return },
        }
    }
}

async fn stop(shared: Arc<Shared>, places: Arc<Semaphore>, (key, task): (TaskKey, Task)) {
    let Ok(_place) = places.acquire_owned().await else { return };
    let mut outcome = upstream::cancel_task(&shared, &key.id, &task).await;
    for _ in 1..TRIES {
        if outcome.is_ok() {
            break;
        }
        tokio::select! {
            () = shared.stop.cancelled() => break,
            () = tokio::time::sleep(PAUSE) => {}
        }
        outcome = upstream::cancel_task(&shared, &key.id, &task).await;
    }
    if let Err(why) = &outcome {
        tracing::warn!(server = %key.server, why, "a task of a stopped call could not be cancelled");
        shared.table.still_live(&key);
    }
    let call = &task.call;
    let event = Event {
        client: Some(call.client.to_string()),
        server: Some(call.server.to_string()),
        tool: call.tool.as_deref().map(str::to_owned),
        class: Some(call.class.word().into()),
        method: Some("tasks/cancel".into()),
        status: Some(if outcome.is_ok() { "ok" } else { "upstream_error" }.into()),
        ..Event::system(
            "task.cancel",
            call.tool.as_ref().map_or_else(|| key.server.to_string(), |tool| format!("{}/{tool}", key.server)),
        )
    };
    // The task is cancelled whether or not it can be written down: a kill does not wait for the ledger.
    drop(shared.recorder.record(event, Durability::Written).await);
}
