//! The pages of clients: list, form to add, and the one page that shows a new key. Pure.

use askama::Template;

use super::model::{AddClient, Client, ClientAdded, ClientKey};
use super::oauth::pages::{TokenForm, TokensView, used};
use super::{oauth, snippets};
use crate::admin::actor::Right;
use crate::admin::shell::{Shell, Wrong};
use crate::admin::{Actor, Admin};
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::web::Fields;
use crate::web::human;
use crate::web::view::{Badge, Code, Tone};

/// `/clients`.
#[derive(Template)]
#[template(path = "clients/page.html")]
pub struct ClientsPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: ClientsView,
}

/// What the page shows.
#[derive(Clone, Debug, Default)]
pub struct ClientsView {
    /// `14 clients`.
    pub tally: String,
    /// Role admin.
    pub may_change: bool,
    /// Role operator.
    pub may_revoke: bool,
    /// Role operator.
    pub may_stop: bool,
    /// All of them.
    pub clients: Vec<ClientView>,
    /// Roles to choose from.
    pub roles: Vec<RoleChoice>,
    /// The form, with what was typed.
    pub form: AddForm,
    /// What clients get tokens with.
    pub tokens: TokensView,
}

/// One role to choose.
#[derive(Clone, Debug)]
pub struct RoleChoice {
    /// Its name.
    pub name: String,
    /// Whether it is chosen.
    pub chosen: bool,
}

/// One client.
#[derive(Clone, Debug)]
pub struct ClientView {
    /// Its name.
    pub name: String,
    /// Active, without a key, revoked.
    pub badge: Badge,
    /// Its roles.
    pub roles: String,
    /// Its keys that count, newest first.
    pub keys: Vec<KeyView>,
    /// Those that ended, the newest of them.
    pub ended: Vec<KeyView>,
    /// What ends when it is revoked, in a sentence.
    pub ends: String,
    /// Calls a second.
    pub rate: String,
    /// Whether it is over.
    pub dim: bool,
}

/// One key.
#[derive(Clone, Debug)]
pub struct KeyView {
    /// `lbk_…`, its public part.
    pub kid: String,
    /// Since when, until when.
    pub note: String,
}

/// Ended keys of one client that are shown.
const ENDED: usize = 10;

impl KeyView {
    fn of(key: &ClientKey, now: Timestamp) -> Self {
        let note = match (key.state.as_str(), key.revoked_at, key.expires_at) {
            ("revoked", Some(at), _) => {
                format!("revoked {} by {}", human::when(at, now), key.revoked_by.as_deref().unwrap_or("lifeboat"))
            }
            ("expired", _, Some(at)) => format!("expired {}", human::when(at, now)),
            (_, _, Some(at)) => format!("expires {}", human::until(at, now)),
            _ => format!("since {}", human::day(key.created_at, now)),
        };
        let note = if key.state == "active" { format!("{note}, {}", used(key.last_used_at, now)) } else { note };
        Self { kid: format!("lbk_{}", key.kid), note }
    }
}

impl ClientView {
    fn of(client: &Client, now: Timestamp) -> Self {
        let badge = match client.state.as_str() {
            "active" => Badge::new(Tone::Plain, "active"),
            "revoked" => Badge::new(Tone::Warn, "revoked"),
            _ => Badge::new(Tone::Warn, "no key"),
        };
        Self {
            name: client.name.clone(),
            badge,
            roles: client.roles.join(", "),
            keys: client.keys.iter().filter(|key| key.state == "active").map(|key| KeyView::of(key, now)).collect(),
            ended: client.keys.iter().filter(|key| key.state != "active").take(ENDED).map(|key| KeyView::of(key, now)).collect(),
            ends: ends(client),
            rate: if client.rate == 0 { "no limit".into() } else { format!("{}, burst {}", client.rate, client.burst) },
            dim: client.state == "revoked",
        }
    }
}

/// What of a client ends when it is revoked.
fn ends(client: &Client) -> String {
    let keys = client.keys.iter().filter(|key| key.state == "active").count();
    let secrets = client.secrets.iter().filter(|secret| secret.state == "active").count();
    let counted = [(keys, "key"), (secrets, "secret"), (client.jwks.len(), "public key")];
    let has: Vec<String> = counted.iter().filter(|(n, _)| *n > 0).map(|(n, what)| human::plural(*n as u64, what)).collect();
    match has.as_slice() {
        [] => format!("{} leaves the configuration now.", client.name),
        has => format!("Its {} and every token it got end now, and {} leaves the configuration.", has.join(", "), client.name),
    }
}

/// The form to add a client, as it was typed.
#[derive(Clone, Debug, Default)]
pub struct AddForm {
    /// Field.
    pub name: String,
    /// Field.
    pub roles: Vec<String>,
    /// Field.
    pub rate: String,
    /// Field.
    pub expires: String,
    /// Whether it gets a secret instead of a key.
    pub oauth: bool,
    /// What is wrong with it.
    pub wrong: Wrong,
}

impl AddForm {
    /// What was typed.
    pub fn typed(fields: &Fields) -> Self {
        let get = |name: &str| fields.get(name).to_owned();
        let (roles, oauth) = (fields.all("role"), fields.has("oauth"));
        Self { name: get("name"), roles, rate: get("rate"), expires: get("expires"), oauth, ..Self::default() }
    }

    /// With what is wrong, at its field when the form has it.
    #[must_use]
    pub fn faulted(mut self, fault: &Fault) -> Self {
        self.wrong = Wrong::of(
            fault,
            &[("name", "name"), ("roles", "roles"), ("rate", "rate"), ("expires", "expires"), ("expires_days", "expires")],
        );
        self
    }
}

/// The form as an order.
///
/// # Errors
/// `Invalid` for a number that is none.
pub fn order(fields: &Fields) -> Verb<AddClient> {
    let number = |field: &str| match fields.get(field) {
        "" => Ok(None),
        digits => digits.parse::<u32>().map(Some).map_err(|_| Fault::invalid(field, "a whole number, or nothing")),
    };
    Ok(AddClient {
        name: fields.get("name").to_owned(),
        roles: fields.all("role"),
        rate: number("rate")?,
        expires_days: number("expires")?,
        oauth: fields.has("oauth"),
    })
}

/// The whole page.
pub fn page(
    shell: Shell,
    clients: &[Client],
    roles: Vec<String>,
    actor: &Actor,
    (form, token): (AddForm, TokenForm),
) -> ClientsPage {
    let now = shell.now;
    let only = roles.len() == 1;
    let page = ClientsView {
        tally: human::plural(clients.len() as u64, "client"),
        may_change: actor.role.has(Right::Administer),
        may_revoke: actor.role.has(Right::Operate),
        may_stop: actor.role.has(Right::Operate),
        clients: clients.iter().map(|client| ClientView::of(client, now)).collect(),
        roles: roles.into_iter().map(|name| RoleChoice { chosen: only || form.roles.contains(&name), name }).collect(),
        form,
        tokens: oauth::pages::view(clients, token, now),
    };
    ClientsPage { shell, page }
}

/// The answer to an addition.
#[derive(Template)]
#[template(path = "clients/added.html")]
pub struct AddedPage {
    /// Around it.
    pub shell: Shell,
    /// In it.
    pub page: AddedView,
}

/// What it shows, once.
#[derive(Clone, Debug)]
pub struct AddedView {
    /// The client.
    pub name: String,
    /// The key.
    pub key: Code,
    /// Its roles.
    pub roles: String,
    /// When the key expires.
    pub expires: String,
    /// Where the CA certificate is.
    pub ca: String,
    /// How to use it.
    pub snippets: Vec<Code>,
}

/// The page with the new key.
pub fn added(admin: &Admin, shell: Shell, added: &ClientAdded, key: &str) -> AddedPage {
    let ca = admin.data.ca_pem();
    let ca = std::fs::canonicalize(&ca).unwrap_or(ca).display().to_string();
    let snapshot = admin.feed.snapshot();
    let server = snapshot.servers.keys().next().cloned();
    let proxy = snippets::proxy_address(admin, &shell.host);
    let page = AddedView {
        name: added.client.clone(),
        key: Code::new(format!("{}, shown once", added.client), key.to_owned()),
        roles: added.roles.join(", "),
        expires: added.expires_at.map_or("never expires".into(), |at| format!("expires {}", human::until(at, shell.now))),
        snippets: server.map(|server| snippets::all(&proxy, &server, &ca, key)).unwrap_or_default(),
        ca,
    };
    AddedPage { shell, page }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kid: &str, state: &str) -> ClientKey {
        ClientKey {
            kid: kid.into(),
            client: "ci".into(),
            state: state.into(),
            created_at: Timestamp(0),
            created_by: "ana".into(),
            expires_at: None,
            last_used_at: None,
            revoked_at: (state == "revoked").then_some(Timestamp(1)),
            revoked_by: None,
        }
    }

    #[test]
    fn ended_keys_stand_apart_and_revoking_says_what_ends() {
        let keys = vec![key("a", "active"), key("b", "revoked"), key("c", "active"), key("d", "expired")];
        let (name, state, roles) = ("ci".to_owned(), "active".to_owned(), vec!["demo".to_owned()]);
        let (secrets, jwks) = (Vec::new(), Vec::new());
        let client = Client { name, state, roles, rate: 0, burst: 0, concurrency: 0, keys, secrets, jwks };
        let view = ClientView::of(&client, Timestamp(2));
        let kids = |keys: &[KeyView]| keys.iter().map(|key| key.kid.clone()).collect::<Vec<_>>();
        assert_eq!(
            (kids(&view.keys), kids(&view.ended)),
            (vec!["lbk_a".into(), "lbk_c".into()], vec!["lbk_b".into(), "lbk_d".into()])
        );
        assert_eq!(view.ends, "Its 2 keys and every token it got end now, and ci leaves the configuration.");
        let bare = Client { keys: Vec::new(), ..client };
        assert_eq!(ClientView::of(&bare, Timestamp(2)).ends, "ci leaves the configuration now.");
    }
}
