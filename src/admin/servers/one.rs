//! One secret towards a server at a time, for its rotation: a header, a variable, or the client certificate. What stands for the others is never touched.

use std::collections::HashMap;
use std::sync::Arc;

use super::host::{self, Kept};
use super::{running, store};
use crate::admin::Admin;
use crate::admin::publish::publish;
use crate::base::clock::Timestamp;
use crate::base::fault::{Fault, Verb};
use crate::config::UpstreamConfig;
use crate::crypto::tls::client_pair;
use crate::policy::feed::Probed;
use crate::policy::snapshot::{ServerEntry, Snapshot};

/// What the client certificate is called among the secrets of a server; no header and no variable can be called so.
pub(in crate::admin) const CLIENT: &str = "@client-certificate";

/// The secrets that a server is due, by name, whether or not this host keeps them.
pub(in crate::admin) fn due(entry: &ServerEntry) -> Vec<String> {
    let secrets = &entry.secrets;
    let kept = secrets.headers.iter().chain(&secrets.env).map(|(name, _)| name.clone());
    let (named, certificate) = match &entry.config.upstream {
        UpstreamConfig::Http(http) => (&http.secret_headers, http.client_certificate || secrets.client.is_some()),
        UpstreamConfig::Stdio(stdio) => (&stdio.secret_env, false),
    };
    let mut all: Vec<String> = kept.chain(named.iter().cloned()).chain(certificate.then(|| CLIENT.to_owned())).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Reads `SERVER:WHAT`.
///
/// # Errors
/// `NotFound` when there is no such server.
pub(in crate::admin) fn find(admin: &Admin, name: &str) -> Verb<(Arc<ServerEntry>, String)> {
    let wrong =
        || Fault::not_found(format!("there is no secret {name}: it is called SERVER:HEADER, SERVER:VARIABLE or SERVER:{CLIENT}"));
    let (server, what) = name.split_once(':').ok_or_else(wrong)?;
    let entry = running(admin, server)?;
    if due(&entry).iter().any(|due| due == what) { Ok((entry, what.to_owned())) } else { Err(wrong()) }
}

/// A server, as calls see it.
///
/// # Errors
/// `NotFound` when there is none.
pub(in crate::admin) fn entry(admin: &Admin, server: &str) -> Verb<Arc<ServerEntry>> {
    running(admin, server)
}

/// What is sent now.
pub(in crate::admin) fn value(entry: &ServerEntry, what: &str) -> Option<String> {
    let secrets = &entry.secrets;
    if what == CLIENT {
        return secrets.client.as_ref().map(|pem| pem.reveal().clone());
    }
    let mut all = secrets.headers.iter().chain(&secrets.env);
    all.find(|(name, _)| name == what).map(|(_, value)| value.reveal().clone())
}

/// Whether a value can stand there.
///
/// # Errors
/// `Invalid`, without the value.
pub(in crate::admin) fn check(entry: &ServerEntry, what: &str, value: &str) -> Verb<()> {
    if value.is_empty() {
        return Err(Fault::invalid("value", "is empty"));
    }
    let wrong = |why: &str| Fault::invalid("value", why.to_owned());
    match &entry.config.upstream {
        _ if what == CLIENT => client_pair(value).map(|_| ()).map_err(|why| Fault::invalid("value", why)),
        UpstreamConfig::Http(_) => host::check_header(what, value).map_err(wrong),
        UpstreamConfig::Stdio(_) => host::check_variable(what, value).map_err(wrong),
    }
}

/// Looks at a server with another value in place of the one that is sent now. Changes nothing.
///
/// # Errors
/// `Unavailable` when it does not answer, or not with this value.
pub(in crate::admin) async fn look_with(admin: &Admin, server: &str, what: &str, value: &str) -> Verb<Probed> {
    look_with_all(admin, server, &[(what.to_owned(), Some(value.to_owned()))]).await
}

/// The same with several other values.
///
/// # Errors
/// As `look_with`.
pub(in crate::admin) async fn look_with_all(admin: &Admin, server: &str, all: &[(String, Option<String>)]) -> Verb<Probed> {
    let entry = running(admin, server)?;
    let mut kept = Kept::of(&admin.db, &admin.sealer, server).await?;
    for (what, value) in all {
        put(&mut kept, &entry, what, value.as_deref());
    }
    super::look(admin, server, &entry.config, kept.into_secrets(entry.secrets.approved)).await
}

/// Sends another value from now on; `None` sends none. Calls in flight keep theirs.
///
/// # Errors
/// When the database or the repository does not answer.
pub(in crate::admin) async fn set(admin: &Admin, server: &str, what: &str, value: Option<&str>) -> Verb<()> {
    set_all(admin, server, &[(what.to_owned(), value.map(str::to_owned))]).await
}

/// Several at once: never does a call see one of them without the others.
///
/// # Errors
/// As `set`.
pub(in crate::admin) async fn set_all(admin: &Admin, server: &str, all: &[(String, Option<String>)]) -> Verb<()> {
    let entry = running(admin, server)?;
    let mut kept = Kept::of(&admin.db, &admin.sealer, server).await?;
    for (what, value) in all {
        put(&mut kept, &entry, what, value.as_deref());
    }
    let sealed = kept.seal(&admin.sealer, server, admin.entropy.as_ref())?;
    store::set_secret(&admin.db, server, &sealed, admin.clock.now()).await?;
    publish(admin).await.map(|_| ())
}

fn put(kept: &mut Kept, entry: &ServerEntry, what: &str, value: Option<&str>) {
    if what == CLIENT {
        kept.client = value.map(str::to_owned);
        return;
    }
    let list = match &entry.config.upstream {
        UpstreamConfig::Http(_) => &mut kept.headers,
        UpstreamConfig::Stdio(_) => &mut kept.env,
    };
    list.retain(|(name, _)| name != what);
    list.extend(value.map(|value| (what.to_owned(), value.to_owned())));
}

/// Sends nothing secret to a server any more: memory first, then this host's database. Gives the names of what was sent.
///
/// # Errors
/// When the database does not answer: it is not sent all the same, until a restart.
pub(in crate::admin) async fn forget_all(admin: &Admin, server: &str) -> Verb<Vec<String>> {
    let now = admin.feed.snapshot();
    let Some(entry) = now.servers.get(server) else { return Err(super::missing(server)) };
    let names: Vec<String> = due(entry).into_iter().filter(|what| value(entry, what).is_some()).collect();
    let mut secrets = entry.secrets.clone();
    (secrets.headers, secrets.env, secrets.client) = (Vec::new(), Vec::new(), None);
    let mut servers = now.servers.clone();
    let bare = ServerEntry { name: entry.name.clone(), config: entry.config.clone(), secrets };
    servers.insert(server.to_owned(), Arc::new(bare));
    admin.feed.publish(Snapshot { servers, ..Snapshot::clone(&now) });
    let sealed = Kept::default().seal(&admin.sealer, server, admin.entropy.as_ref())?;
    store::set_secret(&admin.db, server, &sealed, admin.clock.now()).await?;
    Ok(names)
}

/// When something was last stored for each server.
///
/// # Errors
/// When the database does not answer.
pub(in crate::admin) async fn stored(admin: &Admin) -> Verb<HashMap<String, Timestamp>> {
    let all = store::stored(&admin.db).await?;
    Ok(all.into_iter().map(|(server, at)| (server, Timestamp(at))).collect())
}
