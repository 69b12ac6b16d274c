//! Asks an issuer of tokens, by HTTP or by commands on this host: to make one, to name those there are, to end one. Never shows it what this host keeps for
//! another address or another command line, and never repeats what it answers in a fault.

mod command;
mod http;

use serde_json::{Value, json};

pub(super) use command::{approve, described};

use super::super::kinds::Kind;
use super::store;
use crate::admin::{Admin, tree};
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::config::command_issuer::CommandIssuerConfig;
use crate::config::credentials::Credentials;
use crate::config::http_issuer::{ADMIN, HttpIssuerConfig, SECRET};

const LONGEST_TOKEN: usize = 8_000;
const LONGEST_ID: usize = 500;

/// What this host keeps for an issuer, where it is shown.
type Shown<'a> = Option<&'a Secret<String>>;

/// An issuer as the configuration has it now.
#[derive(Clone, Debug)]
pub(in crate::admin::credentials) enum Issuer {
    /// Reached by HTTP.
    Http(Box<HttpIssuerConfig>),
    /// Reached by commands on this host.
    Command(CommandIssuerConfig),
}

/// A token that an issuer made.
pub(in crate::admin::credentials) struct Made {
    /// What the issuer calls it.
    pub id: String,
    /// It.
    pub token: Secret<String>,
}

impl Made {
    /// A token that fits where tokens are sent.
    ///
    /// # Errors
    /// What is wrong, behind the name of the issuer.
    fn of(id: String, token: String) -> Result<Self, &'static str> {
        if token.is_empty() || token.len() > LONGEST_TOKEN || token.chars().any(char::is_control) {
            return Err("made a token that no header could hold");
        }
        if id.is_empty() || id.len() > LONGEST_ID || id.chars().any(char::is_control) {
            return Err("calls the token it made something that cannot be kept");
        }
        Ok(Self { id, token: Secret::new(token) })
    }
}

/// Every issuer.
pub(in crate::admin::credentials) fn all(said: &Credentials) -> Vec<Issuer> {
    let http = said.issuers.iter().cloned().map(Box::new).map(Issuer::Http);
    http.chain(said.commands.iter().cloned().map(Issuer::Command)).collect()
}

/// The issuer of a credential.
///
/// # Errors
/// `NotFound`; when there is no readable configuration.
pub(in crate::admin::credentials) async fn find(admin: &Admin, kind: Kind, name: &str) -> Verb<Issuer> {
    let found = all(&tree::standing(admin).await?.credentials).into_iter().find(|one| one.kind() == kind && one.name() == name);
    found.ok_or_else(|| Fault::not_found(format!("there is no credential {}/{name}", kind.word())))
}

impl Issuer {
    /// Its kind.
    pub(in crate::admin::credentials) fn kind(&self) -> Kind {
        match self {
            Self::Http(_) => Kind::Http,
            Self::Command(_) => Kind::Command,
        }
    }

    /// What it is called.
    pub(in crate::admin::credentials) fn name(&self) -> &str {
        match self {
            Self::Http(config) => &config.name,
            Self::Command(config) => &config.name,
        }
    }

    /// `KIND/NAME`.
    pub(in crate::admin::credentials) fn credential(&self) -> String {
        format!("{}/{}", self.kind().word(), self.name())
    }

    /// The server that is sent its token.
    pub(in crate::admin::credentials) fn server(&self) -> &str {
        match self {
            Self::Http(config) => &config.server,
            Self::Command(config) => &config.server,
        }
    }

    /// The header or variable that holds it.
    pub(in crate::admin::credentials) fn secret(&self) -> &str {
        match self {
            Self::Http(config) => &config.secret,
            Self::Command(config) => &config.secret,
        }
    }

    fn template(&self) -> &str {
        match self {
            Self::Http(config) => &config.value,
            Self::Command(config) => &config.value,
        }
    }

    /// What the server is sent for a token.
    pub(in crate::admin::credentials) fn value(&self, token: &Secret<String>) -> String {
        self.template().replace(SECRET, token.reveal())
    }

    /// The token in what the server is sent.
    fn token<'v>(&self, value: &'v str) -> Option<&'v str> {
        let (before, after) = self.template().split_once(SECRET)?;
        value.strip_prefix(before)?.strip_suffix(after).filter(|token| !token.is_empty())
    }

    /// Where it is, for people.
    pub(in crate::admin::credentials) fn place(&self) -> String {
        match self {
            Self::Http(config) => config.origin(),
            Self::Command(config) => config.create.first().cloned().unwrap_or_default(),
        }
    }

    /// What must stay the same while a rotation is open (I7). Which commands may run is said by their approval.
    pub(in crate::admin::credentials) fn identity(&self) -> String {
        match self {
            Self::Http(config) => config.origin(),
            Self::Command(_) => self.credential(),
        }
    }

    /// Whom a sealed secret is for. Another address, or another command line, is another context, and opens nothing.
    pub(super) fn context(&self) -> String {
        match self {
            Self::Http(config) => {
                format!("http/{}@{}?ca={}", config.name, config.origin(), config.ca.as_deref().unwrap_or_default())
            }
            Self::Command(config) => format!("command/{}@{}", config.name, command::digest(config)),
        }
    }

    /// Whether it is shown what this host keeps.
    pub(in crate::admin::credentials) fn needs_admin(&self) -> bool {
        match self {
            Self::Http(config) => config.headers.values().any(|text| text.contains(ADMIN)),
            Self::Command(config) => config.admin,
        }
    }
}

/// Whether this host keeps what the issuer wants to see.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::credentials) async fn has_admin(admin: &Admin, issuer: &Issuer) -> Verb<bool> {
    let kept = store::read(&admin.db, &issuer.credential()).await?;
    Ok(!issuer.needs_admin() || kept.is_some_and(|(sealed, _)| admin.sealer.open(&issuer.context(), &sealed).is_ok()))
}

/// What somebody must do first, before its commands can run.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin::credentials) async fn waits(admin: &Admin, issuer: &Issuer) -> Verb<Option<String>> {
    let Issuer::Command(config) = issuer else { return Ok(None) };
    if let Some(said) = command::unapproved(admin, config).await? {
        return Ok(Some(said));
    }
    let mend = format!("lifeboat credential admin {} --password-stdin", issuer.credential());
    let said = format!("this host keeps nothing to give to its commands as they are approved now: {mend}");
    Ok((!has_admin(admin, issuer).await?).then_some(said))
}

async fn kept(admin: &Admin, issuer: &Issuer) -> Verb<Option<Secret<String>>> {
    if !issuer.needs_admin() {
        return Ok(None);
    }
    let mend = format!("lifeboat credential admin {} --password-stdin", issuer.credential());
    let sealed = store::read(&admin.db, &issuer.credential()).await?;
    let (sealed, _) =
        sealed.ok_or_else(|| Fault::conflict(format!("this host keeps nothing to show {}: {mend}", issuer.place())))?;
    let opened = admin.sealer.open(&issuer.context(), &sealed).map_err(|_| {
        let (what, where_) = match issuer {
            Issuer::Http(_) => ("another address", "sent to"),
            Issuer::Command(_) => ("another command line", "given to"),
        };
        let said = format!("what this host keeps was given for {what}, and is not {where_}");
        Fault::conflict(format!("{said} {}. If that is right now: {mend}", issuer.place()))
    })?;
    let text = String::from_utf8(opened.reveal().clone()).map_err(|_| Fault::bug("a sealed secret is no text"))?;
    Ok(Some(Secret::new(text)))
}

/// Tries a secret, where there is something to ask that changes nothing; gives what it is sealed for, whose it is, and where it counts.
///
/// # Errors
/// `NotFound`; `Invalid` when the issuer does not take it or none is needed; `Unavailable` when it does not answer.
pub(super) async fn tried(admin: &Admin, kind: Kind, name: &str, secret: &Secret<String>) -> Verb<(String, String, String)> {
    let issuer = find(admin, kind, name).await?;
    if !issuer.needs_admin() {
        let said = match &issuer {
            Issuer::Http(_) => format!("no header of http/{name} says {ADMIN}, so nothing is kept for it"),
            Issuer::Command(_) => format!("[[command]] {name} does not say admin = true, so nothing is kept for it"),
        };
        return Err(Fault::invalid("name", said));
    }
    match &issuer {
        Issuer::Http(config) => http::try_with(admin, config, secret).await?,
        Issuer::Command(config) => command::try_with(admin, config, secret).await?,
    }
    Ok((issuer.context(), "issuer".to_owned(), issuer.place()))
}

/// Has a token made.
///
/// # Errors
/// When the issuer does not answer, or not with what the configuration says.
pub(in crate::admin::credentials) async fn create(admin: &Admin, issuer: &Issuer, label: &str) -> Verb<Made> {
    let secret = kept(admin, issuer).await?;
    match issuer {
        Issuer::Http(config) => http::create(admin, config, label, secret.as_ref()).await,
        Issuer::Command(config) => command::create(admin, config, label, secret.as_ref()).await,
    }
}

/// What the issuer calls the tokens of a label; none when it cannot be asked.
///
/// # Errors
/// When the issuer does not answer, or not with what the configuration says.
pub(in crate::admin::credentials) async fn labelled(admin: &Admin, issuer: &Issuer, label: &str) -> Verb<Vec<String>> {
    let secret = kept(admin, issuer).await?;
    match issuer {
        Issuer::Http(config) => http::labelled(admin, config, label, secret.as_ref()).await,
        Issuer::Command(config) => command::labelled(admin, config, label, secret.as_ref()).await,
    }
}

/// Has a token ended; one that is gone already is ended. `value` is what the server was sent, where it is at hand. Gives how it was answered.
///
/// # Errors
/// When the issuer does not answer, or refuses.
pub(in crate::admin::credentials) async fn revoke(
    admin: &Admin,
    issuer: &Issuer,
    (id, value): (&str, Option<&str>),
) -> Verb<Value> {
    let secret = kept(admin, issuer).await?;
    match issuer {
        Issuer::Http(config) => Ok(json!(http::revoke(admin, config, id, secret.as_ref()).await?)),
        Issuer::Command(config) => {
            let token = value.and_then(|value| issuer.token(value));
            command::revoke(admin, config, (id, token), secret.as_ref()).await?;
            Ok(json!("ended well"))
        }
    }
}

/// A text or a number as text.
fn text(value: &Value, pointer: &str) -> Option<String> {
    match value.pointer(pointer)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
