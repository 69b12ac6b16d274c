//! The pages of operators: setup, sign in, list with keys. Pure; a typed password is never shown again.

use askama::Template;

use super::model::{KeyAdded, Operator, OperatorKey};
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
    /// Keys.
    pub keys: Vec<KeyView>,
    /// A key that was just made.
    pub new_key: Option<NewKey>,
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
}

/// One key.
#[derive(Clone, Debug)]
pub struct KeyView {
    /// Its public part.
    pub kid: String,
    /// Whose.
    pub operator: String,
    /// Running until, expired, revoked.
    pub state: String,
    /// When last used.
    pub last_used: String,
    /// Whether it is over.
    pub dim: bool,
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
pub fn page(
    shell: Shell,
    all: (&[Operator], &[OperatorKey]),
    actor: &Actor,
    new_key: Option<NewKey>,
    form: AddForm,
) -> OperatorsPage {
    let now = shell.now;
    let operator = |o: &Operator| OperatorView {
        name: o.name.clone(),
        role: o.role.word().to_owned(),
        last_seen: o.last_seen.map_or("no session".into(), |at| human::ago(at, now)),
        since: human::day(o.created_at, now),
        me: o.name == actor.name,
        disabled: o.disabled_at.is_some(),
    };
    let page = OperatorsView {
        tally: human::plural(all.0.len() as u64, "operator"),
        may_change: actor.role.has(Right::Administer),
        operators: all.0.iter().map(operator).collect(),
        roles: OperatorRole::ALL.iter().map(|role| role.word()).collect(),
        keys: all.1.iter().map(|key| key_view(key, now)).collect(),
        new_key,
        form,
    };
    OperatorsPage { shell, page }
}

fn key_view(key: &OperatorKey, now: Timestamp) -> KeyView {
    let (state, dim) = match (key.revoked_at, key.expires_at) {
        (Some(at), _) => (format!("revoked {}", human::when(at, now)), true),
        (None, Some(at)) if at <= now => (format!("expired {}", human::when(at, now)), true),
        (None, Some(at)) => (format!("expires {}", human::until(at, now)), false),
        (None, None) => ("never expires".to_owned(), false),
    };
    KeyView {
        kid: key.kid.clone(),
        operator: key.operator.clone(),
        state,
        last_used: key.last_used.map_or("never".into(), |at| human::ago(at, now)),
        dim,
    }
}
