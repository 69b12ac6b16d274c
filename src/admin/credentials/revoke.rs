//! The emergency: what leaked ends now, without overlap. Memory first, so no call is accepted from the first line on; what is in flight is cut; then the
//! database, the deny-list and the evidence of what it could do and did. Never waits for anything that could keep it from ending.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::evidence::evidence;
use super::kinds::Kind;
use super::machine::State;
use super::model::{CredentialRevoked, RevokeOrder, Rotation};
use super::{drivers, store, watch, work};
use crate::admin::actor::Right;
use crate::admin::clients::single as held;
use crate::admin::servers::one;
use crate::admin::{Actor, Admin, clients, operators, publish, tokens, vaults};
use crate::audit::Event;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::policy::snapshot::Snapshot;

const LONGEST_REASON: usize = 500;

/// What is named.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// All keys of a client; the client stays.
    Keys(String),
    /// All secrets of a client, with every token they got; the client stays.
    Secrets(String),
    /// One key or secret.
    Key(String),
    /// Every key that signs tokens, with every token that was ever given.
    TokenKeys,
    /// A client with everything it has.
    Client(String),
    /// Every secret towards a server.
    Server(String),
    /// A credential of another system: every role of a database, or the token of an issuer.
    System(Kind, String),
    /// An operator with sessions and keys.
    Operator(String),
    /// Everything issued from then on.
    Since(Timestamp),
}

fn read(order: &RevokeOrder) -> Verb<Target> {
    let wrong = || {
        let forms = "client-key/NAME, client-secret/NAME, key/KID, client/NAME, token-key/oauth, server/NAME, postgres/NAME, http/NAME, command/NAME, operator/NAME; or since a time";
        Fault::invalid("name", format!("what is revoked is called {forms}"))
    };
    match (order.name.split_once('/'), order.since) {
        (None, Some(since)) if order.name.is_empty() => Ok(Target::Since(since)),
        (Some((_, "")), None) => Err(wrong()),
        (Some((kind, name)), None) => Ok(match kind {
            "client-key" => Target::Keys(name.to_owned()),
            "client-secret" => Target::Secrets(name.to_owned()),
            "token-key" if name == "oauth" => Target::TokenKeys,
            "key" => Target::Key(bare(name).unwrap_or(name).to_owned()),
            "client" => Target::Client(name.to_owned()),
            "server" => Target::Server(name.to_owned()),
            "postgres" => Target::System(Kind::Postgres, name.to_owned()),
            "http" => Target::System(Kind::Http, name.to_owned()),
            "command" => Target::System(Kind::Command, name.to_owned()),
            "upstream" => Target::Server(name.split_once(':').map_or(name, |(server, _)| server).to_owned()),
            "operator" | "operator-password" | "operator-session" => Target::Operator(name.to_owned()),
            "operator-key" => Target::Operator(name.to_owned()),
            _ => return Err(wrong()),
        }),
        // `lbk_KID` alone, as the ledger and the pages show it.
        (None, None) => bare(&order.name).map(|kid| Target::Key(kid.to_owned())).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

/// A key's name without what its text begins with.
fn bare(name: &str) -> Option<&str> {
    ["lbk_", "lbs_", "lbo_"].into_iter().find_map(|prefix| name.strip_prefix(prefix))
}

/// Ends credentials at once.
///
/// # Errors
/// `Denied` without role operator, and without role admin for operators and for everything since a time; `Invalid` for what is named; `NotFound`;
/// `Unavailable`, saying what holds, when the database does not answer.
pub async fn revoke(admin: &Admin, actor: &Actor, order: RevokeOrder) -> Verb<CredentialRevoked> {
    let started = Instant::now();
    let target = read(&order)?;
    let wide = matches!(target, Target::Operator(_) | Target::Since(_));
    actor.need(if wide { Right::Administer } else { Right::Operate }, "credential.revoke")?;
    let (now, before) = (admin.clock.now(), admin.feed.snapshot());
    let plan = plan(admin, &before, &target)?;
    let cut = plan.flying(admin);
    // From here on no call with these keys is accepted, and those in flight are cut.
    publish::deny(admin, &plan.keys);
    let effective_ms = ms(started);
    let reason: String = order.reason.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect();
    let named = if order.name.is_empty() { format!("since {}", now_of(order.since)) } else { order.name.clone() };
    let mut done = CredentialRevoked {
        name: named,
        keys: plan.keys.clone(),
        operator_keys: Vec::new(),
        operators: Vec::new(),
        upstream: Vec::new(),
        roles: Vec::new(),
        sessions: 0,
        cut_in_flight: cut,
        at: now,
        effective_ms,
        revision: String::new(),
        evidence: String::new(),
        open: Vec::new(),
    };
    perform(admin, actor, (&target, &plan), &mut done).await;
    if matches!(target, Target::Since(_) | Target::System(..)) {
        done.effective_ms = ms(started);
    }
    done.open.extend(successors(admin, &target, &plan).await);
    done.evidence = evidence(admin, (&*before, &plan.keys[..], &plan.clients[..]), (now, &reason), &mut done).await;
    let mut event = Event::action(&actor.name, "credential.revoke", done.name.clone());
    event.params =
        Some(json!({ "reason": reason, "keys": done.keys, "operator_keys": done.operator_keys, "operators": done.operators,
        "upstream": done.upstream, "roles": done.roles, "cut_in_flight": cut, "effective_ms": effective_ms, "open": done.open }));
    let recorded = admin.record(event).await;
    vaults::tell_revoked(admin);
    give_up_rotations(admin, &target, &plan).await;
    done.revision = admin.feed.snapshot().revision.to_string();
    metrics::histogram!("lifeboat_revoke_seconds").record(started.elapsed().as_secs_f64());
    recorded?;
    Ok(done)
}

/// Whole milliseconds, never less than it took.
fn ms(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

fn now_of(since: Option<Timestamp>) -> String {
    since.map(|at| at.to_string()).unwrap_or_default()
}

/// What is ended, found in memory alone.
struct Plan {
    /// Keys and secrets of clients, or keys that sign tokens, by kid.
    keys: Vec<String>,
    /// Clients they belong to.
    clients: Vec<String>,
    /// Clients that call with nothing else.
    whole: Vec<String>,
    /// Operator keys, by kid.
    operator_keys: Vec<String>,
}

impl Plan {
    /// Calls in flight that are cut. A call does not say by which credential it came, so a client that has others is not counted.
    fn flying(&self, admin: &Admin) -> usize {
        let entry = |client: &String| crate::policy::KillEntry {
            decision_id: String::new(),
            scope: crate::policy::Scope::Client { client: client.clone() },
            mode: crate::policy::Mode::Full,
            since: Timestamp::default(),
            by: String::new(),
            reason: String::new(),
        };
        self.whole.iter().map(|client| admin.feed.in_flight(Some(&entry(client)))).sum()
    }
}

fn plan(admin: &Admin, snapshot: &Snapshot, target: &Target) -> Verb<Plan> {
    let known = |client: &str| snapshot.clients.contains_key(client) || !snapshot.kids_of(client).is_empty();
    let running = |kid: &str| admin.operators.state().keys.get(kid).is_some_and(|key| key.revoked_at.is_none());
    let none = |what: &str| Fault::not_found(format!("there is no {what}"));
    let (mut keys, operator_keys) = match target {
        Target::Keys(client) | Target::Secrets(client) | Target::Client(client) if !known(client) => {
            return Err(none(&format!("client {client}")));
        }
        Target::Keys(client) => (kids(snapshot.keys.values().map(|key| (&key.kid, &key.client)), client), Vec::new()),
        Target::Secrets(client) => (kids(snapshot.tokens.secrets.values().map(|one| (&one.kid, &one.client)), client), Vec::new()),
        // Its public keys are the noun's own to end: it must find them to remember them.
        Target::Client(client) => {
            (snapshot.kids_of(client).into_iter().filter(|kid| !kid.starts_with("jwk-")).collect(), Vec::new())
        }
        Target::Key(kid) if owner(snapshot, kid).is_some() => (vec![kid.clone()], Vec::new()),
        Target::Key(kid) if running(kid) => (Vec::new(), vec![kid.clone()]),
        Target::Key(kid) => return Err(none(&format!("running key {kid}"))),
        Target::TokenKeys => (snapshot.tokens.verifiers.keys().map(ToString::to_string).collect(), Vec::new()),
        Target::Server(server) if !snapshot.servers.contains_key(server) => return Err(none(&format!("server {server}"))),
        Target::Operator(name) if !admin.operators.state().accounts.contains_key(name) => {
            return Err(none(&format!("operator {name}")));
        }
        // When each was issued stands in the database alone; memory knows of none too few.
        Target::Server(_) | Target::System(..) | Target::Operator(_) | Target::Since(_) => (Vec::new(), Vec::new()),
    };
    keys.sort_unstable();
    let mut clients: Vec<String> = keys.iter().filter_map(|kid| owner(snapshot, kid)).collect();
    if let Target::Client(client) = target {
        clients.push(client.clone());
    }
    clients.sort_unstable();
    clients.dedup();
    let whole = match target {
        Target::TokenKeys => without_keys(snapshot),
        Target::Client(_) => clients.clone(),
        _ => clients.iter().filter(|client| snapshot.kids_of(client).iter().all(|kid| keys.contains(kid))).cloned().collect(),
    };
    Ok(Plan { keys, clients, whole, operator_keys })
}

fn kids<'a>(all: impl Iterator<Item = (&'a Arc<str>, &'a Arc<str>)>, client: &str) -> Vec<String> {
    all.filter(|(_, owner)| owner.as_ref() == client).map(|(kid, _)| kid.to_string()).collect()
}

/// Whose a key or secret is.
fn owner(snapshot: &Snapshot, kid: &str) -> Option<String> {
    let key = snapshot.keys.get(kid).map(|key| &key.client);
    key.or_else(|| snapshot.tokens.secrets.get(kid).map(|secret| &secret.client)).map(ToString::to_string)
}

/// Clients that call with tokens alone.
fn without_keys(snapshot: &Snapshot) -> Vec<String> {
    let has_key = |client: &Arc<str>| snapshot.keys.values().any(|key| key.client == *client);
    snapshot.clients.keys().filter(|client| !has_key(client)).map(ToString::to_string).collect()
}

/// Everything that follows the end in memory. What fails is said, and keeps nothing else from being done.
async fn perform(admin: &Admin, actor: &Actor, (target, plan): (&Target, &Plan), done: &mut CredentialRevoked) {
    match target {
        Target::Keys(_) | Target::Secrets(_) | Target::Key(_) if !plan.keys.is_empty() => {
            if let Err(fault) = held::cut(admin, &plan.keys, &actor.name).await {
                failed(done, "refused now, and a restart would forget it", &fault);
            }
        }
        Target::Client(name) => {
            if let Err(fault) = clients::revoke(admin, actor, name).await {
                failed(done, "the client", &fault);
            }
        }
        Target::Server(server) => match one::forget_all(admin, server).await {
            Ok(names) => done.upstream = names.into_iter().map(|what| format!("{server}:{what}")).collect(),
            Err(fault) => failed(done, "the server's secrets", &fault),
        },
        Target::System(kind, name) => match drivers::end(admin, *kind, name).await {
            Ok((roles, upstream)) => (done.roles, done.upstream) = (roles, upstream),
            Err(fault) => failed(done, "the other system", &fault),
        },
        Target::Operator(name) => {
            done.sessions = sessions_of(admin, name);
            match operators::disable(admin, actor, name).await {
                Ok(_) => done.operators.push(name.clone()),
                Err(fault) => failed(done, "the operator", &fault),
            }
        }
        Target::Since(since) => super::since::end(admin, actor, *since, done).await,
        Target::TokenKeys => match tokens::single::remove_all(admin, actor).await {
            Ok(gone) => done.keys = gone,
            Err(fault) => failed(done, "refused now, and a restart would forget it, or no key signs tokens", &fault),
        },
        Target::Keys(_) | Target::Secrets(_) | Target::Key(_) => {}
    }
    for kid in &plan.operator_keys {
        match operators::key_revoke(admin, actor, kid).await {
            Ok(_) => done.operator_keys.push(kid.clone()),
            Err(fault) => done.open.push(format!("operator key {kid}: {}", fault.message)),
        }
    }
    if let Err(fault) = publish::publish(admin).await {
        tracing::warn!(%fault, "the policy without the revoked keys runs; its configuration could not be read");
    }
}

/// Keys that clients asked for by a key that leaked: whoever had that one may have the next one too.
async fn successors(admin: &Admin, target: &Target, plan: &Plan) -> Vec<String> {
    let Target::Key(_) = target else { return Vec::new() };
    let mut found = Vec::new();
    for client in &plan.clients {
        let name = format!("{}/{client}", Kind::ClientKey.word());
        let asked =
            |row: &&Rotation| row.started_by == Actor::client(client).name && row.old.iter().any(|kid| plan.keys.contains(kid));
        let rows = store::of(&admin.db, &name, super::SHOWN).await.unwrap_or_default();
        let next = rows.iter().filter(asked).filter_map(|row| row.new.as_deref());
        let counts = next.filter(|kid| admin.feed.snapshot().keys.contains_key(*kid));
        found.extend(counts.map(|kid| {
            format!("key lbk_{kid} was asked for by the client itself with this one, and counts: when the asker may have been the thief, lifeboat credential revoke {name}")
        }));
    }
    found
}

/// A rotation of what was ended has nothing left to replace; another one can begin.
async fn give_up_rotations(admin: &Admin, target: &Target, plan: &Plan) {
    let server = match target {
        Target::Server(server) => Some(format!("{}/{server}:", Kind::Upstream.word())),
        _ => None,
    };
    let ended = |row: &Rotation| {
        // A key that no rotation knows leaves the rotation of its client alone.
        let of_key = row.old.iter().chain(&row.new).any(|version| plan.keys.contains(version));
        let of_system = matches!(target, Target::System(kind, name) if row.credential == format!("{}/{name}", kind.word()));
        of_key || of_system || server.as_ref().is_some_and(|server| row.credential.starts_with(server))
    };
    let open = store::open(&admin.db).await.unwrap_or_default();
    for row in open.iter().filter(|row| ended(row)) {
        if let Err(fault) = give_up(admin, &row.id).await {
            tracing::warn!(%fault, rotation = row.id, "the rotation of a revoked credential goes on");
        }
        // A step that was under way may have opened a role again.
        if let Target::System(kind @ Kind::Postgres, name) = target
            && let Err(fault) = drivers::end(admin, *kind, name).await
        {
            tracing::error!(%fault, name, "a role of a revoked database credential may be open");
        }
    }
}

async fn give_up(admin: &Admin, id: &str) -> Verb<()> {
    let mut held = work::hold(admin, id).await?;
    (held.row.state, held.row.ended_at, held.row.sealed) = (State::RolledBack, Some(admin.clock.now()), None);
    (held.row.hold, held.row.why) = (None, None);
    let row = held.end(Ok(("revoke", json!({ "said": "the credential was revoked meanwhile" })))).await?;
    watch::leave(admin, &row);
    Ok(())
}

fn failed(done: &mut CredentialRevoked, what: &str, fault: &Fault) {
    tracing::error!(%fault, what, "a revocation does not hold everywhere yet");
    done.open.push(format!("{what}: {}", fault.message));
}

fn sessions_of(admin: &Admin, name: &str) -> u64 {
    admin.operators.state().sessions.values().filter(|session| session.operator == name).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_revoked_is_named_in_one_way() {
        let read = |name: &str, since| read(&RevokeOrder { name: name.into(), since, reason: String::new() });
        assert_eq!(read("client-key/ci", None).unwrap(), Target::Keys("ci".into()));
        assert_eq!(read("key/lbk_abc", None).unwrap(), Target::Key("abc".into()));
        assert_eq!(read("lbk_abc", None).unwrap(), Target::Key("abc".into()));
        assert_eq!(read("lbs_abc", None).unwrap(), Target::Key("abc".into()));
        assert_eq!(read("client-secret/ci", None).unwrap(), Target::Secrets("ci".into()));
        assert_eq!(read("token-key/oauth", None).unwrap(), Target::TokenKeys);
        assert_eq!(read("upstream/github:authorization", None).unwrap(), Target::Server("github".into()));
        assert_eq!(read("postgres/notes", None).unwrap(), Target::System(Kind::Postgres, "notes".into()));
        assert_eq!(read("", Some(Timestamp(5))).unwrap(), Target::Since(Timestamp(5)));
        for (name, since) in [
            ("", None),
            ("ci", None),
            ("client/", None),
            ("tls/server", None),
            ("token-key/other", None),
            ("client/x", Some(Timestamp(5))),
        ] {
            assert_eq!(read(name, since).unwrap_err().place.as_deref(), Some("name"), "{name}");
        }
    }
}
