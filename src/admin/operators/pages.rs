//! The pages of operators: setup, the two steps of signing in, list with sessions and keys. Pure; a typed password is never shown again.

use askama::Template;

use super::model::{KeyAdded, Operator, OperatorKey, OperatorSession};
use crate::admin::actor::Right;
use crate::admin::shell::{Shell, Solo, Wrong, sentence};
use crate::admin::{Actor, OperatorRole};
use crate::base::clock::Timestamp;
use crate::base::fault::Fault;
use crate::web::Fields;
use crate::web::human;
use crate::web::view::Code;

/// `/login`.
#[derive(Template)]
#[template(path = "operators/login.html")]
pub struct LoginPage {
    /// Around it.
    pub shell: Solo,
    /// In it.
    pub view: LoginView,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct LoginView {
    /// Why not.
    pub fault: String,
    /// The name, as typed.
    pub name: String,
    /// Where to go afterwards.
    pub next: String,
}

/// `/login/code`.
#[derive(Template)]
#[template(path = "operators/code.html")]
pub struct CodePage {
    /// Around it.
    pub shell: Solo,
    /// In it.
    pub view: CodeView,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct CodeView {
    /// Whose code it is; empty when nobody waits any more.
    pub operator: String,
    /// Why not.
    pub fault: String,
}

/// `/setup`.
#[derive(Template)]
#[template(path = "operators/setup.html")]
pub struct SetupPage {
    /// Around it.
    pub shell: Solo,
    /// In it.
    pub view: SetupView,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct SetupView {
    /// The way.
    pub steps: Vec<SetupStep>,
    /// The code, as typed.
    pub code: String,
    /// The name, as typed.
    pub name: String,
    /// What is wrong with the code.
    pub code_fault: String,
    /// What is wrong with the name.
    pub name_fault: String,
    /// What is wrong with the password.
    pub password_fault: String,
    /// What else is wrong.
    pub general: String,
}

/// One step of the way.
#[derive(Clone, Debug)]
pub struct SetupStep {
    /// Its words.
    pub text: &'static str,
    /// `now` or `todo`.
    pub class: &'static str,
    /// Its shape.
    pub icon: &'static str,
}

impl SetupView {
    /// The page with what was typed, but for the password.
    pub fn typed(fields: &Fields) -> Self {
        let todo = |text| SetupStep { text, class: "todo", icon: "todo" };
        let steps = vec![
            SetupStep { text: "First admin", class: "now", icon: "now" },
            todo("First server"),
            todo("First client"),
            todo("Press stop once"),
        ];
        Self { steps, code: fields.get("code").to_owned(), name: fields.get("name").to_owned(), ..Self::default() }
    }

    /// With what is wrong.
    #[must_use]
    pub fn faulted(mut self, fault: &Fault) -> Self {
        let text = sentence(&fault.message);
        match fault.place.as_deref() {
            Some("code") => self.code_fault = text,
            Some("name") => self.name_fault = text,
            Some("password") => self.password_fault = text,
            _ => self.general = text,
        }
        self
    }
}

/// `/operators`.
#[derive(Template)]
#[template(path = "operators/page.html")]
pub struct OperatorsPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: OperatorsView,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct OperatorsView {
    /// `4 operators`.
    pub tally: String,
    /// Role admin.
    pub may_change: bool,
    /// All of them.
    pub operators: Vec<OperatorView>,
    /// Words of the roles.
    pub roles: Vec<&'static str>,
    /// Sessions of everybody, for an admin.
    pub sessions: Vec<SessionView>,
    /// Keys of everybody, for an admin.
    pub keys: Vec<KeyView>,
    /// The form, with what was typed.
    pub form: AddForm,
}

/// One operator.
#[derive(Clone, Debug)]
pub struct OperatorView {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: String,
    /// When last seen.
    pub last_seen: String,
    /// Since when.
    pub since: String,
    /// Whether it is whoever looks.
    pub me: bool,
    /// Whether it may not sign in.
    pub disabled: bool,
    /// Whether it has a second factor.
    pub second: bool,
    /// How many sessions it has.
    pub sessions: usize,
}

/// One session.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// Its public name.
    pub session: String,
    /// Whose.
    pub operator: String,
    /// When it began.
    pub since: String,
    /// When it was last seen.
    pub last_seen: String,
    /// From where.
    pub remote: String,
    /// Which browser, as far as it says.
    pub browser: String,
    /// Whether it is the one of whoever looks.
    pub this: bool,
}

impl SessionView {
    /// Of a session; `this` is the name of the one that looks.
    pub fn of(session: &OperatorSession, this: &str, now: Timestamp) -> Self {
        Self {
            session: session.session.clone(),
            operator: session.operator.clone(),
            since: human::when(session.created_at, now),
            last_seen: human::ago(session.last_seen, now),
            remote: session.remote.clone(),
            browser: browser(&session.agent),
            this: session.session == this,
        }
    }
}

/// `1 session`, `2 sessions`.
pub fn sessions(count: usize) -> String {
    human::plural(count as u64, "session")
}

/// What a `User-Agent` says in two words: the more special name first, since browsers name each other.
fn browser(agent: &str) -> String {
    const NAMES: [(&str, &str); 7] = [
        ("Edg/", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("CriOS/", "Chrome"),
        ("Safari/", "Safari"),
        ("curl/", "curl"),
    ];
    const SYSTEMS: [(&str, &str); 6] = [
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    ];
    let first = |names: &[(&str, &'static str)]| names.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name);
    match (first(&NAMES), first(&SYSTEMS)) {
        (Some(name), Some(system)) => format!("{name} on {system}"),
        (Some(name), None) => name.to_owned(),
        _ if agent.is_empty() => "says nothing of itself".to_owned(),
        _ => agent.chars().take(40).collect(),
    }
}

/// One key.
#[derive(Clone, Debug)]
pub struct KeyView {
    /// Its public part.
    pub kid: String,
    /// Whose.
    pub operator: String,
    /// What it may do.
    pub role: &'static str,
    /// Running until, expired, revoked.
    pub state: String,
    /// When last used.
    pub last_used: String,
    /// Whether it is over.
    pub dim: bool,
    /// Whether it never ends by itself.
    pub endless: bool,
}

/// A key that was just made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Whose.
    pub operator: String,
    /// Until when.
    pub expires: String,
    /// The key.
    pub code: Code,
    /// How to use it.
    pub usage: Code,
}

impl NewKey {
    /// The key as the page shows it once.
    pub fn of(added: &KeyAdded, dashboard: &str, now: Timestamp) -> Self {
        let usage = "curl --cacert ca.pem -H \"Authorization: Bearer $LBO\" ".to_owned() + &format!("{dashboard}/api/v1/status");
        Self {
            operator: added.operator.clone(),
            expires: added.expires_at.map_or("never expires".into(), |at| format!("expires {}", human::until(at, now))),
            code: Code::new("Key", added.key.clone()),
            usage: Code::new("Use it, with the key in LBO", usage),
        }
    }
}

/// The form to add an operator, as it was typed, but for the password.
#[derive(Clone, Debug, Default)]
pub struct AddForm {
    /// Field.
    pub name: String,
    /// Field.
    pub role: String,
    /// What is wrong with it.
    pub wrong: Wrong,
}

impl AddForm {
    /// What was typed.
    pub fn typed(fields: &Fields) -> Self {
        Self { name: fields.get("name").to_owned(), role: fields.get("role").to_owned(), ..Self::default() }
    }

    /// Whether a role is the chosen one; viewer when none is.
    pub fn has_role(&self, role: &str) -> bool {
        self.role == role || (self.role.is_empty() && role == "viewer")
    }

    /// With what is wrong.
    #[must_use]
    pub fn faulted(mut self, fault: &Fault) -> Self {
        self.wrong = Wrong::of(fault, &[("name", "name"), ("password", "password")]);
        self
    }
}

/// The whole page.
pub fn page(shell: Shell, all: (&[Operator], &[OperatorKey], &[OperatorSession]), actor: &Actor, form: AddForm) -> OperatorsPage {
    let now = shell.now;
    let operator = |o: &Operator| OperatorView {
        name: o.name.clone(),
        role: o.role.word().to_owned(),
        last_seen: o.last_seen.map_or("no session".into(), |at| human::ago(at, now)),
        since: human::day(o.created_at, now),
        me: o.name == actor.name,
        disabled: o.disabled_at.is_some(),
        second: o.totp_since.is_some(),
        sessions: all.2.iter().filter(|session| session.operator == o.name).count(),
    };
    let page = OperatorsView {
        tally: human::plural(all.0.len() as u64, "operator"),
        may_change: actor.role.has(Right::Administer),
        operators: all.0.iter().map(operator).collect(),
        roles: OperatorRole::ALL.iter().map(|role| role.word()).collect(),
        sessions: all.2.iter().map(|session| SessionView::of(session, "", now)).collect(),
        keys: all.1.iter().map(|key| key_view(key, now)).collect(),
        form,
    };
    OperatorsPage { shell, page }
}

/// A key as a page shows it.
pub fn key_view(key: &OperatorKey, now: Timestamp) -> KeyView {
    let (state, dim) = match (key.revoked_at, key.expires_at) {
        (Some(at), _) => (format!("revoked {}", human::when(at, now)), true),
        (None, Some(at)) if at <= now => (format!("expired {}", human::when(at, now)), true),
        (None, Some(at)) => (format!("expires {}", human::until(at, now)), false),
        (None, None) => ("never expires".to_owned(), false),
    };
    KeyView {
        kid: key.kid.clone(),
        operator: key.operator.clone(),
        role: key.role.word(),
        state,
        last_used: key.last_used.map_or("never".into(), |at| human::ago(at, now)),
        dim,
        endless: !dim && key.expires_at.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_told_in_two_words() {
        let edge =
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36 Edg/126.0";
        assert_eq!(browser(edge), "Edge on Windows");
        assert_eq!(browser("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"), "Firefox on Linux");
        assert_eq!((browser(""), browser("curl/8.0")), ("says nothing of itself".into(), "curl".into()));
        assert_eq!(browser(&"x".repeat(200)).len(), 40);
    }
}
