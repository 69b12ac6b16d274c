//! Drives one rotation as far as it goes now: takes its lease, asks the machine, looks, acts, and writes down each step before the next. Decides nothing by
//! itself, and holds nothing that a restart would lose.

use serde_json::{Value, json};

use super::drivers::{self, Driver, Kept, Mint, Minted, Scene, Trouble};
use super::machine::{self, Act, Drain, Hold, Seen, State, Step, Todo, drain};
use super::model::Rotation;
use super::observer::{Observer, Point, Unobserved};
use super::store::{self, Taken};
use super::{kinds, watch};
use crate::admin::Admin;
use crate::audit::{Durability, Event};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::ids;

/// How long a lease lasts when it is not renewed: longer than any step takes.
const LEASE_MS: i64 = 120_000;
/// How long an order waits for a step that is under way.
const TRIES: u32 = 50;
/// How long whoever ordered something waits to see what came of it.
const PATIENT_TRIES: u32 = 300;
const TRY_AGAIN: std::time::Duration = std::time::Duration::from_millis(100);
/// More steps than any rotation has.
const MOST: u32 = 40;

/// One rotation with its lease.
struct Work<'a> {
    admin: &'a Admin,
    owner: String,
    driver: &'static dyn Driver,
    observer: &'a dyn Observer,
}

/// Goes on with a rotation until it rests, and gives it as it is then; as it is now when somebody else is at it.
///
/// # Errors
/// `NotFound`; when the database does not answer. A step that fails is no error: the row says so.
pub(super) async fn drive(admin: &Admin, id: &str, observer: &dyn Observer) -> Verb<Rotation> {
    let row = read(admin, id).await?;
    let work = Work::of(admin, &row, observer)?;
    if !work.lease(id).await? {
        return Ok(row);
    }
    work.until_it_rests(id).await
}

/// As `drive`, but waits for whoever is at it: who ordered something sees what came of it.
///
/// # Errors
/// As `drive`.
pub(super) async fn drive_patiently(admin: &Admin, id: &str) -> Verb<Rotation> {
    let row = read(admin, id).await?;
    let work = Work::of(admin, &row, &Unobserved)?;
    for _ in 0..PATIENT_TRIES {
        if work.lease(id).await? {
            return work.until_it_rests(id).await;
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
    read(admin, id).await
}

/// A row with its lease, to be changed by an order.
pub(super) struct Held<'a> {
    admin: &'a Admin,
    owner: String,
    /// The row as it is.
    pub row: Rotation,
    /// What its kind does.
    pub driver: &'static dyn Driver,
}

/// Takes the lease of a rotation, to change its row.
///
/// # Errors
/// `NotFound`; `Conflict` while somebody else works on it.
pub(super) async fn hold<'a>(admin: &'a Admin, id: &str) -> Verb<Held<'a>> {
    let row = read(admin, id).await?;
    let work = Work::of(admin, &row, &Unobserved)?;
    let mut tries = 0;
    while !work.lease(id).await? {
        tries += 1;
        if tries > TRIES {
            return Err(Fault::conflict("Lifeboat is at work on this rotation; try again in a moment"));
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
    // What it was before the lease may have changed meanwhile.
    Ok(Held { admin, owner: work.owner, row: read(admin, id).await?, driver: work.driver })
}

impl Held<'_> {
    /// Gives the lease back, with nothing changed.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(super) async fn release(self) -> Verb<()> {
        store::release(&self.admin.db, &self.row.id, &self.owner).await
    }

    /// Stores the row together with what was ordered, unless that could not be followed, and gives the lease back.
    ///
    /// # Errors
    /// The one of `ordered`; when the database does not answer.
    pub(super) async fn end(mut self, ordered: Verb<(&'static str, Value)>) -> Verb<Rotation> {
        let (db, now) = (&self.admin.db, self.admin.clock.now());
        let saved = match ordered {
            Ok((step, evidence)) => {
                self.row.changed_at = now;
                let taken = Taken { step, outcome: "ordered", evidence: &evidence };
                store::save(db, &self.owner, &self.row, Some(taken)).await
            }
            Err(fault) => Err(fault),
        };
        store::release(db, &self.row.id, &self.owner).await?;
        self.admin.credentials.wake.notify_one();
        saved.map(|()| self.row)
    }
}

const STOPPED: &str = "the rotation was stopped by whoever watches it";

fn stopped(fault: &Fault) -> bool {
    fault.message == STOPPED
}

pub(super) async fn read(admin: &Admin, id: &str) -> Verb<Rotation> {
    store::read(&admin.db, id).await?.ok_or_else(|| Fault::not_found(format!("there is no rotation {id}")))
}

impl<'a> Work<'a> {
    fn of(admin: &'a Admin, row: &Rotation, observer: &'a dyn Observer) -> Verb<Self> {
        let (kind, _) = kinds::parse(&row.credential)?;
        let driver = drivers::of(kind).ok_or_else(|| Fault::bug(format!("nothing rotates {}", row.credential)))?;
        Ok(Self { admin, owner: ids::mint("ls", admin.clock.now(), admin.entropy.as_ref()), driver, observer })
    }

    /// Goes on while the lease is held, and gives it back.
    async fn until_it_rests(self, id: &str) -> Verb<Rotation> {
        let went = self.go_on(id).await;
        if went.as_ref().is_err_and(stopped) {
            // As a process that died: the lease stays and ends by itself.
            return Err(Fault::unavailable(STOPPED));
        }
        store::release(&self.admin.db, id, &self.owner).await?;
        went?;
        read(self.admin, id).await
    }

    async fn lease(&self, id: &str) -> Verb<bool> {
        let now = self.admin.clock.now();
        store::lease(&self.admin.db, id, &self.owner, (now, now.plus_ms(LEASE_MS))).await
    }

    async fn go_on(&self, id: &str) -> Verb<()> {
        for _ in 0..MOST {
            if !self.lease(id).await? {
                return Ok(());
            }
            let mut row = read(self.admin, id).await?;
            // What was revoked goes no further; whoever revoked it puts it away.
            if row.revoked > 0 {
                return Ok(());
            }
            watch::follow(self.admin, self.driver, &row).await;
            let Todo::Look(step) = machine::todo(&row, self.admin.clock.now()) else { return Ok(()) };
            let rests = match self.step(&mut row, step).await {
                Ok(rests) => rests,
                Err(Stop::Fault(fault)) => return Err(fault),
                Err(Stop::Trouble(trouble, acted)) => self.failed(&mut row, (step, acted), trouble).await?,
            };
            if rests {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Looks at one step and does what is due; whether the rotation rests then.
    async fn step(&self, row: &mut Rotation, step: Step) -> Result<bool, Stop> {
        if let Some(why) = self.admin.recorder.trouble() {
            return Err(Trouble::transient(format!("nothing is changed while the ledger cannot be written: {why}")).into());
        }
        let (seen, verdict) = self.look(row, step).await?;
        let now = self.admin.clock.now();
        match machine::act(step, seen, verdict.as_ref(), now) {
            Act::Enter(evidence) => self.enter(row, step, &evidence).await.map(|()| false),
            Act::Do => self.perform(row, step).await.map(|()| false).map_err(Stop::after_acting),
            Act::Later(at) => self.rest(row, None, None, at).await.map(|()| true),
            Act::Rest(said, at) => self.rest(row, None, Some(said), at).await.map(|()| true),
            Act::Wait(said, at) => self.rest(row, Some(Hold::Waiting), Some(said), at).await.map(|()| true),
        }
    }

    async fn look(&self, row: &Rotation, step: Step) -> Result<(Seen, Option<drain::Verdict>), Stop> {
        let scene = self.scene(row)?;
        match step {
            Step::Install | Step::Promote => Ok((self.driver.probe(&scene, step).await?, None)),
            // Whether it may end comes first: some ask the other side whether the old one has ended.
            Step::Retire => {
                let drain: Drain = self.driver.drain(&scene).await?;
                let verdict = drain::judge(row, &drain, self.admin.clock.now());
                let over = matches!(verdict, drain::Verdict::Over(_));
                let seen = if over { self.driver.probe(&scene, step).await? } else { Seen::Not };
                Ok((seen, Some(verdict)))
            }
            // What these give is written in one go with the state after them.
            Step::Mint | Step::Verify | Step::Prove => Ok((Seen::Not, None)),
            Step::Drain | Step::Finish => Ok((Seen::Holds(Value::Null), None)),
        }
    }

    async fn perform(&self, row: &mut Rotation, step: Step) -> Result<(), Stop> {
        self.observe(Point::Before(step))?;
        let evidence = if step == Step::Mint {
            let minted = self.mint(row).await?;
            match minted {
                Mint::Made(minted) => take(self.admin, row, *minted)?,
                Mint::Waits(said) => return self.wait(row, said).await,
            }
        } else {
            self.driver.apply(&self.scene(row)?, step).await?
        };
        self.observe(Point::After(step))?;
        if matches!(step, Step::Install | Step::Promote | Step::Retire) {
            // What was done must be seen, or it was not done.
            let seen = self.driver.probe(&self.scene(row)?, step).await?;
            return match seen {
                Seen::Holds(seen) => self.enter(row, step, &json!({ "done": evidence, "seen": seen })).await,
                Seen::Waits(said) => self.wait(row, said).await,
                Seen::NotBefore(at, said) => self.rest(row, None, Some(said), at).await,
                Seen::Not => Err(Trouble::transient(format!("{} was done and does not hold", step.word())).into()),
            };
        }
        self.enter(row, step, &evidence).await
    }

    async fn mint(&self, row: &Rotation) -> Result<Mint, Stop> {
        let scene = self.scene(row)?;
        Ok(self.driver.mint(&scene).await?)
    }

    /// Enters the state after a step, with what was seen.
    async fn enter(&self, row: &mut Rotation, step: Step, evidence: &Value) -> Result<(), Stop> {
        let now = self.admin.clock.now();
        let to = step.leads_to();
        (row.state, row.hold, row.why, row.error, row.attempt, row.next_try_at) = (to, None, None, None, 0, None);
        match to {
            State::Verified => row.verified_at = Some(now),
            State::Draining => {
                row.draining_at = Some(now);
                row.overlap_until = Some(now.plus_ms(row.overlap_ms));
                watch::begin_drain(self.admin, row).await?;
            }
            State::Done => self.end(row)?,
            _ => {}
        }
        row.changed_at = now;
        store::save(&self.admin.db, &self.owner, row, Some(Taken { step: step.word(), outcome: "done", evidence })).await?;
        self.tell(row, to.word(), evidence).await;
        self.observe(Point::Written(to))
    }

    /// What is left of a rotation that is over.
    fn end(&self, row: &mut Rotation) -> Verb<()> {
        row.ended_at = Some(self.admin.clock.now());
        let mut kept = Kept::open(self.admin, row)?;
        kept.old = None;
        if !row.to_fetch || row.fetched_at.is_some() {
            kept.secret = None;
        }
        row.sealed = kept.seal(self.admin, &row.id)?;
        watch::leave(self.admin, row);
        Ok(())
    }

    /// Waits for somebody, and looks again in a minute.
    async fn wait(&self, row: &mut Rotation, said: String) -> Result<(), Stop> {
        let at = self.admin.clock.now().plus_ms(60_000);
        self.rest(row, Some(Hold::Waiting), Some(said), at).await
    }

    async fn rest(&self, row: &mut Rotation, hold: Option<Hold>, why: Option<String>, until: Timestamp) -> Result<(), Stop> {
        let news = why.is_some() && row.why != why;
        (row.hold, row.next_try_at) = (hold, Some(until));
        row.why.clone_from(&why);
        if news {
            row.changed_at = self.admin.clock.now();
        }
        let evidence = json!({ "for": why, "until": hold.is_none().then_some(until) });
        let taken = Taken { step: row.state.step().map_or("", Step::word), outcome: "waits", evidence: &evidence };
        store::save(&self.admin.db, &self.owner, row, news.then_some(taken)).await?;
        if news {
            self.tell(row, "waits", &evidence).await;
        }
        Ok(())
    }

    /// Writes a failure down; it rests then.
    async fn failed(&self, row: &mut Rotation, (step, acted): (Step, bool), trouble: Trouble) -> Verb<bool> {
        let now = self.admin.clock.now();
        let failed = machine::failed(row, (step, acted), trouble.class, now);
        if failed.discard {
            let undone = self.driver.undo(&self.scene(row)?).await;
            if undone.is_ok() {
                (row.new, row.sealed, row.facts, row.to_fetch) = (None, None, Value::Null, false);
                row.state = failed.state;
            }
        } else {
            row.state = failed.state;
        }
        (row.hold, row.attempt, row.next_try_at) = (Some(failed.hold), failed.attempt, failed.next_try_at);
        row.error = Some(if trouble.class == machine::Class::Transient { "transient" } else { "permanent" }.to_owned());
        row.why = Some(trouble.said.clone());
        row.changed_at = now;
        tracing::warn!(rotation = row.id, credential = row.credential, step = step.word(), why = trouble.said, "a rotation failed");
        let evidence = json!({ "why": trouble.said, "class": row.error, "attempt": failed.attempt, "discarded": failed.discard });
        store::save(&self.admin.db, &self.owner, row, Some(Taken { step: step.word(), outcome: "failed", evidence: &evidence }))
            .await?;
        self.tell(row, "failed", &evidence).await;
        Ok(true)
    }

    fn scene<'r>(&self, row: &'r Rotation) -> Verb<Scene<'r>>
    where
        Self: 'r,
    {
        let (_, name) = kinds::parse(&row.credential)?;
        Ok(Scene { admin: self.admin, row, name, kept: Kept::open(self.admin, row)? })
    }

    fn observe(&self, point: Point) -> Result<(), Stop> {
        if self.observer.goes_on(point) { Ok(()) } else { Err(Stop::Fault(Fault::unavailable(STOPPED))) }
    }

    /// Tells the ledger. The row is the memory: an event that is lost loses no rotation.
    async fn tell(&self, row: &Rotation, what: &str, evidence: &Value) {
        let mut event = Event::system(&format!("credential.{what}"), row.credential.clone());
        event.params = Some(json!({ "rotation": row.id, "evidence": evidence }));
        if self.admin.recorder.record(event, Durability::Synced).await.is_err() {
            tracing::error!(rotation = row.id, "a step of a rotation could not be written to the ledger");
        }
        if matches!(row.state, State::Retired | State::Done)
            && let Err(fault) = self.admin.checkpoint("rotation").await
        {
            tracing::error!(%fault, "the ledger's head could not be signed after a rotation");
        }
    }
}

/// Takes a new version into the row: sealed, before anything knows of it (I1).
fn take(admin: &Admin, row: &mut Rotation, minted: Minted) -> Verb<Value> {
    row.sealed = minted.kept.seal(admin, &row.id)?;
    let evidence = json!({ "version": minted.version, "facts": minted.facts });
    (row.new, row.facts, row.to_fetch) = (Some(minted.version), minted.facts, minted.to_fetch);
    Ok(evidence)
}

/// Why a step ended early.
enum Stop {
    /// The credential's side, and whether something was done to it already.
    Trouble(Trouble, bool),
    /// Our side: the database, or whoever watches.
    Fault(Fault),
}

impl Stop {
    fn after_acting(self) -> Self {
        match self {
            Self::Trouble(trouble, _) => Self::Trouble(trouble, true),
            fault => fault,
        }
    }
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble, false)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}
