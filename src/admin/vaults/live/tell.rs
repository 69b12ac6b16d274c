//! What a restore in place tells: beforehand, step by step, in the ledger, and to whoever must look at it later. Never does a step.

use std::time::Instant;

use super::model::{LiveDone, LiveStep};
use super::order::Step;
use super::work::Work;
use super::{place, settle};
use crate::admin::vaults::backup::blocking;
use crate::admin::vaults::{catalogue, pages};
use crate::audit::Event;
use crate::base::fault::{Fault, Verb};

impl Work {
    /// Says what would happen.
    ///
    /// # Errors
    /// As the restore, as far as that can be told without changing anything.
    pub(super) async fn look(self) -> Verb<LiveDone> {
        let (folder, archive, keys) = (self.plan.folder.clone(), self.plan.archive.clone(), self.plan.keys.clone());
        let read = blocking(move || {
            let opened = catalogue::extract(&folder, &archive, &keys, &mut ());
            opened.map(|opened| opened.manifest).map_err(catalogue::Unusable::into_fault)
        });
        let (began, manifest) = (Instant::now(), read.await?);
        let mut steps = vec![told(Step::Unpack, began, &Ok(pages::content(manifest.files, manifest.bytes)))];
        let mut say = |step, detail: String| steps.push(told(step, Instant::now(), &Ok(detail)));
        match self.note.servers.as_slice() {
            [] => say(Step::Stop, self.plan.nobody.to_owned()),
            servers => say(Step::Stop, format!("{} would be stopped", servers.join(", "))),
        }
        let place = self.plan.target.path.display();
        match self.plan.target.there {
            Some(_) => say(Step::Swap, format!("what is at {place} would be kept as {}", self.note.kept.display())),
            None => say(Step::Swap, format!("there is nothing at {place}")),
        }
        Ok(LiveDone { dry_run: true, ok: true, ..self.answer(steps) })
    }

    /// The note goes when nothing is in doubt; else it says, also after a restart, what somebody must look at.
    pub(super) fn close(&mut self, ok: bool, damaged: bool) {
        let data = &self.admin.data;
        if ok {
            settle::forget(data, &self.note.vault);
        }
        let left = self.stopped.iter().map(|one| one.server.as_str()).collect::<Vec<_>>().join(", ");
        if ok || (self.released && !damaged) || (left.is_empty() && !damaged) {
            return self.note.remove(data);
        }
        let target = self.note.target.display();
        let what = if damaged {
            let was = self.note.tree.display();
            format!("{target} is damaged, what was there is {was}, and its servers have no process until Lifeboat starts again")
        } else {
            "not everything passed".to_owned()
        };
        self.note.told = Some(format!("the restore {} of vault {}: {what}; still stopped: {left}", self.note.id, self.note.vault));
        if let Err(fault) = self.note.write(data) {
            tracing::error!(%fault, restore = self.note.id, "how a restore ended is not written down");
        }
    }

    /// The new tree goes where it is not the one at the place.
    pub(super) async fn discard(&self, done: &[(Step, bool)]) {
        let is_in_place = done.contains(&(Step::Swap, true)) && !done.contains(&(Step::Undo, true));
        let Some(new) = self.staged.as_ref().map(|staged| staged.node).filter(|_| !is_in_place) else { return };
        let note = self.note.clone();
        let gone = blocking(move || Ok(place::discard(&note.dir, &note.tree, Some(new)))).await;
        if let Ok(Err(fault)) = gone {
            tracing::warn!(%fault, restore = self.note.id, "what was unpacked stays");
        }
    }

    pub(super) fn answer(&self, steps: Vec<LiveStep>) -> LiveDone {
        LiveDone {
            id: self.note.id.clone(),
            vault: self.note.vault.clone(),
            archive: self.note.archive.clone(),
            started_at: self.plan.archive.started_at,
            ok: false,
            kept: self.is_kept.then(|| self.note.kept.display().to_string()),
            safety: self.safety.clone(),
            servers: self.note.servers.clone(),
            steps,
            released: self.released,
            dry_run: false,
        }
    }

    pub(super) async fn record(&self, steps: &[LiveStep], ok: bool) -> Verb<()> {
        let mut event = Event::action(&self.actor.name, "restore.live", self.note.id.clone());
        let done = LiveDone { ok, ..self.answer(steps.to_vec()) };
        let mut params = serde_json::to_value(&done).map_err(|e| Fault::bug("a restore cannot be recorded").because(e))?;
        params["reason"] = self.plan.reason.clone().into();
        event.params = Some(params);
        self.admin.record(event).await
    }
}

/// A step that ended.
pub(super) fn told(step: Step, began: Instant, ended: &Verb<String>) -> LiveStep {
    let (passed, detail) = match ended {
        Ok(detail) => (true, detail.clone()),
        Err(fault) => (false, fault.to_string()),
    };
    let seconds = (began.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
    LiveStep { name: step.word().to_owned(), seconds, passed, detail }
}
