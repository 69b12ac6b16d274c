//! The page of servers: state, sandbox, tools with their class, the form to add one. Pure.

use askama::Template;

use super::model::{AddServer, Server, ServerAdded, ServerKeep, ServerProbed};
use crate::admin::Actor;
use crate::admin::actor::Right;
use crate::admin::shell::{Shell, Wrong, sentence};
use crate::base::clock::Timestamp;
use crate::base::fault::Fault;
use crate::web::Fields;
use crate::web::human;
use crate::web::view::{Badge, Tone};

/// `/servers`.
#[derive(Template)]
#[template(path = "servers/page.html")]
pub struct ServersPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: ServersView,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct ServersView {
    /// `5 servers, 31 tools`.
    pub tally: String,
    /// Role admin.
    pub may_change: bool,
    /// Role operator.
    pub may_probe: bool,
    /// Role operator.
    pub may_stop: bool,
    /// What a look or an addition showed.
    pub outcome: Option<Outcome>,
    /// All of them.
    pub servers: Vec<ServerView>,
    /// The form, with what was typed.
    pub form: AddForm,
}

/// What a look showed.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The finding.
    pub title: String,
    /// How long it took, in which protocol.
    pub note: String,
    /// The tools.
    pub tools: Vec<ToolView>,
    /// What to look at twice.
    pub notices: Vec<String>,
}

/// One tool.
#[derive(Clone, Debug)]
pub struct ToolView {
    /// Its name.
    pub name: String,
    /// Its class.
    pub class: &'static str,
    /// `same`, `changed`, `new`, `taken in`, `gone`.
    pub state: String,
}

/// One server.
#[derive(Clone, Debug)]
pub struct ServerView {
    /// Its name.
    pub name: String,
    /// Its state.
    pub badge: Badge,
    /// Whether its calls are held back.
    pub breaker: Option<Badge>,
    /// What will stop it from being reached, or does already.
    pub warnings: Vec<String>,
    /// Why, when it is not up.
    pub detail: String,
    /// `URL` or `Command`.
    pub target_label: &'static str,
    /// Where.
    pub target: String,
    /// How well it is confined.
    pub sandbox: String,
    /// Whether it is not.
    pub weak: bool,
    /// Whether it needs somebody.
    pub hot: bool,
    /// Whether it is reached over HTTP.
    pub http: bool,
    /// Whether its command line is approved here.
    pub approved: bool,
    /// Pins, names of headers and variables, directories.
    pub facts: Vec<(&'static str, String)>,
    /// Its tools.
    pub tools: Vec<ToolView>,
    /// What to look at twice.
    pub notices: Vec<String>,
}

/// The form to add a server, as it was typed. Headers and variables are secrets and are typed again.
#[derive(Clone, Debug, Default)]
pub struct AddForm {
    /// Field.
    pub kind: String,
    /// Field.
    pub name: String,
    /// Field.
    pub url: String,
    /// Field.
    pub pins: String,
    /// Field.
    pub addresses: String,
    /// Field.
    pub plain: bool,
    /// Field.
    pub tls12_until: String,
    /// Field.
    pub tls12_reason: String,
    /// Field.
    pub stdio: String,
    /// Field.
    pub dirs: String,
    /// What is wrong with it.
    pub wrong: Wrong,
}

impl AddForm {
    /// What was typed.
    pub fn typed(fields: &Fields) -> Self {
        let get = |name: &str| fields.get(name).to_owned();
        Self {
            kind: get("kind"),
            name: get("name"),
            url: get("url"),
            pins: get("pins"),
            addresses: get("addresses"),
            plain: fields.has("plain"),
            tls12_until: get("tls12_until"),
            tls12_reason: get("tls12_reason"),
            stdio: get("stdio"),
            dirs: get("dirs"),
            ..Self::default()
        }
    }

    /// With what is wrong, at its field when the form has it.
    #[must_use]
    pub fn faulted(mut self, fault: &Fault) -> Self {
        self.wrong = Wrong::of(fault, &[("name", "name"), ("url", "url"), ("stdio", "stdio")]);
        self
    }
}

/// What a form gives this host to keep. A field left empty stays as it is; `clear` empties it.
pub fn keep(fields: &Fields) -> ServerKeep {
    let text = |name: &str| {
        let given = Some(fields.get(name).to_owned()).filter(|text| !text.trim().is_empty());
        given.or_else(|| fields.has(&format!("clear_{name}")).then(String::new))
    };
    ServerKeep { headers: text("headers"), env: text("env"), client: text("client") }
}

/// The form as an order.
pub fn order(fields: &Fields) -> AddServer {
    let given = |name: &str| Some(fields.get(name).to_owned()).filter(|v| !v.is_empty());
    let lines = |name: &str| fields.get(name).lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect();
    let words =
        |name: &str| fields.get(name).split([',', ' ']).map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect();
    let name = fields.get("name").to_owned();
    if fields.get("kind") == "stdio" {
        let stdio = Some(fields.get("stdio").to_owned());
        return AddServer { name, stdio, env: given("env"), dirs: lines("dirs"), ..AddServer::default() };
    }
    AddServer {
        name,
        url: Some(fields.get("url").to_owned()),
        pins: lines("pins"),
        plain_loopback: fields.has("plain"),
        allow_addresses: words("addresses"),
        headers: given("headers"),
        client: given("client"),
        tls12_until: given("tls12_until"),
        tls12_reason: given("tls12_reason"),
        ..AddServer::default()
    }
}

impl ServerView {
    /// A server as the page shows it.
    pub fn of(server: &Server) -> Self {
        let badge = match server.state.as_str() {
            "up" => Badge::new(Tone::Ok, "up"),
            "starting" => Badge::new(Tone::Sea, "starting"),
            "idle" => Badge::new(Tone::Plain, "idle, nobody has called yet"),
            "unapproved" => Badge::new(Tone::Warn, "waits for approval"),
            other => Badge::new(Tone::Warn, other),
        };
        let weak = server.sandbox.starts_with("not confined");
        let http = server.kind == "http";
        let tls12 = server.tls12.as_ref().map(|waiver| {
            let until = if waiver.ended { "its waiver for 1.2 ended on" } else { "1.2 is borne with through" };
            format!("{until} {}: {}", waiver.until, waiver.reason)
        });
        let certificate = server.client_certificate_until.map(|end| format!("shown to it; ends {}", day(end)));
        let facts = [
            ("Pins", server.pins.join(", ")),
            ("TLS", tls12.unwrap_or_default()),
            ("Client certificate", certificate.unwrap_or_default()),
            ("Headers", server.headers.join(", ")),
            ("Environment", server.env.join(", ")),
            ("Directories", server.dirs.join(", ")),
        ];
        let breaker = match server.breaker.as_str() {
            "open" => Some(Badge::new(Tone::Warn, "calls refused for a while")),
            "half_open" => Some(Badge::new(Tone::Sea, "the next call tries it")),
            _ => None,
        };
        let warnings = warnings(server);
        Self {
            name: server.name.clone(),
            hot: weak || badge.tone == Tone::Warn || breaker.as_ref().is_some_and(|badge| badge.tone == Tone::Warn),
            badge,
            breaker,
            warnings,
            detail: if server.detail.is_empty() { String::new() } else { sentence(&server.detail) },
            target_label: if http { "URL" } else { "Command" },
            target: server.target.clone(),
            sandbox: if server.sandbox.is_empty() { String::new() } else { sentence(&server.sandbox) },
            weak,
            http,
            approved: server.approved,
            facts: facts.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
            tools: server
                .tools
                .iter()
                .map(|tool| ToolView { name: tool.name.clone(), class: tool.class.word(), state: String::new() })
                .collect(),
            notices: server.notices.clone(),
        }
    }
}

/// What will stop the server from being reached, or does already.
fn warnings(server: &Server) -> Vec<String> {
    let mut all = Vec::new();
    if server.pins.len() == 1 {
        all.push("It has one pin: when its key changes, it cannot be reached. Name the pin of a spare key too.".to_owned());
    }
    match &server.tls12 {
        Some(waiver) if waiver.ended => {
            all.push(format!("Its waiver for TLS 1.2 ended on {}. It is refused unless it speaks TLS 1.3.", waiver.until));
        }
        Some(waiver) => all.push(format!("It may speak TLS 1.2 through {}.", waiver.until)),
        None => {}
    }
    all
}

fn day(at: Timestamp) -> String {
    let (year, month, day) = at.civil();
    format!("{year:04}-{month:02}-{day:02}")
}

impl Outcome {
    /// A look.
    pub fn probed(probed: &ServerProbed) -> Self {
        let gone = probed.removed.iter().map(|name| ToolView { name: name.clone(), class: "", state: "gone".into() });
        let seen = probed.tools.iter().map(|tool| ToolView {
            name: tool.name.clone(),
            class: tool.class.word(),
            state: tool.state.clone(),
        });
        Self {
            title: format!("{} answered in {} ms", probed.server, probed.ms),
            note: format!("{}, protocol {}", probed.server_info, probed.protocol),
            tools: seen.chain(gone).collect(),
            notices: probed.notices.clone(),
        }
    }

    /// An addition or approval.
    pub fn added(added: &ServerAdded) -> Self {
        let state = |name: &String| {
            if added.added.contains(name) {
                "taken in"
            } else if added.changed.contains(name) {
                "taken in again"
            } else {
                "same"
            }
        };
        Self {
            title: format!("{} is taken in with {}", added.server, human::plural(added.tools.len() as u64, "tool")),
            note: format!("{}, protocol {}", added.server_info, added.protocol),
            tools: added
                .tools
                .iter()
                .map(|t| ToolView { name: t.name.clone(), class: t.class.word(), state: state(&t.name).into() })
                .collect(),
            notices: added.notices.clone(),
        }
    }
}

/// The whole page.
pub fn page(shell: Shell, servers: &[Server], actor: &Actor, outcome: Option<Outcome>, form: AddForm) -> ServersPage {
    let tools: usize = servers.iter().map(|s| s.tools.len()).sum();
    let page = ServersView {
        tally: format!("{}, {}", human::plural(servers.len() as u64, "server"), human::plural(tools as u64, "tool")),
        may_change: actor.role.has(Right::Administer),
        may_probe: actor.role.has(Right::Operate),
        may_stop: actor.role.has(Right::Operate),
        outcome,
        servers: servers.iter().map(ServerView::of).collect(),
        form,
    };
    ServersPage { shell, page }
}
