//! The page of one credential: its versions, its rotation as a stepper, who still uses the old version, what was seen, and what may be ordered. Pure.

use askama::Template;

use super::super::kinds::Kind;
use super::super::machine::{Hold, Place, State};
use super::super::model::{CredentialDetail, Rotation, StepTaken, Strategy, Version};
use super::super::systems::IssuerCommands;
use super::super::{drivers, kinds};
use super::badge;
use super::told::{Fact, told};
use crate::admin::Actor;
use crate::admin::actor::Right;
use crate::admin::shell::{Shell, sentence};
use crate::base::clock::Timestamp;
use crate::web::human;
use crate::web::view::{Badge, Tone};

/// `/credentials/KIND/NAME`.
#[derive(Template)]
#[template(path = "credentials/detail.html")]
pub struct DetailPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: DetailView,
}

/// What is known of one.
pub struct Facts<'a> {
    /// It.
    pub found: &'a CredentialDetail,
    /// Who looks.
    pub actor: &'a Actor,
    /// Its page.
    pub path: String,
}

/// What one shows.
#[derive(Clone, Debug, Default)]
pub struct DetailView {
    /// `KIND/NAME`.
    pub name: String,
    /// Its page.
    pub path: String,
    /// `Client key of support-copilot`.
    pub title: String,
    /// How it stands.
    pub badge: Badge,
    /// Kind, strategy, interval, owner, in a sentence.
    pub about: String,
    /// What its rotation does.
    pub means: String,
    /// Role operator.
    pub may_operate: bool,
    /// Whether Lifeboat rotates it.
    pub may_rotate: bool,
    /// Whether it can be ended at once, and by which name.
    pub revoke: String,
    /// Whether Lifeboat has a password of its own at the system, and whoever looks may give it.
    pub keeps_admin: bool,
    /// The commands that make and end it.
    pub commands: Option<IssuerCommands>,
    /// Role admin.
    pub may_approve: bool,
    /// How long both count when nothing else is said.
    pub overlap: String,
    /// Whether both ever count.
    pub overlaps: bool,
    /// What the times of its versions are called.
    pub since: &'static str,
    /// The same of their ends.
    pub ends: &'static str,
    /// Its versions.
    pub versions: Vec<VersionRow>,
    /// Its newest rotation.
    pub rotation: Option<RotationView>,
    /// Those before.
    pub past: Vec<PastRow>,
}

/// One version.
#[derive(Clone, Debug)]
pub struct VersionRow {
    /// Its public name.
    pub id: String,
    /// How it stands.
    pub badge: Badge,
    /// Since when.
    pub since: String,
    /// When it was last used.
    pub used: String,
    /// When it ends by itself.
    pub ends: String,
}

/// One rotation.
#[derive(Clone, Debug)]
pub struct RotationView {
    /// `Rotation rot_… started … by …`.
    pub title: String,
    /// Whether it is open.
    pub open: bool,
    /// What it waits for, or why it failed.
    pub waits: String,
    /// Why it rests, and until when: nobody has to do anything.
    pub rests: String,
    /// Whether that is a failure.
    pub failed: bool,
    /// Its nine states.
    pub stepper: Vec<StepView>,
    /// Whether somebody must fetch the new secret.
    pub to_fetch: bool,
    /// Whether somebody must bring the new value.
    pub to_supply: bool,
    /// Until when both count, in a sentence.
    pub overlap: String,
    /// Who uses which version.
    pub places: Vec<PlaceRow>,
    /// What may be ordered now: the word, and what the button says.
    pub orders: Vec<(&'static str, &'static str)>,
    /// What was seen.
    pub steps: Vec<EvidenceRow>,
}

/// One state of the stepper.
#[derive(Clone, Debug)]
pub struct StepView {
    /// `done`, `now` or `todo`.
    pub class: &'static str,
    /// Its icon.
    pub icon: &'static str,
    /// Its word.
    pub word: &'static str,
    /// When, or how far.
    pub note: String,
}

/// One place.
#[derive(Clone, Debug)]
pub struct PlaceRow {
    /// Where.
    pub place: String,
    /// When it last showed the old version.
    pub old: String,
    /// When it last showed the new version.
    pub new: String,
    /// Requests with the new version.
    pub calls: String,
    /// Whether it moved.
    pub badge: Badge,
}

/// One step with what was seen.
#[derive(Clone, Debug)]
pub struct EvidenceRow {
    /// When.
    pub at: String,
    /// What.
    pub step: String,
    /// How it went.
    pub outcome: String,
    /// What was seen, fact by fact.
    pub seen: Vec<Fact>,
}

/// One past rotation.
#[derive(Clone, Debug)]
pub struct PastRow {
    /// Its id.
    pub id: String,
    /// When it began.
    pub when: String,
    /// Who began it.
    pub by: String,
    /// How it ended.
    pub state: String,
}

const STATES: [(State, &str); 9] = [
    (State::Planned, "Planned"),
    (State::Minted, "Minted"),
    (State::Installed, "Installed"),
    (State::Verified, "Verified"),
    (State::Promoted, "Promoted"),
    (State::Draining, "Draining"),
    (State::Retired, "Retired"),
    (State::Proved, "Proved"),
    (State::Done, "Done"),
];

fn stepper(row: &Rotation, steps: &[StepTaken], places: &[Place]) -> Vec<StepView> {
    // A rotation whose old version could not be ended is still at it.
    let here = if row.state == State::RetireFailed { State::Draining } else { row.state };
    let given_up = matches!(row.state, State::Cancelled | State::RolledBack);
    let entered = |state: State| {
        let step = State::ALL.into_iter().filter_map(State::step).find(|step| step.leads_to() == state)?;
        steps.iter().rev().find(|taken| taken.step == step.word() && taken.outcome == "done").map(|taken| taken.at)
    };
    let view = |(state, word): (State, &'static str)| {
        let at = if state == State::Planned { Some(row.started_at) } else { entered(state) };
        let is_now = state == here && !row.state.is_over();
        let note = match at.filter(|_| !is_now) {
            Some(at) => human::minute(at),
            None if is_now && state == State::Draining && !places.is_empty() => {
                format!("{} of {} moved", places.iter().filter(|place| place.moved).count(), places.len())
            }
            None => String::new(),
        };
        let done = if given_up { at.is_some() } else { state < here || row.state == State::Done };
        let (class, icon) = match (is_now, done) {
            (true, _) if row.hold.is_some() => ("now", "wait"),
            (true, _) => ("now", "now"),
            (_, true) => ("done", "check"),
            _ => ("todo", "todo"),
        };
        StepView { class, icon, word, note }
    };
    STATES.into_iter().map(view).collect()
}

fn orders(row: &Rotation) -> Vec<(&'static str, &'static str)> {
    let mut all = Vec::new();
    if row.hold.is_some() {
        all.push(("resume", "Try again now"));
    } else {
        all.push(("pause", "Pause"));
    }
    match row.state {
        State::Planned | State::Minted => all.push(("cancel", "Cancel")),
        State::Installed | State::Verified => all.push(("rollback", "Roll back")),
        State::Promoted | State::Draining => {
            all.extend([
                ("retire", "Retire the old one now"),
                ("extend", "Keep both for 24 h more"),
                ("rollback", "Roll back to the old one"),
            ]);
        }
        State::RetireFailed => all.push(("retire", "Retire the old one now")),
        _ => {}
    }
    all
}

impl RotationView {
    fn of(row: &Rotation, found: &CredentialDetail, now: Timestamp) -> Self {
        let open = !row.state.is_over();
        let last_token = found.credential.versions.iter().find(|one| one.state == "previous").and_then(|one| one.expires_at);
        let overlap = match row.overlap_until.filter(|_| matches!(row.state, State::Promoted | State::Draining)) {
            Some(until) if until > now && found.credential.kind == Kind::TokenKey.word() => {
                let until = last_token.filter(|last| *last > now).unwrap_or(until);
                format!("The new key signs. The old one ends by itself when its last token has expired, {}.", exactly(until, now))
            }
            Some(until) if until > now && row.forced => format!("The old one ends {}.", human::until(until, now)),
            Some(until) if until > now => {
                format!("The old one ends when it is no longer used; the overlap ends {}.", human::until(until, now))
            }
            Some(_) => "The overlap is over.".to_owned(),
            None => String::new(),
        };
        let moment = |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), |at| human::when(at, now));
        let place = |one: &Place| PlaceRow {
            place: one.place.clone(),
            old: moment(one.old_last),
            new: moment(one.new_last),
            calls: human::count(one.new_calls),
            badge: if one.moved { Badge::new(Tone::Ok, "moved") } else { Badge::new(Tone::Warn, "on the old one") },
        };
        let step = |taken: &StepTaken| EvidenceRow {
            at: human::clock_ms(taken.at),
            step: taken.step.clone(),
            outcome: taken.outcome.clone(),
            seen: told(&taken.evidence, now),
        };
        Self {
            title: format!("Rotation {} started {} by {}", row.id, human::when(row.started_at, now), row.started_by),
            open,
            waits: row.why.as_deref().filter(|_| open && row.hold.is_some()).map(sentence).unwrap_or_default(),
            rests: row.why.as_deref().filter(|_| open && row.hold.is_none()).map(|why| rests(why, row, now)).unwrap_or_default(),
            failed: row.hold == Some(Hold::Failed),
            stepper: stepper(row, &found.steps, &found.places),
            to_fetch: row.to_fetch && row.fetched_at.is_none() && row.state >= State::Promoted && row.state <= State::Done,
            to_supply: row.state == State::Planned && found.credential.strategy == Strategy::Assisted,
            overlap,
            places: if open { found.places.iter().map(place).collect() } else { Vec::new() },
            orders: if open { orders(row) } else { Vec::new() },
            steps: found.steps.iter().map(step).collect(),
        }
    }
}

/// A moment that is near: `at 22:10:31 UTC, in 4 min`.
fn exactly(at: Timestamp, now: Timestamp) -> String {
    format!("at {} UTC, {}", human::clock(at), human::until(at, now))
}

fn rests(why: &str, row: &Rotation, now: Timestamp) -> String {
    let until = row.next_try_at.map_or_else(|| "by itself".to_owned(), |at| exactly(at, now));
    format!("{} It goes on {until}.", sentence(why))
}

fn version_row(version: &Version, kind: &str, now: Timestamp) -> VersionRow {
    let badge = match (version.state.as_str(), version.activates_at) {
        ("current", _) if kind == Kind::TokenKey.word() => Badge::new(Tone::Ok, "current, signs"),
        ("current", _) => Badge::new(Tone::Ok, "current"),
        ("next", Some(at)) if at > now => Badge::new(Tone::Sea, format!("next, activates {}", exactly(at, now))),
        ("next", _) => Badge::new(Tone::Sea, "next, may sign now"),
        ("previous", _) if kind == Kind::TokenKey.word() => Badge::new(Tone::Sea, "previous, its tokens count"),
        ("previous", _) => Badge::new(Tone::Sea, "previous, counts too"),
        (other, _) => Badge::new(Tone::Plain, other),
    };
    let ends = |at| if kind == Kind::TokenKey.word() { exactly(at, now) } else { human::day(at, now) };
    VersionRow {
        id: version.id.clone(),
        badge,
        since: version.created_at.map(|at| human::when(at, now)).unwrap_or_default(),
        used: version.last_used.map(|at| human::when(at, now)).unwrap_or_default(),
        ends: version.expires_at.map(ends).unwrap_or_default(),
    }
}

/// The page of one.
pub fn detail(mut shell: Shell, facts: &Facts<'_>) -> DetailPage {
    let (now, found) = (shell.now, facts.found);
    let one = &found.credential;
    let parsed = kinds::parse(&one.name).ok();
    let title = parsed.map_or_else(|| one.name.clone(), |(kind, name)| format!("{}: {name}", kind.title()));
    let every = match (one.rotate_every_days, one.rotates_at) {
        (0, _) => "no interval".to_owned(),
        (days, Some(at)) => format!("every {days} days by itself, next {}", human::day(at, now)),
        (days, None) if one.by_itself => format!("every {days} days by itself, when the schedule runs"),
        (days, None) => format!("every {days} days"),
    };
    let owner = one.owner.as_deref().map_or("nobody is its owner yet".to_owned(), |owner| format!("owner: {owner}"));
    let holder = one.holder.as_deref().map(|holder| format!("; held by {holder}")).unwrap_or_default();
    let newest = found.rotations.first();
    let open = newest.is_some_and(|row| !row.state.is_over());
    // Only while something happens by itself: a page that comes anew takes away what is being typed.
    let moves =
        |row: &Rotation| !row.state.is_over() && row.hold.is_none() && row.next_try_at.is_none() && row.state != State::Draining;
    shell.refresh = newest.is_some_and(moves);
    let revoke = match one.kind.as_str() {
        "client-key" | "client-secret" | "token-key" | "upstream" | "postgres" | "http" | "command" | "operator-key"
        | "operator-password" | "operator-session"
            if one.state != "ended" =>
        {
            one.name.clone()
        }
        _ => String::new(),
    };
    let is_token_key = one.kind == Kind::TokenKey.word();
    let past = |row: &Rotation| PastRow {
        id: row.id.clone(),
        when: human::when(row.started_at, now),
        by: row.started_by.clone(),
        state: row.state.word().replace('_', " "),
    };
    let page = DetailView {
        name: one.name.clone(),
        path: facts.path.clone(),
        title,
        badge: badge(one),
        about: format!("{}, {}, {}{}.", sentence(one.strategy.word()).trim_end_matches('.'), every, owner, holder),
        means: one.means.clone(),
        may_operate: facts.actor.role.has(Right::Operate),
        may_rotate: !open && one.strategy != Strategy::Elsewhere && parsed.is_some_and(|(kind, _)| drivers::of(kind).is_some()),
        revoke,
        keeps_admin: matches!(one.kind.as_str(), "postgres" | "http" | "command" | "admin")
            && facts.actor.role.has(Right::Administer),
        commands: found.commands.clone(),
        may_approve: facts.actor.role.has(Right::Administer),
        overlap: one.overlap.clone(),
        overlaps: parsed.is_some_and(|(kind, _)| kind.overlap_ms() > 0),
        since: if is_token_key { "Published" } else { "Since" },
        ends: if is_token_key { "Last token expires" } else { "Ends" },
        versions: one.versions.iter().map(|version| version_row(version, &one.kind, now)).collect(),
        rotation: newest.map(|row| RotationView::of(row, found, now)),
        past: found.rotations.iter().skip(1).map(past).collect(),
    };
    DetailPage { shell, page }
}
