//! What surrounds every page: top bar, STOP, banner, stop panel, navigation, and the words of the kill flow (guide 5). Reads memory
//! only, so that the stop button is there whatever the database does. Never acts.

mod banner;
mod fault;
mod wrong;

use askama::Template;

pub use banner::{Banner, banner, scope_name};
pub use fault::{FaultPage, FaultPart, FaultView, SoloFault, sentence};
pub use wrong::Wrong;

use super::actor::{Actor, Right};
use super::{Admin, alerts, kill, operators};
use crate::base::clock::Timestamp;
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
    /// `/credentials`
    Credentials,
    /// `/operators`
    Operators,
    /// `/alerts`
    Alerts,
    /// `/vaults`
    Vaults,
    /// `/drills`
    Drills,
    /// `/revisions`
    Revisions,
    /// `/account`, which stands beside the operator's name
    Account,
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
    /// Whether it looks at its own account.
    pub on_account: bool,
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
            on_account: here == Here::Account,
            stopped: whole.map(|s| format!("{} by {}", human::minute(s.since), s.by)),
            refresh: here == Here::Kill && banner.as_ref().is_some_and(|b| b.open),
            banner,
            halt: may_stop.then(|| halt(&admin.feed)),
            nav: nav(admin, here),
            // A part renews what is there; the sentence waits for the next page a person opens.
            flash: (!context.part).then(|| operators::take_flash(admin, signed.token.reveal())).flatten(),
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
            links: vec![
                link(Here::Overview, "/", "Overview", 0),
                link(Here::Activity, "/activity", "Activity", 0),
                link(Here::Alerts, "/alerts", "Alerts", alerts::unseen(admin)),
            ],
        },
        NavGroup { title: "Stop", links: vec![link(Here::Kill, "/kill", "Kill switch", 0)] },
        NavGroup {
            title: "Permit",
            links: vec![
                link(Here::Servers, "/servers", "Servers", waiting),
                link(Here::Clients, "/clients", "Clients", 0),
                link(Here::Credentials, "/credentials", "Credentials", 0),
                link(Here::Revisions, "/revisions", "Revisions", 0),
                link(Here::Operators, "/operators", "Operators", 0),
            ],
        },
        NavGroup {
            title: "Rebuild",
            links: vec![link(Here::Vaults, "/vaults", "Vaults", 0), link(Here::Drills, "/drills", "Drills", 0)],
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

/// The live part of the shell.
#[derive(Template)]
#[template(path = "shell/state.html")]
pub struct StatePart {
    /// What it shows.
    pub shell: Shell,
}
