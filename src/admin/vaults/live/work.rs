//! Does the steps of a restore in place, one after the other as `order` says, and tells how each ended. What it changes it has written down before.
//! Never ends without an answer: from the first stop on a failure is a step that did not pass.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::model::{LiveDone, LiveOrder};
use super::note::Note;
use super::order::{self, Step};
use super::stage::{self, Disk, Job, Staged};
use super::tell::told;
use super::{Plan, place};
use crate::admin::vaults::backup::{blocking, copy_later, save};
use crate::admin::vaults::trusted;
use crate::admin::vaults::{BackupOrder, pages};
use crate::admin::{Actor, Admin, kill, servers};
use crate::base::fault::{Fault, Verb};
use crate::policy::quiet::RESTORING;
use crate::policy::{Mode, Scope};

/// How long the processes of a server may take to end, and to be up again.
const END: Duration = Duration::from_secs(30);
const UP: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// A kill that this restore engaged.
pub(super) struct Stopped {
    pub(super) server: String,
    decision_id: String,
    // The mode it was stopped in before, when it was.
    before: Option<Mode>,
}

/// One restore under way.
pub(super) struct Work {
    pub(super) admin: Arc<Admin>,
    pub(super) actor: Actor,
    pub(super) plan: Plan,
    without_backup: bool,
    pub(super) note: Note,
    pub(super) staged: Option<Staged>,
    pub(super) stopped: Vec<Stopped>,
    pub(super) safety: Option<String>,
    pub(super) is_kept: bool,
    pub(super) released: bool,
}

impl Work {
    /// Nothing is done yet.
    pub(super) fn new(admin: Arc<Admin>, actor: Actor, order: &LiveOrder, plan: Plan) -> Self {
        let begun = admin.clock.now();
        let note = Note {
            id: plan.id.clone(),
            vault: plan.vault.name.clone(),
            archive: plan.archive.id.clone(),
            target: plan.target.path.clone(),
            dir: plan.dir(),
            tree: plan.dir().join(place::CONTENT),
            kept: plan.kept(),
            new: None,
            old: None,
            // The folder that Lifeboat makes for a server has nothing else than what the server makes anew.
            carry: if plan.vault.configured { plan.vault.exclude.clone() } else { Vec::new() },
            servers: plan.users.iter().map(|user| user.name.clone()).collect(),
            by: actor.name.clone(),
            at: begun,
            told: None,
        };
        let without_backup = order.without_backup;
        Self {
            admin,
            actor,
            plan,
            without_backup,
            note,
            staged: None,
            stopped: Vec::new(),
            safety: None,
            is_kept: false,
            released: false,
        }
    }

    /// Does everything.
    ///
    /// # Errors
    /// When the first steps fail, before anything was stopped or changed; or when the ledger cannot be told in the end.
    pub(super) async fn perform(mut self) -> Verb<LiveDone> {
        let admin = self.admin.clone();
        let (mut done, mut steps, mut turn) = (Vec::new(), Vec::new(), None);
        let served = !self.plan.users.is_empty();
        while let Some(step) = order::next(&done, served) {
            // A backup takes the turn itself.
            if step != Step::Backup && turn.is_none() {
                let taken = admin.vaults.turn.try_lock();
                turn = Some(taken.map_err(|_| busy())?);
            }
            let began = Instant::now();
            let ended = self.step(step).await;
            tracing::info!(restore = self.note.id, step = step.word(), passed = ended.is_ok(), "restore in place");
            steps.push(told(step, began, &ended));
            done.push((step, ended.is_ok()));
            if let Err(fault) = ended
                && step.is_before_all()
            {
                self.note.remove(&admin.data);
                self.record(&steps, false).await?;
                return Err(fault);
            }
        }
        let ok = done.iter().all(|(_, passed)| *passed);
        self.discard(&done).await;
        self.close(ok, done.contains(&(Step::Undo, false)));
        self.record(&steps, ok).await?;
        drop(turn);
        copy_later(&admin);
        Ok(LiveDone { ok, ..self.answer(steps) })
    }

    async fn step(&mut self, step: Step) -> Verb<String> {
        match step {
            Step::Backup => self.backup().await,
            Step::Unpack => self.unpack().await,
            Step::Stop => self.stop().await,
            Step::Quiet => self.quiet().await,
            Step::Swap => self.swap().await,
            Step::Compare => self.compare().await,
            Step::Undo => self.undo().await,
            Step::Start => self.start().await,
            Step::Tools => self.tools().await,
            Step::Release => self.release().await,
        }
    }

    async fn backup(&mut self) -> Verb<String> {
        // No archive is made for what cannot be done anyway.
        let job = self.job();
        blocking(move || stage::try_out(&job)).await?;
        if self.admin.vaults.turn.try_lock().is_err() {
            return Err(busy());
        }
        if self.plan.target.there.is_none() {
            return Ok("there is nothing to save".to_owned());
        }
        if self.without_backup {
            return Ok("left out, as ordered".to_owned());
        }
        let order = BackupOrder { vault: Some(self.note.vault.clone()) };
        let unmade = |why: &str| {
            format!(
                "what is there cannot be archived: {why}. --without-backup goes on without; it is kept beside its place all the same"
            )
        };
        let made = save(&self.admin, &self.actor, order).await;
        let mut made = made.map_err(|fault| Fault { message: unmade(&fault.message), ..fault })?;
        let Some(archive) = made.archives.pop() else {
            let why = made.failed.pop().map_or_else(String::new, |one| one.why);
            return Err(Fault::unavailable(unmade(&why)));
        };
        let partial = if archive.complete { "" } else { ", partial: it was read while it was written" };
        self.safety = Some(archive.id.clone());
        Ok(format!("{}{partial}", archive.id))
    }

    fn job(&self) -> Job {
        self.plan.job(self.admin.feed.snapshot().settings.audit.reserve.0)
    }

    async fn unpack(&mut self) -> Verb<String> {
        self.note.write(&self.admin.data)?;
        let job = self.job();
        let staged = blocking(move || stage::unpack(&job)).await?;
        let mut detail = pages::content(staged.manifest.files, staged.manifest.bytes);
        if !self.plan.archive.complete {
            detail.push_str("; the archive is partial");
        }
        if !staged.manifest.skipped.is_empty() {
            let what = crate::web::human::plural(staged.manifest.skipped.len() as u64, "entry");
            detail.push_str(&format!("; {what} of the source, such as links, are in no archive"));
        }
        self.note.tree = staged.tree.clone();
        self.staged = Some(staged);
        Ok(detail)
    }

    async fn stop(&mut self) -> Verb<String> {
        if self.plan.users.is_empty() {
            return Ok(self.plan.nobody.to_owned());
        }
        let mut said = Vec::new();
        for user in &self.plan.users {
            let server = user.name.clone();
            let scope = Scope::Server { server: server.clone() };
            let before = self.admin.feed.kill().entries.iter().find(|entry| entry.scope == scope).map(|entry| entry.mode);
            if before == Some(Mode::Full) {
                said.push(format!("{server} was stopped already"));
                continue;
            }
            let reason = self.note.reason(&self.plan.reason);
            let engaged = kill::engage(&self.admin, &self.actor, kill::Order { scope, mode: Mode::Full, reason }).await?;
            let proved = engaged.effective;
            self.stopped.push(Stopped { server: server.clone(), decision_id: engaged.decision_id, before });
            if !proved {
                return Err(Fault::unavailable(format!("the stop of {server} is engaged and not proved; nothing was exchanged")));
            }
            said.push(format!("{server} stopped, {} in flight cut", engaged.cut_in_flight));
        }
        Ok(said.join("; "))
    }

    async fn quiet(&mut self) -> Verb<String> {
        let mut said = Vec::new();
        for user in &self.plan.users {
            if !user.is_child {
                said.push(format!("{} is remote: it has no process here", user.name));
                continue;
            }
            self.admin.feed.quiet().order(&user.name, END).await.map_err(Fault::unavailable)?;
            said.push(format!("no process of {} is left", user.name));
        }
        Ok(said.join("; "))
    }

    async fn swap(&mut self) -> Verb<String> {
        let staged = self.staged.as_ref().ok_or_else(|| Fault::bug("there is nothing to put in place"))?;
        let (path, was) = (self.note.target.clone(), self.plan.target.there.map(|(kind, _)| kind));
        let also = trusted::owners(self.admin.data.root());
        let now = blocking(move || place::look(&path, &also)).await?;
        if now.there.map(|(kind, _)| kind) != was {
            return Err(Fault::conflict(format!("{} became something else meanwhile", now.path.display())));
        }
        (self.note.new, self.note.old) = (Some(staged.node), now.there.map(|(_, node)| node));
        self.note.write(&self.admin.data)?;
        let note = self.note.clone();
        blocking(move || {
            let shown = note.target.display();
            let bad = |e| Fault::unavailable(format!("{shown} cannot be exchanged: {e}")).because(e);
            place::exchange(&note.tree, &note.target, note.old).map_err(bad)
        })
        .await?;
        Ok(format!("{} is the content of {}", self.note.target.display(), self.note.archive))
    }

    async fn compare(&mut self) -> Verb<String> {
        let Some(Staged { manifest, .. }) = self.staged.clone() else { return Err(Fault::bug("there is nothing to compare with")) };
        let (note, files) = (self.note.clone(), manifest.files);
        let left = blocking(move || {
            let shown = note.target.display();
            place::sync_names(&note.tree, &note.target)
                .map_err(|e| Fault::unavailable(format!("{shown} is not on the disk: {e}")).because(e))?;
            is_new(&note)?;
            stage::compare(&note.target, &manifest, Disk::Anew)?;
            let bad = |e| Fault::unavailable(format!("{} cannot be named: {e}", note.kept.display())).because(e);
            if note.old.is_none() {
                place::tidy(&note.dir);
                return Ok(Vec::new());
            }
            place::keep(&note.tree, &note.kept).map_err(bad)?;
            let left = place::carry(&note.kept, &note.target, &note.carry);
            place::tidy(&note.dir);
            Ok(left)
        })
        .await?;
        self.is_kept = self.note.old.is_some();
        let mut detail = format!("{} as in the archive", crate::web::human::plural(files, "file"));
        if !left.is_empty() {
            detail.push_str(&format!("; left in what is kept: {}", left.join(", ")));
        }
        Ok(detail)
    }

    async fn undo(&mut self) -> Verb<String> {
        let note = self.note.clone();
        blocking(move || {
            let shown = note.target.display();
            let bad = |e| Fault::unavailable(format!("{shown} cannot be changed back: {e}")).because(e);
            is_new(&note)?;
            // The old tree may have its name already.
            if note.old.is_some() && place::node(&note.kept).map_err(bad)? == note.old {
                std::fs::rename(&note.kept, &note.tree).map_err(bad)?;
            }
            place::change_back(&note.tree, &note.target, note.old).map_err(bad)?;
            place::sync_names(&note.tree, &note.target).map_err(bad)
        })
        .await?;
        Ok(format!("{} is as it was", self.note.target.display()))
    }

    async fn start(&mut self) -> Verb<String> {
        let mut said = Vec::new();
        for user in self.plan.users.iter().filter(|user| user.is_child) {
            self.admin.feed.quiet().let_go(&user.name);
        }
        for user in &self.plan.users {
            if user.is_child {
                up(&self.admin, &user.name).await?;
                said.push(format!("{} is up", user.name));
            } else {
                said.push(format!("{} is remote", user.name));
            }
        }
        Ok(said.join("; "))
    }

    async fn tools(&mut self) -> Verb<String> {
        for user in &self.plan.users {
            let drifts = servers::drifts(&self.admin, &user.name).await?;
            if let Some(drift) = drifts.first() {
                let (count, tool, state) = (drifts.len(), &drift.tool, &drift.state);
                return Err(Fault::conflict(format!("{count} of its tools are not as approved, first {tool}: {state}")));
            }
        }
        Ok("as approved".to_owned())
    }

    async fn release(&mut self) -> Verb<String> {
        // The order was given by a fresh login; a large vault takes longer than one stays fresh.
        let actor = Actor { login_at: self.actor.login_at.map(|_| self.admin.clock.now()), ..self.actor.clone() };
        let mut said = Vec::new();
        for one in &self.stopped {
            let scope = Scope::Server { server: one.server.clone() };
            let order = kill::Release { scope, to: one.before, reason: self.note.reason(&self.plan.reason) };
            kill::release_own(&self.admin, &actor, order, &one.decision_id).await?;
            said.push(format!("{} released{}", one.server, if one.before.is_some() { " to read-only, as it was" } else { "" }));
        }
        self.released = !self.stopped.is_empty();
        for user in self.plan.users.iter().filter(|user| !self.stopped.iter().any(|one| one.server == user.name)) {
            said.push(format!("{} stays stopped, as it was before", user.name));
        }
        Ok(said.join("; "))
    }
}

fn busy() -> Fault {
    Fault::conflict("another backup or restore is not over yet")
}

/// Whether the archive's tree lies at the place.
fn is_new(note: &Note) -> Verb<()> {
    match place::node(&note.target) {
        Ok(found) if found == note.new => Ok(()),
        _ => Err(Fault::unavailable(format!("somebody else changes {}", note.target.display()))),
    }
}

/// Waits until a server that was let go has its process.
async fn up(admin: &Admin, server: &str) -> Verb<()> {
    let since = Instant::now();
    loop {
        let state = admin.feed.server(server);
        match state.as_ref().map(|state| (state.state, state.detail.as_str())) {
            Some(("up", _)) => return Ok(()),
            Some(("unapproved", why)) => return Err(Fault::unavailable(format!("{server} does not start: {why}"))),
            Some(("down", why)) if why != RESTORING => return Err(Fault::unavailable(format!("{server} does not start: {why}"))),
            _ if since.elapsed() > UP => return Err(Fault::unavailable(format!("{server} is not up after {} s", UP.as_secs()))),
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}
