//! The page of the kill switch: state, proofs, history, release. Pure: from what the verbs said to what the template shows.

use askama::Template;

use super::model::{Kind, Past, Proof, ProofAt, State, Status};
use crate::admin::shell::{Shell, scope_name};
use crate::admin::{Admin, operators};
use crate::base::clock::Timestamp;
use crate::web::chart;
use crate::web::human;
use crate::web::view::{Badge, Code, Moment, Tile, Tone};

/// `/kill`.
#[derive(Template)]
#[template(path = "kill/page.html")]
pub struct KillPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: KillView,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct KillView {
    /// Ready or engaged.
    pub badge: Badge,
    /// Whether this operator may stop.
    pub may_stop: bool,
    /// The strip.
    pub tiles: Vec<Tile>,
    /// What is stopped.
    pub states: Vec<StateView>,
    /// The last proof.
    pub proof: Option<ProofView>,
    /// All proofs on one line.
    pub scale: Scale,
    /// History.
    pub past: Vec<PastView>,
    /// Why there is no history.
    pub no_past: String,
    /// The release card.
    pub release: ReleaseView,
    /// Other ways to stop.
    pub codes: Vec<Code>,
}

/// One engaged kill.
#[derive(Clone, Debug)]
pub struct StateView {
    /// `server demo`.
    pub scope: String,
    /// `demo`.
    pub name: String,
    /// `full` or `read-only`.
    pub mode: String,
    /// Since when.
    pub since: Moment,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl StateView {
    fn of(state: &State, now: Timestamp) -> Self {
        Self {
            scope: state.scope.clone(),
            name: scope_name(&state.scope).to_owned(),
            mode: state.mode.clone(),
            since: Moment::when(state.since, now),
            by: state.by.clone(),
            reason: state.reason.clone(),
        }
    }
}

/// The release card.
#[derive(Clone, Debug, Default)]
pub struct ReleaseView {
    /// What may be released; `None` for a role that may not.
    pub may: Option<Vec<StateView>>,
    /// Who can.
    pub admins: String,
    /// `14 clients`.
    pub clients: String,
    /// A reason typed before.
    pub draft: String,
    /// Whether the login is too old.
    pub stale: bool,
    /// How old it is.
    pub login_age: String,
    /// Whether releasing is the one thing to do on the page.
    pub primary: bool,
}

/// A proof.
#[derive(Clone, Debug)]
pub struct ProofView {
    /// `kd_…`.
    pub id: String,
    /// When.
    pub at: Moment,
    /// `12 ms`, or `unproven`.
    pub took: String,
    /// `2 of 2`.
    pub proved: String,
    /// Calls cut.
    pub cut: String,
    /// `everything, full`.
    pub what: String,
    /// Who and why.
    pub by: String,
    /// One per listener.
    pub listeners: Vec<ListenerView>,
}

/// One listener of a proof.
#[derive(Clone, Debug)]
pub struct ListenerView {
    /// Its name.
    pub name: String,
    /// Proved or not.
    pub badge: Badge,
    /// Milliseconds.
    pub took: String,
}

impl ProofView {
    /// A proof as pages show it.
    pub fn of(proof: &Proof, now: Timestamp) -> Self {
        let listener = |at: &ProofAt| ListenerView {
            name: at.listener.clone(),
            badge: if at.refused { Badge::new(Tone::Ok, "proved") } else { Badge::new(Tone::Fire, "no answer") },
            took: format!("{} ms", human::count(at.ms)),
        };
        let what = if proof.kind == "drill" { "canary".to_owned() } else { proof.scope.clone() };
        Self {
            id: proof.decision_id.clone(),
            at: Moment::when(proof.at, now),
            took: proof.effective_ms.map_or("unproven".into(), |ms| format!("{} ms", human::count(ms))),
            proved: tally(&proof.proofs),
            cut: human::count(proof.cut_in_flight as u64),
            what: format!("{what}, {}", proof.mode),
            by: if proof.kind == "drill" { format!("drill by {}", proof.by) } else { format!("by {}", proof.by) },
            listeners: proof.proofs.iter().map(listener).collect(),
        }
    }
}

fn tally(proofs: &[ProofAt]) -> String {
    format!("{} of {}", proofs.iter().filter(|p| p.refused).count(), proofs.len())
}

/// All proofs on a logarithmic line from 1 ms to 60 s.
#[derive(Clone, Debug, Default)]
pub struct Scale {
    /// Where the newest ends.
    pub bar: String,
    /// All of them.
    pub marks: Vec<String>,
    /// The finding in words.
    pub finding: String,
}

impl Scale {
    /// From the milliseconds of proofs, newest first.
    pub fn of(took: &[u64]) -> Self {
        let place = |ms: &u64| chart::log_place(*ms as f64);
        let finding = match (took.iter().min(), took.iter().max()) {
            (Some(least), Some(most)) => format!(
                "{} between {} and {} milliseconds, on a logarithmic scale to 60 seconds",
                human::plural(took.len() as u64, "proof"),
                human::count(*least),
                human::count(*most)
            ),
            _ => "No proof yet".to_owned(),
        };
        Self { bar: took.first().map(place).unwrap_or_default(), marks: took.iter().map(place).collect(), finding }
    }
}

/// One line of the history.
#[derive(Clone, Debug)]
pub struct PastView {
    /// When.
    pub at: Moment,
    /// Who.
    pub by: String,
    /// `everything, full`.
    pub what: String,
    /// Why.
    pub reason: String,
    /// Proved or not.
    pub badge: Badge,
    /// What is to be said of an unproven one.
    pub note: String,
    /// Calls cut.
    pub cut: String,
    /// When, by whom and why it was released.
    pub released: String,
    /// Whether it did not hold.
    pub burn: bool,
}

impl PastView {
    fn of(past: &Past, now: Timestamp) -> Self {
        let drill = past.kind == Kind::Drill;
        let (badge, note) = match (past.effective, past.effective_ms) {
            (Some(true), Some(ms)) => (Badge::new(Tone::Ok, format!("{ms} ms, {}", tally(&past.proofs))), String::new()),
            (Some(_), _) => (Badge::new(Tone::Fire, "engaged, unproven"), format!("{} in 5 s", tally(&past.proofs))),
            (None, _) => (Badge::new(Tone::Warn, "no proof kept"), "Lifeboat ended before it was over".to_owned()),
        };
        let released = past.released_at.map(|at| {
            let (by, why) = (past.released_by.as_deref().unwrap_or_default(), past.release_reason.as_deref().unwrap_or_default());
            if drill { format!("{}, by the drill", human::clock(at)) } else { format!("{} by {by}: {why}", human::when(at, now)) }
        });
        Self {
            at: Moment::when(past.engaged_at, now),
            by: if drill { format!("kill drill, {}", past.by) } else { past.by.clone() },
            what: format!("{}, {}", if drill { "canary".to_owned() } else { past.scope.text() }, past.mode.word()),
            reason: past.reason.clone(),
            burn: past.effective == Some(false),
            badge,
            note,
            cut: human::count(past.cut_in_flight as u64),
            released: released.unwrap_or_else(|| "still engaged".into()),
        }
    }
}

/// The whole page from what the verbs said.
pub fn page(
    admin: &Admin,
    shell: Shell,
    status: &Status,
    past: Result<Vec<Past>, String>,
    actor: &crate::admin::Actor,
) -> KillPage {
    let now = shell.now;
    let (past, no_past) = match past {
        Ok(past) => (past, "No kill and no drill yet. Until one has run, nobody knows how long a stop takes.".to_owned()),
        Err(why) => (Vec::new(), format!("The history does not answer: {why}. Stopping works all the same.")),
    };
    let took: Vec<u64> = past.iter().filter_map(|p| p.effective_ms).collect();
    let may_stop = shell.halt.is_some();
    let page = KillView {
        badge: match (status.engaged, &shell.banner) {
            (false, _) => Badge::new(Tone::Ok, "Ready"),
            (true, Some(banner)) if banner.class == "fire" => Badge::new(Tone::Fire, "Engaged, unproven"),
            (true, _) => Badge::new(Tone::Warn, "Engaged"),
        },
        may_stop,
        tiles: tiles(admin, status, now),
        states: status.states.iter().map(|state| StateView::of(state, now)).collect(),
        proof: status.last_proof.as_ref().map(|proof| ProofView::of(proof, now)),
        scale: Scale::of(&took),
        past: past.iter().map(|past| PastView::of(past, now)).collect(),
        no_past,
        release: ReleaseView { primary: true, ..release(admin, status, actor, now) },
        codes: codes(admin, &admin.dashboard_base(&shell.host)),
    };
    KillPage { shell, page }
}

/// The release card for an operator.
pub fn release(admin: &Admin, status: &Status, actor: &crate::admin::Actor, now: Timestamp) -> ReleaseView {
    let may = actor.role.has(crate::admin::actor::Right::Administer);
    let age = actor.login_at.map_or(0, |at| now.since_ms(at));
    ReleaseView {
        may: may.then(|| status.states.iter().map(|state| StateView::of(state, now)).collect()),
        admins: operators::admins(admin).join(", "),
        clients: human::plural(admin.feed.snapshot().clients.len() as u64, "client"),
        draft: operators::draft(admin, &actor.name).unwrap_or_default(),
        stale: !actor.is_fresh(now),
        primary: false,
        login_age: format!("{} minutes", age / 60_000),
    }
}

fn tiles(admin: &Admin, status: &Status, now: Timestamp) -> Vec<Tile> {
    let proof = match &status.last_proof {
        None => Tile::new("Last proof", Tone::Warn, "None yet", "run a kill drill"),
        Some(proof) => match proof.effective_ms {
            Some(ms) => Tile::new(
                "Last proof",
                Tone::Ok,
                format!("{ms} ms"),
                format!("{}, {}", tally(&proof.proofs), human::ago(proof.at, now)),
            ),
            None => {
                Tile::new("Last proof", Tone::Fire, "Unproven", format!("{}, {}", tally(&proof.proofs), human::ago(proof.at, now)))
            }
        },
    };
    let state = match status.states.as_slice() {
        [] => Tile::new("State", Tone::Plain, "Not engaged", format!("epoch {}", admin.feed.kill().epoch)),
        [one] => Tile::new(
            "State",
            Tone::Warn,
            if one.mode == "full" { "Stopped" } else { "Read-only" },
            format!("{}, since {} by {}", scope_name(&one.scope), human::minute(one.since), one.by),
        ),
        more => Tile::new("State", Tone::Warn, format!("{} engaged", more.len()), format!("epoch {}", admin.feed.kill().epoch)),
    };
    let file = super::file::path(admin.data.root()).exists();
    let admins = operators::admins(admin);
    vec![
        state,
        proof,
        Tile::new("KILL file", Tone::Ok, "Watched", if file { "present" } else { "absent" }),
        Tile::new("Listeners", Tone::Plain, human::count(admin.feed.listeners().len() as u64), "each one is asked by a proof"),
        Tile::new("In flight now", Tone::Plain, human::count(admin.feed.in_flight(None) as u64), "a full stop cuts these"),
        Tile::new("Who can release", Tone::Plain, admins.join(", "), human::plural(admins.len() as u64, "admin")),
    ]
}

fn codes(admin: &Admin, dashboard: &str) -> Vec<Code> {
    let data = admin.data.root().display();
    vec![
        Code::new("On the host", format!("lifeboat --data {data} kill engage --reason \"runaway client\"")),
        Code::new("Without a server running", format!("touch {data}/KILL")),
        Code::new("By signal", "kill -USR2 $(pidof lifeboat)"),
        Code::new(
            "From anywhere, with an operator API key",
            format!(
                "curl --cacert ca.pem -X POST {dashboard}/api/v1/kill/engage \\\n  -H \"Authorization: Bearer $LBO\" \\\n  -H \"Content-Type: application/json\" \\\n  -d '{{\"reason\":\"runaway client\"}}'"
            ),
        ),
    ]
}
