//! The page that asks for the password again, with what was asked in it. Pure; secrets that were typed are asked for again.

use askama::Template;

use crate::admin::actor::Actor;
use crate::admin::shell::Shell;
use crate::web::Fields;

/// The password, in the form that goes on.
pub const PASSWORD: &str = "again_password";
/// The code of the second factor, in that form.
pub const CODE: &str = "again_code";
/// The fields that are this page's own.
pub const OWN: [&str; 3] = [PASSWORD, CODE, "again_operator"];

// Fields of any form that may hold a secret: a page never shows one that was typed. A name that is harmless in one form is said in `secret_in`.
const SECRETS: [(&str, &str, bool); 9] = [
    ("password", "The new password", false),
    ("secret", "Secret", false),
    ("token", "Token", false),
    ("value", "The new value", true),
    ("code", "Code", false),
    ("identity", "Identity", true),
    ("headers", "Headers", true),
    ("env", "Variables", true),
    ("client", "Client certificate and key", true),
];

/// The page.
#[derive(Template)]
#[template(path = "again/page.html")]
pub struct AgainPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: AgainView,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct AgainView {
    /// What was not done, and why.
    pub sentence: String,
    /// What is wrong with what was typed here.
    pub fault: String,
    /// Where the form goes: to what was asked.
    pub path: String,
    /// Who.
    pub operator: String,
    /// Whether a code is needed too.
    pub asks_code: bool,
    /// Fields that go along, as they were typed.
    pub carried: Vec<(String, String)>,
    /// Secrets to type again.
    pub secrets: Vec<SecretField>,
}

/// A secret to type again.
#[derive(Clone, Debug)]
pub struct SecretField {
    /// The field.
    pub name: String,
    /// What it is.
    pub label: &'static str,
    /// Whether it has lines.
    pub long: bool,
}

/// What a field of the form that was sent to `path` holds, when that is a secret.
fn secret_in(path: &str, name: &str) -> Option<(&'static str, &'static str, bool)> {
    // There it is the name of a client; everywhere else it may be a certificate with its key.
    let harmless = name == "client" && path.starts_with("/clients/");
    SECRETS.into_iter().find(|(field, ..)| *field == name && !harmless)
}

impl AgainView {
    /// The page for a form that was sent to `path`.
    pub fn of(actor: &Actor, path: &str, fields: &Fields) -> Self {
        let own = fields.clone().without(&OWN);
        let secret = |name: &str| secret_in(path, name);
        let carried = own.pairs().filter(|(name, _)| secret(name).is_none());
        let asked = |(name, value): (&str, &str)| {
            let (_, label, long) = secret(name).filter(|_| !value.is_empty())?;
            Some(SecretField { name: name.to_owned(), label, long })
        };
        Self {
            path: path.to_owned(),
            operator: actor.name.clone(),
            carried: carried.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            secrets: own.pairs().filter_map(asked).collect(),
            ..Self::default()
        }
    }

    /// With what was not done.
    #[must_use]
    pub fn saying(mut self, sentence: String) -> Self {
        self.sentence = sentence;
        self
    }

    /// With what is wrong.
    #[must_use]
    pub fn faulted(mut self, fault: String) -> Self {
        self.fault = fault;
        self
    }

    /// What people see of a carried field's name.
    pub fn label(name: &str) -> String {
        name.replace('_', " ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests_house::root;

    #[test]
    fn the_client_of_a_secret_or_public_key_is_carried_and_a_certificate_is_not() {
        for path in ["/clients/secrets", "/clients/jwks"] {
            let view = AgainView::of(&root(), path, &Fields::parse("client=ci&expires=30"));
            assert!(view.secrets.is_empty(), "{path}: {view:?}");
            assert_eq!(view.carried, [("client".to_owned(), "ci".to_owned()), ("expires".to_owned(), "30".to_owned())], "{path}");
        }
        for path in ["/servers/add", "/servers/demo/secrets", "/elsewhere"] {
            let view = AgainView::of(&root(), path, &Fields::parse("client=-----BEGIN"));
            assert_eq!((view.carried.len(), view.secrets.len()), (0, 1), "{path}");
        }
    }

    #[test]
    fn atk_a15_what_is_secret_is_asked_for_again_and_never_carried() {
        let fields = Fields::parse("name=eve&role=admin&password=hunter2hunter2&env=&again_password=x&again_code=123456");
        let view = AgainView::of(&root(), "/operators/add", &fields);
        let names: Vec<&str> = view.carried.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["name", "role"]);
        assert_eq!(
            view.secrets.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(),
            ["password"],
            "an empty one is not asked for"
        );
        assert!(!format!("{view:?}").contains("hunter2"));
    }
}
