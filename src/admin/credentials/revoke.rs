//! The emergency: what leaked ends now, without overlap. Memory first, so no call is accepted from the first line on; what is in flight is cut; then the
//! database, the deny-list and the evidence of what it could do and did. Never waits for anything that could keep it from ending.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::ended::{self, Reach};
use super::evidence::{Uses, evidence};
use super::kinds::Kind;
use super::model::{CredentialRevoked, RevokeOrder, Rotation};
use super::{drivers, people, store};
use crate::admin::actor::Right;
use crate::admin::clients::single as held;
use crate::admin::servers::one;
use crate::admin::{Actor, Admin, clients, publish, tokens, vaults};
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
    /// The keys of an operator.
    OperatorKeys(String),
    /// The sessions of an operator.
    OperatorSessions(String),
    /// Everything issued from then on.
    Since(Timestamp),
}

fn read(order: &RevokeOrder) -> Verb<Target> {
    let wrong = || {
        let forms = "client-key/NAME, client-secret/NAME, key/KID, client/NAME, token-key/oauth, server/NAME, postgres/NAME, http/NAME, command/NAME, operator/NAME, operator-key/NAME, operator-session/NAME; or since a time";
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
            "operator" | "operator-password" => Target::Operator(name.to_owned()),
            "operator-session" => Target::OperatorSessions(name.to_owned()),
            "operator-key" => Target::OperatorKeys(name.to_owned()),
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
    let wide = matches!(
        target,
        Target::Operator(_) | Target::OperatorKeys(_) | Target::OperatorSessions(_) | Target::Since(_)
    );
    actor.need(if wide { Right::Administer } else { Right::Operate }, "credential.revoke")?;
    if order.since.is_some_and(|since| since > admin.clock.now()) {
        return Err(Fault::invalid("since", "lies in the future: nothing was issued from then on"));
    }
    let (now, before) = (admin.clock.now(), admin.feed.snapshot());
    ended::tell(admin);
    let plan = plan(admin, &before, &target)?;
    let (cut, used) = (plan.flying(admin), uses(admin, &before));
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
        ok: true,
        open: Vec::new(),
    };
    // None of them takes another step from here on, so that what is ended now is not made anew behind it.
    let towards = match &target {
        Target::Server(server) => ended::towards(admin, server).await,
        _ => Vec::new(),
    };
    let marked = mark(admin, (&target, &plan.keys, &towards), &mut done).await;
    perform(admin, actor, (&target, &plan), &mut done).await;
    if matches!(target, Target::Since(_) | Target::System(..)) {
        done.effective_ms = ms(started);
    }
    done.open.extend(successors(admin, &target, &plan).await);
    done.open.extend(ended::put_away(admin, &marked).await);
    // What began while it was ended, and what ended only now that its time was known.
    let more = mark(admin, (&target, &done.keys.clone(), &towards), &mut done).await;
    done.open.extend(ended::put_away(admin, &more).await);
    done.evidence = evidence(admin, (&before, &used), (now, &reason), &mut done, &plan.clients).await;
    done.ok = done.open.is_empty();
    let mut event = Event::action(&actor.name, "credential.revoke", done.name.clone());
    event.params =
        Some(json!({ "reason": reason, "keys": done.keys, "operator_keys": done.operator_keys, "operators": done.operators,
        "upstream": done.upstream, "roles": done.roles, "cut_in_flight": cut, "effective_ms": effective_ms, "open": done.open }));
    let recorded = admin.record(event).await;
    vaults::tell_revoked(admin);
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
        Target::Operator(name) | Target::OperatorKeys(name) | Target::OperatorSessions(name) if !admin.operators.state().accounts.contains_key(name) => {
            return Err(none(&format!("operator {name}")));
        }
        // When each was issued stands in the database alone; memory knows of none too few.
        Target::OperatorKeys(name) => (Vec::new(), people::keys_of(admin, name)),
        Target::Server(_) | Target::System(..) | Target::Operator(_) | Target::OperatorSessions(_) | Target::Since(_) => {
            (Vec::new(), Vec::new())
        }
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
pub(super) fn owner(snapshot: &Snapshot, kid: &str) -> Option<String> {
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
        Target::Operator(name) => people::account(admin, actor, name, done).await,
        Target::OperatorSessions(name) => people::sessions(admin, actor, name, done).await,
        // Each by itself, below.
        Target::OperatorKeys(_) => {}
        Target::Since(since) => super::since::end(admin, actor, *since, done).await,
        Target::TokenKeys => match tokens::single::remove_all(admin, actor).await {
            Ok(gone) => done.keys = gone,
            Err(fault) => failed(done, "refused now, and a restart would forget it, or no key signs tokens", &fault),
        },
        Target::Keys(_) | Target::Secrets(_) | Target::Key(_) => {}
    }
    people::keys(admin, actor, &plan.operator_keys, done).await;
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

/// Marks the open rotations of what is ended.
async fn mark(
    admin: &Admin,
    (target, keys, towards): (&Target, &[String], &[String]),
    done: &mut CredentialRevoked,
) -> Vec<Rotation> {
    let marked = ended::mark(admin, |row| reach(target, (keys, towards), row)).await;
    marked.unwrap_or_else(|fault| {
        failed(done, "rotations that are open", &fault);
        Vec::new()
    })
}

/// How far the end of a target goes into a rotation.
fn reach(target: &Target, (keys, towards): (&[String], &[String]), row: &Rotation) -> Option<Reach> {
    let is = |kind: Kind, name: &str| row.credential == format!("{}/{name}", kind.word());
    let whole = match target {
        Target::Keys(client) => is(Kind::ClientKey, client),
        Target::Secrets(client) => is(Kind::ClientSecret, client),
        Target::Client(client) => is(Kind::ClientKey, client) || is(Kind::ClientSecret, client),
        Target::TokenKeys => is(Kind::TokenKey, "oauth"),
        Target::System(kind, name) => is(*kind, name),
        Target::Server(server) => {
            row.credential.starts_with(&format!("{}/{server}:", Kind::Upstream.word())) || towards.contains(&row.credential)
        }
        Target::Key(_) | Target::Since(_) | Target::Operator(_) | Target::OperatorKeys(_) | Target::OperatorSessions(_) => false,
    };
    // One key of several: who has moved to the next one goes on with it.
    let ended = |version: &String| keys.contains(version);
    match (whole || row.new.as_ref().is_some_and(ended), row.old.iter().any(ended)) {
        (true, _) => Some(Reach::Whole),
        (false, true) => Some(Reach::Old),
        (false, false) => None,
    }
}

/// When each key and secret of clients was last seen: whoever is revoked is forgotten by the policy.
fn uses(admin: &Admin, snapshot: &Snapshot) -> Uses {
    let kids = snapshot.keys.keys().map(ToString::to_string);
    let kids = kids.chain(snapshot.tokens.secrets.keys().map(ToString::to_string));
    kids.filter_map(|kid| admin.feed.uses().last(&kid).map(|at| (kid, at))).collect()
}

pub(super) fn failed(done: &mut CredentialRevoked, what: &str, fault: &Fault) {
    tracing::error!(%fault, what, "a revocation does not hold everywhere yet");
    done.open.push(format!("{what}: {}", fault.message));
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
