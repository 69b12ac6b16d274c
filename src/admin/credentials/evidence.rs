//! The evidence of a revocation: who it was, what it could do and what it did last, as it was before the end. Never says what a key is.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use super::model::CredentialRevoked;
use super::revoke::owner;
use crate::admin::{Admin, tree};
use crate::audit::{Event, Filter};
use crate::base::clock::Timestamp;
use crate::crypto::archive::hex;
use crate::crypto::keys::sha256;
use crate::policy::snapshot::Snapshot;
use crate::policy::{Asked, Decision, decide};

/// When each key and secret was last seen.
pub(super) type Uses = HashMap<String, Timestamp>;

/// Calls that are named.
const CALLS: u32 = 100;

/// Writes down who it was, what it could do and what it did last: as it was before the end, which is what the snapshot taken then says.
pub(super) async fn evidence(
    admin: &Admin,
    (before, used): (&Snapshot, &Uses),
    (now, reason): (Timestamp, &str),
    done: &mut CredentialRevoked,
    clients: &[String],
) -> String {
    let (mut all, digests) = (Vec::new(), digests(admin, before).await);
    // Which keys are younger than a moment is known only once they are ended.
    let owners = done.keys.iter().filter_map(|kid| owner(before, kid));
    let clients: BTreeSet<String> = clients.iter().cloned().chain(owners).collect();
    let keys = done.keys.as_slice();
    for client in &clients {
        let own: Vec<&String> = keys.iter().filter(|kid| owner(before, kid).as_ref() == Some(client)).collect();
        all.push(of_client(admin, (before, &digests), (client, &own, used), now).await);
    }
    let clients: Vec<String> = clients.into_iter().collect();
    let about = if clients.is_empty() { done.name.clone() } else { clients.join(", ") };
    let mut event = Event::system("credential.evidence", about);
    event.params = Some(json!({ "reason": reason, "revision": before.revision.to_string(), "keys": keys, "clients": all }));
    match admin.recorder.record(event, crate::audit::Durability::Synced).await {
        Ok(recorded) => recorded.seq.to_string(),
        Err(_) => {
            done.open.push("the evidence could not be written to the ledger".to_owned());
            String::new()
        }
    }
}

async fn of_client(
    admin: &Admin,
    (before, digests): (&Snapshot, &Digests),
    (client, kids, used): (&str, &[&String], &Uses),
    now: Timestamp,
) -> Value {
    let filter = Filter { client: Some(client.to_owned()), until: Some(now), limit: Some(CALLS), ..Filter::default() };
    let calls = admin.ledger.query(&filter).await.map(|page| page.events).unwrap_or_default();
    let calls: Vec<Value> = calls
        .iter()
        .map(|event| {
            json!({ "seq": event.seq, "at": event.ts, "kid": event.kid, "tool": event.tool, "server": event.server,
            "status": event.status, "remote": event.remote })
        })
        .collect();
    let keys: Vec<Value> = kids.iter().map(|kid| json!({ "kid": kid, "last_used": used.get(kid.as_str()) })).collect();
    json!({ "client": client, "keys": keys, "could": reach(before, digests, client), "last_calls": calls })
}

/// SHA-256 of definitions, by server and tool.
type Digests = std::collections::HashMap<(String, String), String>;

/// The definitions that were taken in, as the running revision has them.
async fn digests(admin: &Admin, before: &Snapshot) -> Digests {
    let Ok(tree) = tree::at(&admin.repository, &before.revision.commit).await else { return Digests::new() };
    let named = |(path, bytes): (&String, &Vec<u8>)| {
        let (server, _) = path.strip_prefix("tools/")?.split_once('/')?;
        let definition: Value = serde_json::from_slice(bytes).ok()?;
        Some(((server.to_owned(), definition["name"].as_str()?.to_owned()), hex(&sha256(bytes))))
    };
    tree.files.iter().filter_map(named).collect()
}

/// What a client could call, each with its class and the digest of the definition that was taken in.
fn reach(snapshot: &Snapshot, digests: &Digests, client: &str) -> Vec<Value> {
    let Some(entry) = snapshot.clients.get(client) else { return Vec::new() };
    let mut all = Vec::new();
    for (server, known) in &snapshot.servers {
        for tool in known.config.tools.keys() {
            if let Decision::Permit { grant, class } = decide(snapshot, entry, server, Asked::Tool(tool)) {
                let digest = digests.get(&(server.clone(), tool.clone()));
                all.push(json!({ "tool": format!("{server}/{tool}"), "class": class.word(), "grant": grant.as_ref(), "definition_sha256": digest }));
            }
        }
    }
    all
}
