//! What surrounds every page: top bar, STOP, banner, stop panel, navigation, and the words of the kill flow (guide 5). Reads memory
//! only, so that the stop button is there whatever the database does. Never acts.

use askama::Template;

use super::actor::{Actor, Right};
use super::{Admin, kill, operators};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, FaultKind};
use crate::base::secret::Secret;
use crate::policy::feed::Feed;
use crate::web::Context;
use crate::web::assets::{self, Links};
use crate::web::human;
use crate::web::view::SameAs;

/// Who is signed in, and by which cookie. The gate puts it into the request.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Who.
    pub actor: Actor,
    /// The cookie's value.
    pub token: Secret<String>,
}

/// Which page of the navigation is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// `/`
    Overview,
    /// `/activity`
    Activity,
    /// `/kill`
    Kill,
    /// `/servers`
    Servers,
    /// `/clients`
    Clients,
    /// `/operators`
    Operators,
    /// None of them.
    Elsewhere,
}

/// One link of the navigation.
#[derive(Clone, Debug)]
pub struct NavLink {
    /// Where to.
    pub path: &'static str,
    /// The word.
    pub text: &'static str,
    /// How many things there need somebody.
    pub count: usize,
    /// Whether it is this page.
    pub here: bool,
}

/// One group of the navigation.
#[derive(Clone, Debug)]
pub struct NavGroup {
    /// See, Stop or Permit.
    pub title: &'static str,
    /// Its links.
    pub links: Vec<NavLink>,
}

/// The banner: one at a time, the worst.
#[derive(Clone, Debug)]
pub struct Banner {
    /// `fire`, `stopped` or `warn`.
    pub class: &'static str,
    /// Its icon.
    pub icon: &'static str,
    /// The claim.
    pub claim: String,
    /// One sentence with numbers.
    pub detail: String,
    /// The word of its link.
    pub link: &'static str,
    /// Whether a proof is still open.
    pub open: bool,
}

/// The stop panel.
#[derive(Clone, Debug, Default)]
pub struct Halt {
    /// Whether the page opens with it.
    pub open: bool,
    /// Names to choose from.
    pub servers: Vec<String>,
    /// Full names to choose from.
    pub tools: Vec<String>,
    /// Names to choose from.
    pub clients: Vec<String>,
    /// What a press cuts.
    pub in_flight: String,
    /// Whom it reaches.
    pub reach: String,
    /// The scope that is chosen already: `everything`, `server`, `tool` or `client`.
    pub scope: String,
    /// The name that is chosen already.
    pub chosen: String,
}

impl Halt {
    /// Whether a scope is the chosen one.
    pub fn is(&self, scope: &str) -> bool {
        if self.scope.is_empty() { scope == "everything" } else { self.scope == scope }
    }
}

/// Who is signed in, as the page says it.
#[derive(Clone, Debug)]
pub struct Me {
    /// Name.
    pub name: String,
    /// Role.
    pub role: &'static str,
}

/// What surrounds a page.
#[derive(Clone, Debug)]
pub struct Shell {
    /// Of this response.
    pub nonce: String,
    /// Linked files.
    pub assets: &'static Links,
    /// The page's noun.
    pub title: String,
    /// The host the browser named.
    pub host: String,
    /// Who is signed in.
    pub me: Me,
    /// What is stopped.
    pub banner: Option<Banner>,
    /// `03:14 by jonas`, while everything is stopped.
    pub stopped: Option<String>,
    /// The stop panel, for roles that may stop.
    pub halt: Option<Halt>,
    /// The pages there are.
    pub nav: Vec<NavGroup>,
    /// What the last form did.
    pub flash: Option<String>,
    /// What the last form did not do.
    pub refusal: Option<String>,
    /// The same by command and call.
    pub same_as: Option<SameAs>,
    /// The one stream of the page.
    pub live: String,
    /// Where rows of the stream go.
    pub live_target: &'static str,
    /// Whether the page loads itself again while a proof is open.
    pub refresh: bool,
    /// Now.
    pub now: Timestamp,
}

impl Shell {
    /// The shell of a page, read from memory.
    pub fn new(admin: &Admin, context: &Context, signed: &Signed, here: Here, title: impl Into<String>) -> Self {
        let now = admin.clock.now();
        let status = stopped_now(admin);
        let banner = banner(&status, admin.feed.listeners().len(), now);
        let whole = status.states.iter().find(|s| s.scope == "everything" && s.mode == "full");
        let may_stop = signed.actor.role.has(Right::Operate);
        Self {
            nonce: context.nonce.clone(),
            assets: assets::links(),
            title: title.into(),
            host: context.host.clone(),
            me: Me { name: signed.actor.name.clone(), role: signed.actor.role.word() },
            stopped: whole.map(|s| format!("{} by {}", human::minute(s.since), s.by)),
            refresh: here == Here::Kill && banner.as_ref().is_some_and(|b| b.open),
            banner,
            halt: may_stop.then(|| halt(&admin.feed)),
            nav: nav(admin, here),
            flash: operators::take_flash(admin, signed.token.reveal()),
            refusal: None,
            same_as: None,
            live: "/live".into(),
            live_target: "this",
            now,
        }
    }

    /// With the command and call that give the same.
    #[must_use]
    pub fn same(mut self, command: impl Into<String>, call: impl Into<String>) -> Self {
        self.same_as = Some(SameAs::new(command, call));
        self
    }

    /// With a sentence about what was not done.
    #[must_use]
    pub fn refusing(mut self, sentence: Option<String>) -> Self {
        self.refusal = sentence;
        self
    }

    /// With the stop panel open and one thing chosen.
    #[must_use]
    pub fn choosing(mut self, scope: &str, name: &str) -> Self {
        if let Some(halt) = &mut self.halt {
            (halt.open, halt.scope, halt.chosen) = (true, scope.to_owned(), name.to_owned());
        }
        self
    }

    /// Whether everything is stopped.
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    /// What the STOP control says while everything is stopped.
    pub fn stop_on(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// The text of the browser's tab.
    pub fn document_title(&self) -> String {
        let stopped = if self.is_stopped() { "STOPPED · " } else { "" };
        format!("{stopped}{} · Lifeboat", self.title)
    }
}

/// What is stopped, from memory.
pub fn stopped_now(admin: &Admin) -> kill::Status {
    let states = kill::states(admin);
    kill::Status { engaged: !states.is_empty(), states, last_proof: admin.kill.last_proof() }
}

fn nav(admin: &Admin, here: Here) -> Vec<NavGroup> {
    let link = |page, path, text, count| NavLink { path, text, count, here: page == here };
    let servers = admin.feed.snapshot();
    let waiting = servers.servers.keys().filter(|name| admin.feed.server(name).is_some_and(|s| s.state == "unapproved")).count();
    vec![
        NavGroup {
            title: "See",
            links: vec![link(Here::Overview, "/", "Overview", 0), link(Here::Activity, "/activity", "Activity", 0)],
        },
        NavGroup { title: "Stop", links: vec![link(Here::Kill, "/kill", "Kill switch", 0)] },
        NavGroup {
            title: "Permit",
            links: vec![
                link(Here::Servers, "/servers", "Servers", waiting),
                link(Here::Clients, "/clients", "Clients", 0),
                link(Here::Operators, "/operators", "Operators", 0),
            ],
        },
    ]
}

fn halt(feed: &Feed) -> Halt {
    let snapshot = feed.snapshot();
    let mut clients: Vec<String> = snapshot.clients.keys().map(|name| name.to_string()).collect();
    clients.sort();
    let tools = |(name, entry): (&String, &std::sync::Arc<crate::policy::snapshot::ServerEntry>)| {
        entry.config.tools.keys().map(|tool| format!("{name}/{tool}")).collect::<Vec<_>>()
    };
    let flying = human::plural(feed.in_flight(None) as u64, "call");
    let is = if flying == "1 call" { "is" } else { "are" };
    let reach = [
        human::plural(clients.len() as u64, "client"),
        human::plural(snapshot.servers.len() as u64, "server"),
        human::plural(feed.listeners().len() as u64, "listener"),
    ];
    Halt {
        servers: snapshot.servers.keys().cloned().collect(),
        tools: snapshot.servers.iter().flat_map(tools).collect(),
        clients,
        in_flight: format!("{flying} in flight {is} cut"),
        reach: reach.join(", "),
        ..Halt::default()
    }
}

/// What a scope's text is called in a sentence: `ci-runner` for `client ci-runner`.
pub fn scope_name(scope: &str) -> &str {
    scope.split_once(' ').map_or(scope, |(_, name)| name)
}

/// The banner for what is stopped: everything first, then the unproven, then the first of the rest.
pub fn banner(status: &kill::Status, listeners: usize, now: Timestamp) -> Option<Banner> {
    let proof_of = |id: &str| status.last_proof.as_ref().filter(|proof| proof.decision_id == id);
    let unproven = |s: &&kill::State| proof_of(&s.decision_id).is_some_and(|proof| !proof.effective);
    let whole = |s: &&kill::State| s.scope == "everything" && s.mode == "full";
    let states = &status.states;
    let worst = states.iter().find(unproven).or_else(|| states.iter().find(whole)).or_else(|| states.first())?;
    let proof = proof_of(&worst.decision_id);
    let by = format!("{} UTC by {}: {}", human::clock(worst.since), worst.by, worst.reason);
    let made = |class, icon, claim: String, detail: String, open| Some(Banner { class, icon, claim, detail, link: "Manage", open });
    match proof {
        Some(proof) if !proof.effective => {
            let silent: Vec<&str> = proof.proofs.iter().filter(|p| !p.refused).map(|p| p.listener.as_str()).collect();
            let proved = proof.proofs.len() - silent.len();
            let detail = format!(
                "{proved} of {} listeners proved in 5 s. {} did not answer. Fence it now: take it off the network or stop its process.",
                proof.proofs.len().max(listeners),
                if silent.is_empty() { "No listener".to_owned() } else { silent.join(", ") }
            );
            made("fire", "warn", "Engaged, unproven".into(), detail, false)
        }
        None if now.since_ms(worst.since) < 6_000 => {
            let claim = format!("Stopping. 0 of {listeners} listeners proved.");
            made(if whole(&worst) { "stopped" } else { "warn" }, "stop", claim, by, true)
        }
        _ if whole(&worst) => {
            let took = proof.and_then(|p| p.effective_ms).map(|ms| format!(" in {ms} ms")).unwrap_or_default();
            let proved = proof.map(|p| proved_text(p) + " · ").unwrap_or_default();
            made("stopped", "stop", format!("Stopped everywhere{took}"), format!("{proved}{by}"), false)
        }
        _ => Some(partial(worst, proof, states.len(), by)),
    }
}

fn proved_text(proof: &kill::Proof) -> String {
    let cut = human::plural(proof.cut_in_flight as u64, "call");
    format!("Proved at {0} of {0} listeners · {cut} in flight cut", proof.proofs.len())
}

fn partial(state: &kill::State, proof: Option<&kill::Proof>, stops: usize, by: String) -> Banner {
    let name = scope_name(&state.scope);
    let (claim, first) = match state.mode.as_str() {
        "read-only" => (format!("Read-only for {name}"), "Writes and destructive calls are stopped"),
        _ => (format!("Stopped for {name}"), "Its calls are refused; all others go on"),
    };
    let proved = proof.and_then(|p| p.effective_ms.map(|ms| format!(" · proved at {0} of {0} in {ms} ms", p.proofs.len())));
    let more = if stops > 1 { format!(" · {} more engaged", human::plural((stops - 1) as u64, "stop")) } else { String::new() };
    let detail = format!("{first}{} · {by}{more}", proved.unwrap_or_default());
    Banner { class: "warn", icon: "stop", claim, detail, link: "Manage", open: false }
}

/// A fault as a page shows it.
#[derive(Clone, Debug)]
pub struct FaultView {
    /// A few words.
    pub title: &'static str,
    /// What failed and what to do.
    pub text: String,
    /// The field or line.
    pub place: String,
    /// The request id.
    pub id: String,
    /// `warn`: a refusal is not a fire.
    pub tone: &'static str,
}

impl FaultView {
    /// The words for a fault.
    pub fn of(fault: &Fault, context: &Context) -> Self {
        let title = match fault.kind {
            FaultKind::NotFound => "Not here",
            FaultKind::Invalid => "Not done: something is wrong in the form",
            FaultKind::Conflict => "Not done: it is in the way of something",
            FaultKind::Denied => "Not allowed",
            FaultKind::Unavailable => "Not done: something does not answer",
            FaultKind::Bug => "Not done: a fault of Lifeboat",
        };
        Self {
            title,
            text: sentence(&fault.message),
            place: fault.place.clone().unwrap_or_default(),
            id: context.id.clone(),
            tone: "warn",
        }
    }
}

/// A message with a capital and a full stop.
pub fn sentence(message: &str) -> String {
    let mut chars = message.chars();
    let first: String = chars.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
    let end = if message.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}

/// What surrounds a page before anybody is signed in.
#[derive(Clone, Debug)]
pub struct Solo {
    /// Of this response.
    pub nonce: String,
    /// Linked files.
    pub assets: &'static Links,
    /// The page's noun.
    pub title: &'static str,
    /// The host the browser named.
    pub host: String,
    /// Whether the page is wide.
    pub wide: bool,
}

impl Solo {
    /// The shell of such a page.
    pub fn new(context: &Context, title: &'static str) -> Self {
        Self { nonce: context.nonce.clone(), assets: assets::links(), title, host: context.host.clone(), wide: false }
    }

    /// Nothing is known to a stranger, so nothing is shown as stopped.
    pub fn is_stopped(&self) -> bool {
        false
    }
}

/// A fault as a whole page.
#[derive(Template)]
#[template(path = "shell/fault.html")]
pub struct FaultPage {
    /// Around it.
    pub shell: Shell,
    /// The fault.
    pub fault: FaultView,
}

/// A fault as a part.
#[derive(Template)]
#[template(path = "shell/fault_part.html")]
pub struct FaultPart {
    /// The fault.
    pub fault: FaultView,
}

/// A fault before anybody is signed in.
#[derive(Template)]
#[template(path = "shell/solo_fault.html")]
pub struct SoloFault {
    /// Around it.
    pub shell: Solo,
    /// The fault.
    pub fault: FaultView,
}

/// The live part of the shell.
#[derive(Template)]
#[template(path = "shell/state.html")]
pub struct StatePart {
    /// What it shows.
    pub shell: Shell,
}
