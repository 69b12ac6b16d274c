//! My account: second factor, recovery codes, password, sessions, API keys. Pure; what is secret is on the one answer that made it.

use askama::Template;

use super::super::DEFAULT_DAYS;
use super::super::model::{KeyAdded, OperatorKey, OperatorSession};
use super::super::pages::{KeyView, NewKey, SessionView, key_view};
use super::super::second::{Begun, FEW_CODES, Standing};
use crate::admin::actor::{Actor, OperatorRole};
use crate::admin::shell::{Shell, Wrong};
use crate::base::fault::Fault;
use crate::base::secret::Secret;
use crate::web::qr::Qr;
use crate::web::view::Code;
use crate::web::{Fields, human};

/// `/account`.
#[derive(Template)]
#[template(path = "operators/account.html")]
pub struct AccountPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: AccountView,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct AccountView {
    /// Since when the second factor counts; empty without one.
    pub since: String,
    /// `7 of 10 left`.
    pub recovery: String,
    /// Whether there are few.
    pub few: bool,
    /// Whether this deployment asks for a second factor.
    pub required: bool,
    /// Whether it keeps this operator from everything else.
    pub must: bool,
    /// Sessions.
    pub sessions: Vec<SessionView>,
    /// Whether there are others than this one.
    pub others: bool,
    /// Keys.
    pub keys: Vec<KeyView>,
    /// A key that was just made.
    pub new_key: Option<NewKey>,
    /// The form of a key, as it was typed.
    pub key: KeyForm,
    /// What is wrong with the new password.
    pub password: Wrong,
}

/// The form to make a key.
#[derive(Clone, Debug, Default)]
pub struct KeyForm {
    /// Roles that it may have.
    pub roles: Vec<&'static str>,
    /// Field.
    pub role: String,
    /// Field.
    pub expires: String,
    /// What is wrong with it.
    pub wrong: Wrong,
}

impl KeyForm {
    /// An empty one.
    pub fn empty(actor: &Actor) -> Self {
        let roles = OperatorRole::ALL.into_iter().filter(|role| role.fits(actor.role)).map(OperatorRole::word).collect();
        // Nobody gives more away by not choosing.
        let role = OperatorRole::Viewer.word().to_owned();
        Self { roles, role, expires: DEFAULT_DAYS.to_string(), wrong: Wrong::default() }
    }

    /// With what was typed.
    #[must_use]
    pub fn typed(mut self, fields: &Fields) -> Self {
        (self.role, self.expires) = (fields.get("role").to_owned(), fields.get("expires").to_owned());
        self
    }

    /// With what is wrong.
    #[must_use]
    pub fn faulted(mut self, fault: &Fault) -> Self {
        self.wrong = Wrong::of(fault, &[("role", "role"), ("expires", "expires")]);
        self
    }
}

/// What the page is made of.
pub struct Facts<'a> {
    /// Whose it is.
    pub actor: &'a Actor,
    /// The second factor.
    pub standing: Standing,
    /// Its sessions, and the name of this one.
    pub sessions: (&'a [OperatorSession], String),
    /// Its keys.
    pub keys: &'a [OperatorKey],
    /// A key that was just made.
    pub added: Option<(&'a KeyAdded, String)>,
}

/// The whole page.
pub fn page(shell: Shell, facts: &Facts<'_>, key: KeyForm, password: Wrong) -> AccountPage {
    let (now, standing) = (shell.now, facts.standing);
    let (sessions, this) = (facts.sessions.0, facts.sessions.1.as_str());
    let page = AccountView {
        since: standing.since.map(|at| human::when(at, now)).unwrap_or_default(),
        recovery: human::plural(standing.recovery as u64, "recovery code"),
        few: standing.recovery <= FEW_CODES,
        required: standing.required,
        must: standing.required && standing.since.is_none(),
        sessions: sessions.iter().map(|session| SessionView::of(session, this, now)).collect(),
        others: sessions.iter().any(|session| session.session != this),
        keys: facts.keys.iter().map(|key| key_view(key, now)).collect(),
        new_key: facts.added.as_ref().map(|(added, base)| NewKey::of(added, base, now)),
        key,
        password,
    };
    AccountPage { shell, page }
}

/// A second factor that is being set up.
#[derive(Template)]
#[template(path = "operators/totp.html")]
pub struct TotpPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: TotpView,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct TotpView {
    /// The secret, on the answer that made it.
    pub secret: Option<Shown>,
    /// What is wrong with the code.
    pub fault: String,
}

/// A secret as the page shows it once.
#[derive(Clone, Debug)]
pub struct Shown {
    /// To scan.
    pub qr: Qr,
    /// To type.
    pub code: Code,
}

impl Shown {
    /// Of a secret that was just made.
    pub fn of(begun: &Begun) -> Self {
        let qr = Qr::of(begun.uri.reveal()).unwrap_or_default();
        Self { qr, code: Code::new("The secret, to type", begun.text.reveal().clone()) }
    }
}

/// Recovery codes, once.
#[derive(Template)]
#[template(path = "operators/codes.html")]
pub struct CodesPage {
    /// Around it.
    pub shell: Shell,
    /// The codes, a line each.
    pub code: Code,
    /// Whether the second factor was confirmed just now.
    pub confirmed: bool,
}

/// The page of codes that were just made.
pub fn codes(shell: Shell, codes: &[Secret<String>]) -> CodesPage {
    let lines: Vec<&str> = codes.iter().map(|code| code.reveal().as_str()).collect();
    CodesPage { shell, code: Code::new("Recovery codes, each good once", lines.join("\n")), confirmed: false }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests_house::root;

    #[test]
    fn a_key_begins_as_the_least_role() {
        let form = KeyForm::empty(&root());
        assert_eq!((form.role.as_str(), form.roles.len()), ("viewer", OperatorRole::ALL.len()));
    }
}
