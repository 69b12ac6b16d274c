//! The task that watches the file `KILL`: its appearing, changing or being touched stops; its disappearing releases nothing, the file is
//! written again. Never releases.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::super::{Actor, Admin};
use super::control::{covered, meant};
use super::file::{self, Said};
use super::{Order, engage, keep_file};
use crate::audit::Event;
use crate::base::fault::FaultKind;
use crate::policy::{KillEntry, Mode, Scope};

const POLL: Duration = Duration::from_millis(250);
// A file that is empty may be one that is just being written.
const SETTLE: Duration = Duration::from_millis(10);

/// Runs until `stop`. Inotify tells of a change at once; the poll is for file systems that tell nothing.
pub async fn watch(admin: Arc<Admin>, stop: CancellationToken) {
    let changed = Arc::new(Notify::new());
    let watcher = inotify(admin.data.root(), changed.clone());
    if let Err(fault) = &watcher {
        tracing::warn!(%fault, "the file KILL is looked at four times a second only");
    }
    let mut orders = JoinSet::new();
    loop {
        for order in look(&admin).await {
            let admin = admin.clone();
            orders.spawn(async move { carry_out(&admin, order).await });
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = changed.notified() => {}
            () = tokio::time::sleep(POLL) => {}
            Some(_) = orders.join_next() => {}
        }
    }
    while orders.join_next().await.is_some() {}
}

/// Obeys one order of the file. A name nobody has is a stop that would stop nothing, so it stops everything.
async fn carry_out(admin: &Admin, order: Order) {
    let actor = Actor::system("file");
    let done = match engage(admin, &actor, order.clone()).await {
        Err(fault) if fault.kind == FaultKind::NotFound => {
            let reason = format!("the file KILL names {}, which does not exist: {}", order.scope.text(), order.reason);
            engage(admin, &actor, everything(&reason)).await
        }
        done => done,
    };
    if let Err(fault) = done {
        tracing::error!(%fault, "the file KILL could not be obeyed");
    }
}

fn inotify(data: &Path, changed: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |seen: notify::Result<notify::Event>| {
        let ours = seen.map(|event| event.paths.iter().any(|path| path.ends_with(file::NAME)));
        if ours.unwrap_or(true) {
            changed.notify_one();
        }
    })?;
    watcher.watch(data, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Looks at the file once; gives what it orders.
pub(super) async fn look(admin: &Admin) -> Vec<Order> {
    let root = admin.data.root();
    let mut last = admin.kill.file.lock().await;
    let overlay = meant(&admin.feed.kill());
    let mark = match file::mark(root) {
        Ok(mark) => mark,
        Err(fault) => {
            let everything = everything(&format!("the file KILL cannot be read: {}", fault.kind()));
            return if stops_all(&overlay.entries) { Vec::new() } else { vec![everything] };
        }
    };
    if mark == *last && (mark.is_some() || !overlay.engaged()) {
        return Vec::new();
    }
    if mark.is_none() {
        let removed = last.take().is_some();
        drop(last);
        restore(admin, removed).await;
        return Vec::new();
    }
    let (mut said, mut seen) = file::read_marked(root);
    if matches!(&said, Said::Order { .. }) {
        tokio::time::sleep(SETTLE).await;
        (said, seen) = file::read_marked(root);
    }
    let touched = last.is_some();
    // As it was when it was read: what is ordered in the next moment is a change.
    *last = seen.or(mark);
    drop(last);
    obey(admin, said, touched).await
}

/// What a file that changed orders. Lifeboat's own text with a new time is a `touch`: whoever did that wants everything stopped.
async fn obey(admin: &Admin, said: Said, touched: bool) -> Vec<Order> {
    let overlay = meant(&admin.feed.kill());
    match said {
        Said::Nothing => Vec::new(),
        // What stood there at start has been counted in already.
        Said::Order { scope, mode, .. } if !touched && holds(&overlay.entries, &scope, mode) => {
            restore(admin, false).await;
            Vec::new()
        }
        Said::Unreadable(_) if !touched && stops_all(&overlay.entries) => {
            restore(admin, false).await;
            Vec::new()
        }
        Said::Order { scope, mode, reason } => vec![Order { scope, mode, reason }],
        Said::Unreadable(why) => vec![everything(&why)],
        Said::State(state) if !state.entries.iter().all(|entry| covered(&overlay, entry)) => {
            let missing = state.entries.into_iter().filter(|entry| !covered(&overlay, entry));
            missing.map(|entry| Order { scope: entry.scope, mode: entry.mode, reason: entry.reason }).collect()
        }
        Said::State(state) if state.entries == overlay.entries => match touched && !stops_all(&overlay.entries) {
            true => vec![everything("the file KILL was touched")],
            false => Vec::new(),
        },
        Said::State(_) => {
            // Somebody made the file say less than is stopped. Less is a release, and releasing has its own verb.
            restore(admin, true).await;
            Vec::new()
        }
    }
}

async fn restore(admin: &Admin, by_hand: bool) {
    if !keep_file(admin).await {
        tracing::error!("the file KILL cannot be written; what is stopped stays stopped");
    }
    if by_hand {
        super::record(admin, Event::system("kill.file_restored", "KILL")).await;
    }
}

fn everything(reason: &str) -> Order {
    Order { scope: Scope::Everything, mode: Mode::Full, reason: reason.to_owned() }
}

fn stops_all(entries: &[KillEntry]) -> bool {
    holds(entries, &Scope::Everything, Mode::Full)
}

fn holds(entries: &[KillEntry], scope: &Scope, mode: Mode) -> bool {
    entries.iter().any(|entry| &entry.scope == scope && entry.mode >= mode)
}
