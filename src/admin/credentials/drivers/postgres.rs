//! Roles of a PostgreSQL database: the other role of two gets a password that nobody else has seen, the server's variables name it, and the first role can
//! log in no more once its sessions are gone. Never sends a password to the database but to log in with, and never closes the role that is in use.

use serde_json::{Value, json};

use super::super::machine::{Drain, Place, Seen, Step};
use super::super::systems;
use super::{Doing, Driver, Kept, Mint, Minted, Scene, Trouble};
use crate::admin::Admin;
use crate::admin::servers::one;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::base::secret::Secret;
use crate::config::UpstreamConfig;
use crate::config::postgres::PostgresConfig;
use crate::crypto::scram;
use crate::db::postgres::{self as database, Failure, Link, Login};

const DAY_MS: i64 = 86_400_000;
/// Sessions that are asked to end take a moment to do so.
const ENDS: u32 = 30;
const END_AGAIN: std::time::Duration = std::time::Duration::from_millis(100);

/// The driver.
pub(super) struct Databases;

/// A credential with everything that its steps need.
struct Base<'a> {
    admin: &'a Admin,
    config: PostgresConfig,
}

/// The public name of a role with one password.
fn version(admin: &Admin, login: &Login) -> String {
    format!("{}:{}", login.role, admin.sealer.fingerprint(login.password.reveal().as_bytes()))
}

/// What the server's variables name now.
pub(in crate::admin::credentials) fn named(admin: &Admin, config: &PostgresConfig) -> Verb<Option<(Login, String)>> {
    let entry = one::entry(admin, &config.server)?;
    let read = config.read(|variable| one::value(&entry, variable));
    Ok(read.map(|(role, password)| Login { role, password: Secret::new(password) }).map(|login| {
        let version = version(admin, &login);
        (login, version)
    }))
}

/// Lets no role of a credential log in any more, ends what they have open, and has the server sent nothing of them. For what leaked.
///
/// # Errors
/// What does not hold yet: the variables are gone all the same.
pub(super) async fn end(admin: &Admin, name: &str) -> Verb<Vec<String>> {
    let base = Base { admin, config: systems::database(admin, name).await? };
    let forgotten = base.set_variables(None).await;
    let mut link = systems::link(admin, &base.config).await?;
    for role in &base.config.roles {
        link.close_role(role).await?;
        base.end_sessions(&mut link, role, None).await?;
    }
    link.close().await;
    forgotten?;
    Ok(base.config.roles)
}

impl Base<'_> {
    async fn of<'a>(admin: &'a Admin, name: &str) -> Result<Base<'a>, Trouble> {
        let config = systems::database(admin, name).await?;
        let entry = one::entry(admin, &config.server)?;
        if !matches!(entry.config.upstream, UpstreamConfig::Stdio(_)) {
            return Err(Trouble::permanent(format!("{} is no stdio server, so it has no variables", config.server)));
        }
        let due = one::due(&entry);
        if let Some(variable) = config.variables.keys().find(|variable| !due.contains(*variable)) {
            let said = format!("server {} has no secret variable {variable}: name it in its secret_env", config.server);
            return Err(Trouble::permanent(said));
        }
        Ok(Base { admin, config })
    }

    /// The same as when the rotation began: a secret that was made for one database is never tried at another (I7).
    async fn of_row<'a>(scene: &'a Scene<'_>) -> Result<Base<'a>, Trouble> {
        let base = Self::of(scene.admin, scene.name).await?;
        if scene.row.facts["system"].as_str().is_some_and(|system| system != base.system()) {
            let said = "the configuration names another database than this rotation began with, which would get its secret: put that back, and end or roll back the rotation first";
            return Err(Trouble::permanent(said));
        }
        Ok(base)
    }

    fn system(&self) -> String {
        let PostgresConfig { host, port, database, admin, owner, .. } = &self.config;
        format!("{host}:{port}/{database} admin={admin} owner={}", owner.as_deref().unwrap_or_default())
    }

    fn is_single(&self) -> bool {
        self.config.roles.len() == 1
    }

    /// The role that gets the next password: the one that is not in use.
    fn next_role(&self, current: Option<&Login>) -> Result<String, Trouble> {
        let roles = &self.config.roles;
        let other = roles.iter().find(|role| self.is_single() || current.is_none_or(|current| current.role != **role));
        other.cloned().ok_or_else(|| Trouble::permanent("no role is left to take its turn"))
    }

    fn rendered(&self, login: Option<&Login>) -> Vec<(String, Option<String>)> {
        match login {
            Some(login) => {
                let all = self.config.render(&login.role, login.password.reveal());
                all.into_iter().map(|(variable, value)| (variable, Some(value))).collect()
            }
            None => self.config.variables.keys().map(|variable| (variable.clone(), None)).collect(),
        }
    }

    async fn set_variables(&self, login: Option<&Login>) -> Verb<()> {
        one::set_all(self.admin, &self.config.server, &self.rendered(login)).await
    }

    fn named(&self) -> Verb<Option<(Login, String)>> {
        named(self.admin, &self.config)
    }

    async fn link(&self) -> Verb<Link> {
        systems::link(self.admin, &self.config).await
    }

    /// Logs in with a new version as its server will, and does what it must be able to do.
    async fn look(&self, login: &Login) -> Result<Value, Trouble> {
        let target = systems::target(&self.config)?;
        let seen = database::look(&target, login, Some(&self.config.check)).await.map_err(|failure| match failure {
            Failure::Refused(said) => Trouble::transient(format!("the database does not take role {}: {said}", login.role)),
            Failure::Other(fault) => Trouble::transient(fault.message),
        })?;
        let expected = self.config.expected_user(&login.role);
        if seen.current_user != expected {
            return Err(Trouble::permanent(format!(
                "after a login of {role} current_user is {found}, not {expected}, so what the server creates would belong to another: ALTER ROLE {role} SET role = '{expected}'",
                role = login.role,
                found = seen.current_user
            )));
        }
        if seen.session_user != login.role || seen.database != self.config.database {
            let said = format!("a login of {} came out as {} in {}", login.role, seen.session_user, seen.database);
            return Err(Trouble::permanent(said));
        }
        Ok(json!({ "session_user": seen.session_user, "current_user": seen.current_user, "database": seen.database,
            "host": self.config.host, "tls": self.config.ca.is_some(), "check_rows": seen.rows, "ms": seen.ms }))
    }

    async fn install(&self, login: &Login) -> Result<Value, Trouble> {
        let verifier = scram::verifier(&login.password, self.admin.entropy.as_ref());
        let verifier = verifier.ok_or_else(|| Trouble::permanent("the password cannot be made a verifier of"))?;
        let until = self.until(self.admin.clock.now());
        let mut link = self.link().await?;
        link.set_password(&login.role, &verifier, &until).await?;
        link.close().await;
        Ok(json!({ "role": login.role, "valid_until": until }))
    }

    fn until(&self, now: Timestamp) -> String {
        match self.config.valid_days {
            0 => "infinity".to_owned(),
            days => now.plus_ms(i64::from(days) * DAY_MS).to_string(),
        }
    }

    /// The roles that end: all but the new one.
    fn others<'b>(&'b self, new: &'b Login) -> impl Iterator<Item = &'b String> {
        self.config.roles.iter().filter(move |role| **role != new.role)
    }

    /// Whether a version is refused. That nobody answers is no refusal.
    async fn refused(&self, login: &Login) -> Result<Option<String>, Trouble> {
        match database::look(&systems::target(&self.config)?, login, None).await {
            Ok(_) => Ok(None),
            Err(Failure::Refused(said)) => Ok(Some(said)),
            Err(Failure::Other(fault)) => Err(Trouble::transient(fault.message)),
        }
    }

    async fn end_sessions(&self, link: &mut Link, role: &str, older: Option<f64>) -> Verb<i64> {
        let mut ended = 0;
        for _ in 0..ENDS {
            let now = link.terminate(role, older).await?;
            if now == 0 {
                return Ok(ended);
            }
            ended = ended.max(now);
            tokio::time::sleep(END_AGAIN).await;
        }
        Err(Fault::unavailable(format!("sessions of {role} do not end")))
    }

    /// Lets the old versions log in no more, and ends what they have open: ALTER ROLE alone leaves sessions alive.
    async fn retire(&self, scene: &Scene<'_>, new: &Login) -> Result<Value, Trouble> {
        if self.named()?.is_none_or(|(now, _)| now.role != new.role) {
            return Err(Trouble::permanent("the server's variables do not name the new role, so the old one stays"));
        }
        let mut link = self.link().await?;
        let mut ended = 0;
        for role in self.others(new) {
            link.close_role(role).await?;
            ended += self.end_sessions(&mut link, role, None).await?;
        }
        if self.is_single() {
            // With one role a new password ends no session: whoever had the old one may still be there.
            ended += self.end_sessions(&mut link, &new.role, self.age(scene)).await?;
        }
        link.close().await;
        Ok(json!({ "ended_sessions": ended }))
    }

    /// Whether it is so: no old role logs in, none has a session, and the old password is refused.
    async fn retired(&self, scene: &Scene<'_>, new: &Login) -> Result<Seen, Trouble> {
        let mut link = self.link().await?;
        let others: Vec<&str> = self.others(new).map(String::as_str).collect();
        let roles = link.roles(&others, "").await?;
        let mut open = 0;
        for role in &others {
            open += link.sessions(role, None).await?.iter().map(|one| one.open).sum::<i64>();
        }
        if self.is_single() {
            open += link.sessions(&new.role, self.age(scene)).await?.iter().map(|one| one.open).sum::<i64>();
        }
        link.close().await;
        if open > 0 || roles.iter().any(|role| role.may_login) {
            return Ok(Seen::Not);
        }
        match old(scene)? {
            None => Ok(Seen::Holds(json!({ "rejected": Value::Null, "said": "there was no password before" }))),
            Some(old) => Ok(self.refused(&old).await?.map_or(Seen::Not, |said| {
                Seen::Holds(json!({ "rejected": true, "role": old.role, "answer": said, "sessions": 0 }))
            })),
        }
    }

    /// How many seconds ago the new password was seen at work: a session that is older was opened with the old one.
    fn age(&self, scene: &Scene<'_>) -> Option<f64> {
        let ms = scene.row.verified_at.map_or(0, |at| self.admin.clock.now().since_ms(at));
        Some(ms.max(0) as f64 / 1_000.0)
    }

    async fn undo(&self, scene: &Scene<'_>, new: &Login) -> Result<Value, Trouble> {
        let (old, now) = (old(scene)?, self.named()?);
        let promoted = now.is_some_and(|(_, version)| Some(&version) == scene.row.new.as_ref());
        let mut link = self.link().await?;
        if let Some(old) = old.as_ref().filter(|old| old.role == new.role) {
            let verifier = scram::verifier(&old.password, self.admin.entropy.as_ref());
            let verifier =
                verifier.ok_or_else(|| Trouble::permanent("no verifier can be made of the old password: set it by hand"))?;
            link.set_password(&old.role, &verifier, &self.until(self.admin.clock.now())).await?;
        }
        if promoted {
            self.set_variables(old.as_ref()).await?;
        }
        let in_use = self.named()?.is_some_and(|(now, _)| now.role == new.role);
        if !in_use {
            link.close_role(&new.role).await?;
            self.end_sessions(&mut link, &new.role, None).await?;
        }
        link.close().await;
        Ok(json!({ "went_back": promoted, "closed": (!in_use).then_some(&new.role) }))
    }
}

/// The version that comes.
fn new(scene: &Scene<'_>) -> Result<Login, Trouble> {
    let role = scene.row.facts["role"].as_str().ok_or_else(|| Trouble::permanent("which role is new was not written down"))?;
    Ok(Login { role: role.to_owned(), password: scene.secret()? })
}

/// The version that ends, when there was one.
fn old(scene: &Scene<'_>) -> Result<Option<Login>, Trouble> {
    let Some(text) = &scene.kept.old else { return Ok(None) };
    let (role, password) =
        text.split_once(':').ok_or_else(|| Trouble::permanent("what was kept of the old password is damaged"))?;
    Ok(Some(Login { role: role.to_owned(), password: Secret::new(password.to_owned()) }))
}

impl Driver for Databases {
    fn current<'a>(&'a self, admin: &'a Admin, name: &'a str) -> Doing<'a, Vec<String>> {
        Box::pin(async move {
            let base = Base::of(admin, name).await?;
            // The first thing that is sent anywhere is what is sealed for that address alone.
            let mut link = base.link().await?;
            systems::prepared(&base.config, &mut link).await?;
            link.close().await;
            match base.named()? {
                Some((login, version)) => base.look(&login).await.map(|_| vec![version]),
                None => {
                    let entry = one::entry(admin, &base.config.server)?;
                    let kept = base.config.variables.keys().any(|variable| one::value(&entry, variable).is_some());
                    let said = "the server's variables are not what the templates make of any of the roles: give the server variables that are, or change the templates";
                    if kept { Err(Trouble::permanent(said)) } else { Ok(Vec::new()) }
                }
            }
        })
    }

    fn mint<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Mint> {
        Box::pin(async move {
            let base = Base::of(scene.admin, scene.name).await?;
            let current = base.named()?.map(|(login, _)| login);
            let role = base.next_role(current.as_ref())?;
            let login = Login { role, password: scram::password(scene.admin.entropy.as_ref()) };
            let old = current.map(|old| format!("{}:{}", old.role, old.password.reveal()));
            let facts = json!({ "role": login.role, "system": base.system(), "server": base.config.server });
            let kept = Kept { secret: Some(login.password.reveal().clone()), old };
            Ok(Mint::Made(Box::new(Minted { version: version(scene.admin, &login), kept, facts, to_fetch: false })))
        })
    }

    fn probe<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Seen> {
        Box::pin(async move {
            let (base, new) = (Base::of_row(scene).await?, new(scene)?);
            match step {
                Step::Install => Ok(match base.refused(&new).await? {
                    None => Seen::Holds(json!({ "role": new.role, "accepted": true })),
                    Some(_) => Seen::Not,
                }),
                Step::Promote => {
                    let now = base.named()?.map(|(_, version)| version);
                    let holds = now.is_some() && now == scene.row.new;
                    Ok(if holds { Seen::Holds(json!({ "server": base.config.server, "sent": now })) } else { Seen::Not })
                }
                _ => base.retired(scene, &new).await,
            }
        })
    }

    fn apply<'a>(&'a self, scene: &'a Scene<'a>, step: Step) -> Doing<'a, Value> {
        Box::pin(async move {
            let (base, new) = (Base::of_row(scene).await?, new(scene)?);
            match step {
                Step::Install => base.install(&new).await,
                Step::Verify => {
                    let seen = base.look(&new).await?;
                    // The server itself, started once with the new variables beside the one that runs.
                    let probed = one::look_with_all(scene.admin, &base.config.server, &base.rendered(Some(&new))).await;
                    let probed = probed.map_err(|fault| Trouble::transient(fault.message))?;
                    Ok(json!({ "database": seen, "server": base.config.server, "answered_as": probed.server_info }))
                }
                Step::Promote => {
                    base.set_variables(Some(&new)).await?;
                    Ok(json!({ "server": base.config.server, "sent": scene.row.new }))
                }
                Step::Retire => base.retire(scene, &new).await,
                _ => {
                    let accepted = base.look(&new).await?;
                    let rejected = match old(scene)? {
                        None => Value::Null,
                        Some(old) => {
                            let said = base.refused(&old).await?;
                            let said = said.ok_or_else(|| Trouble::transient("the database takes the old password"))?;
                            json!({ "role": old.role, "answer": said })
                        }
                    };
                    Ok(json!({ "accepted": accepted, "rejected": rejected }))
                }
            }
        })
    }

    fn drain<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Drain> {
        Box::pin(async move {
            let (base, new) = (Base::of_row(scene).await?, new(scene)?);
            let now = scene.admin.clock.now();
            let over = scene.row.overlap_until.is_none_or(|until| until <= now);
            let mut places = Vec::new();
            let mut link = base.link().await?;
            for role in base.others(&new) {
                for found in link.sessions(role, None).await? {
                    places.push(Place::new(format!("{role} from {}", found.place), Some(now), None));
                }
            }
            link.close().await;
            // Until the overlap is over it can come back, though the server uses the new one.
            Ok(Drain { ours: over && places.is_empty(), places, ends_at: None })
        })
    }

    fn undo<'a>(&'a self, scene: &'a Scene<'a>) -> Doing<'a, Value> {
        Box::pin(async move {
            match scene.row.new {
                Some(_) => Base::of_row(scene).await?.undo(scene, &new(scene)?).await,
                None => Ok(json!({ "went_back": false })),
            }
        })
    }
}
