//! Secrets of clients and the key that signs tokens, with the whole app: replaced while clients get tokens and call with them, proved under traffic, and ended
//! at once.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lifeboat::config::Class;
use lifeboat::policy::Principal;
use lifeboat::policy::principal::Canary;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::oauth::{Sea, basic};
use crate::rotation::{say, state_of, until};
use crate::support::wire::Reply;

const SECRET: &str = "/api/v1/credentials/client-secret/bot";
const KEY: &str = "/api/v1/credentials/token-key/oauth";

async fn ask(sea: &Sea, secret: &str) -> Reply {
    let fields = [("grant_type", "client_credentials"), ("resource", &sea.resource()), ("scope", "tools:read")];
    sea.post("/oauth/token", &[("Authorization", &basic("bot", secret))], &fields).await
}

fn token_of(reply: &Reply) -> String {
    reply.json()["access_token"].as_str().unwrap_or_default().to_owned()
}

/// The key that signed a token.
fn kid_of(token: &str) -> String {
    use base64::Engine;
    let head = token.split('.').next().expect("a head");
    let head = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(head).expect("base64url");
    serde_json::from_slice::<Value>(&head).expect("JSON")["kid"].as_str().expect("a kid").to_owned()
}

async fn published(sea: &Sea) -> Vec<String> {
    let keys = sea.app.bare("GET", "/oauth/jwks", &[], b"").await.json();
    keys["keys"].as_array().expect("keys").iter().map(|key| key["kid"].as_str().expect("a kid").to_owned()).collect()
}

/// Clients that get tokens with the secret they hold, and call with each for a while.
struct Clients {
    held: watch::Sender<String>,
    stop: Arc<AtomicBool>,
    made: Arc<AtomicUsize>,
    failed: Arc<std::sync::Mutex<Vec<String>>>,
    loops: Vec<JoinHandle<()>>,
}

impl Clients {
    fn start(sea: &Arc<Sea>, calls_each: u32) -> Self {
        let held = watch::Sender::new(sea.secret.clone());
        let (stop, made, failed): (Arc<AtomicBool>, Arc<AtomicUsize>, Arc<std::sync::Mutex<Vec<String>>>) = Default::default();
        let loops = (0..6).map(|_| {
            let (sea, held, stop, made, failed) = (sea.clone(), held.subscribe(), stop.clone(), made.clone(), failed.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let secret = held.borrow().clone();
                    let given = ask(&sea, &secret).await;
                    let token = token_of(&given);
                    if given.status != 200 {
                        failed.lock().expect("not poisoned").push(format!("token: {} {}", given.status, given.json()));
                    }
                    for _ in 0..calls_each {
                        let reply = sea.call(&token, "echo").await;
                        made.fetch_add(1, Ordering::SeqCst);
                        if (reply.status, reply.code()) != (200, 0) {
                            failed.lock().expect("not poisoned").push(format!("call: {} {}", reply.status, reply.json()));
                        }
                        tokio::time::sleep(Duration::from_millis(40)).await;
                    }
                }
            })
        });
        let loops = loops.collect();
        Self { held, stop, made, failed, loops }
    }

    /// How many calls were made, and what failed.
    async fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        for one in self.loops {
            one.await.expect("no client broke");
        }
        let failed = self.failed.lock().expect("not poisoned").clone();
        (self.made.load(Ordering::SeqCst), failed)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_secret_is_replaced_under_load_and_nobody_is_refused() {
    let sea = Arc::new(Sea::start().await);
    say(&sea.app, "[[credential]]\nname = \"client-secret/*\"\nquiet_seconds = 1\n").await;
    let clients = Clients::start(&sea, 8);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let rotated = sea.app.api("POST", &format!("{SECRET}/rotate"), json!({"overlap": "1h"})).await;
    assert_eq!((&rotated["state"], &rotated["hold"]), (&json!("draining"), &Value::Null), "{rotated}");
    let fetched = sea.app.api("POST", &format!("{SECRET}/fetch"), Value::Null).await;
    let new = fetched["secret"].as_str().expect("shown once").to_owned();
    assert_eq!((ask(&sea, &sea.secret).await.status, ask(&sea, &new).await.status), (200, 200), "both count");
    let place = sea.app.api("GET", SECRET, Value::Null).await["places"][0].clone();
    assert_eq!(place["place"], json!("127.0.0.1"), "{place}");
    // A token that the old secret got lives as long as the secret does.
    let last = token_of(&ask(&sea, &sea.secret).await);
    clients.held.send_replace(new.clone());
    let done = until(&sea.app, SECRET, "done").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (made, failed) = clients.end().await;
    assert!(failed.is_empty() && made > 100, "{} of {made}: {:?}", failed.len(), failed.first());
    let refused = ask(&sea, &sea.secret).await;
    assert_eq!((refused.status, &refused.json()["error"]), (401, &json!("invalid_client")));
    assert_eq!((sea.call(&last, "echo").await.status, ask(&sea, &new).await.status), (401, 200));
    let steps = sea.app.api("GET", SECRET, Value::Null).await["steps"].clone();
    let seen = |step: &str| {
        let steps = steps.as_array().expect("steps").iter();
        steps.clone().find(|taken| taken["step"] == step && taken["outcome"] == "done").expect(step)["evidence"].clone()
    };
    assert_eq!(seen("verify")["listeners"][0]["called"], json!("up/echo"), "{steps}");
    let proof = seen("prove");
    assert_eq!((&proof["accepted"][0]["status"], &proof["rejected"][0]["status"]), (&json!(200), &json!(401)), "{proof}");
    assert_eq!(proof["window"]["new"]["refused"], 0, "{proof}");
    let kids: Vec<Value> = sea.app.events("client=bot&limit=1000").await.iter().map(|event| event["kid"].clone()).collect();
    for kid in [&done["old"][0], &done["new"]] {
        assert!(kids.contains(kid), "{kid} is in the ledger");
    }
    assert!(!sea.app.ledger_text().contains(new.split('_').nth(2).expect("a secret")), "the secret is not");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_that_signs_tokens_is_replaced_under_live_tokens_and_none_is_refused() {
    let sea = Arc::new(Sea::start().await);
    let before = sea.token("tools:read").await;
    let old = kid_of(&before);
    let clients = Clients::start(&sea, 25);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let rotated = sea.app.api("POST", &format!("{KEY}/rotate"), json!({"force": true})).await;
    assert_eq!((&rotated["state"], &rotated["hold"]), (&json!("draining"), &Value::Null), "{rotated}");
    assert!(rotated["next"].as_str().is_some_and(|next| next.contains("last token has expired")), "{rotated}");
    let new = rotated["new"].as_str().expect("a kid").to_owned();
    let after = sea.token("tools:read").await;
    assert_eq!(kid_of(&after), new, "it signs at once");
    let mut known = published(&sea).await;
    known.sort();
    let mut both = vec![old.clone(), new.clone()];
    both.sort();
    assert_eq!(known, both);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let (made, failed) = clients.end().await;
    assert!(failed.is_empty() && made > 100, "{} of {made}: {:?}", failed.len(), failed.first());
    assert_eq!(sea.call(&before, "echo").await.code(), 0, "a token of the old key lives on");
    let ended = sea.app.api("POST", &format!("{KEY}/order"), json!({"order": "retire"})).await;
    assert_eq!(ended["state"], "done", "{ended}");
    assert_eq!((sea.call(&before, "echo").await.status, sea.call(&after, "echo").await.code()), (401, 0));
    assert_eq!(published(&sea).await, [new]);
    let steps = sea.app.api("GET", KEY, Value::Null).await["steps"].clone();
    let proof = steps.as_array().expect("steps").iter().find(|step| step["step"] == "prove").expect("proved")["evidence"].clone();
    assert_eq!((&proof["accepted"][0]["status"], &proof["rejected"][0]["status"]), (&json!(200), &json!(401)), "{proof}");
    let canaries = sea.app.events("limit=200").await;
    assert!(canaries.iter().any(|event| event["action"] == "credential.canary"), "each proof is in the ledger");
    assert!(!sea.app.ledger_text().contains("eyJ"), "no token is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_key_does_not_sign_before_all_may_know_it_and_says_when() {
    let sea = Sea::start().await;
    let old = kid_of(&sea.token("tools:read").await);
    let rotated = sea.app.api("POST", &format!("{KEY}/rotate"), json!({})).await;
    assert_eq!((&rotated["state"], &rotated["hold"]), (&json!("verified"), &Value::Null), "{rotated}");
    let shown = sea.app.api("GET", KEY, Value::Null).await;
    let next = &shown["credential"]["versions"][0];
    assert_eq!((&next["state"], &next["activates_at"]), (&json!("next"), &rotated["next_try_at"]), "{shown}");
    assert_eq!(shown["credential"]["state"], "rotating");
    assert_eq!((kid_of(&sea.token("tools:read").await), published(&sea).await.len()), (old.clone(), 2));
    let back = sea.app.api("POST", &format!("{KEY}/order"), json!({"order": "rollback"})).await;
    assert_eq!((&back["state"], published(&sea).await), (&json!("rolled_back"), vec![old]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_under_traffic_changes_the_signing_key_and_a_secret_and_nobody_notices() {
    let sea = Sea::start().await;
    let old = kid_of(&sea.token("tools:read").await);
    let signed = sea.app.api("POST", "/api/v1/credential-proofs", json!({"all": true, "seconds": 5, "rate": 60})).await;
    assert_eq!((&signed["passed"], &signed["traffic"]["failed"]), (&json!(true), &json!(0)), "{signed}");
    assert_eq!(signed["traffic"]["moved"], json!(8), "{signed}");
    assert!(signed["traffic"]["tokens"].as_u64().is_some_and(|tokens| tokens >= 8), "{signed}");
    let sides = (&signed["secret_accepted"][0]["status"], &signed["secret_rejected"][0]["status"]);
    assert_eq!(sides, (&json!(200), &json!(401)), "{signed}");
    let named = |name: &str| signed["credentials"].as_array().expect("all").iter().find(|one| one["name"] == name).cloned();
    let key = named("token-key/oauth").expect("rotated");
    assert_eq!((&key["state"], &key["passed"]), (&json!("draining"), &json!(true)), "{key}");
    assert!(key["said"].as_str().is_some_and(|said| said.contains("without the five minutes")), "{key}");
    assert_ne!(kid_of(&sea.token("tools:read").await), old);
    assert_eq!(named("client-secret/lifeboat-proof").expect("the proof's own")["state"], "done", "{signed}");
    let secret = named("client-secret/bot").expect("begun");
    let file = std::path::PathBuf::from(secret["file"].as_str().expect("a file"));
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    let new = std::fs::read_to_string(&file).expect("a secret").trim().to_owned();
    assert_eq!((ask(&sea, &new).await.status, ask(&sea, &sea.secret).await.status), (200, 200), "both count");
    let secrets = sea.app.api("GET", "/api/v1/client-secrets", Value::Null).await.to_string();
    assert!(!secrets.contains("lifeboat-proof"), "nothing of the proof's own client is left: {secrets}");
    // The next one leaves the key alone that goes on by itself.
    let again = sea.app.api("POST", "/api/v1/credential-proofs", json!({"all": true, "seconds": 3, "rate": 40})).await;
    let key =
        again["credentials"].as_array().expect("all").iter().find(|one| one["name"] == "token-key/oauth").expect("named").clone();
    assert_eq!((&key["state"], &key["passed"]), (&json!("skipped"), &json!(true)), "{key}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_for_a_key_or_a_secret_is_nothing_by_itself_and_counts_once() {
    let sea = Sea::start().await;
    let (signer, feed) = (sea.signer(), sea.app.app.admin().feed.clone());
    let admit = |client: &str, kid: &str| {
        let canary = Some(Canary { class: Class::Read, stands_for: Some(kid.into()) });
        feed.admit_canary("lbc_guess".into(), Principal { client: client.into(), kid: kid.into(), token: None, canary });
    };
    let mut claims = sea.claims();
    claims["credential"] = json!("lbc_guess");
    let token = signer.key.sign(("at+jwt", &signer.kid), &claims).expect("signed");
    sea.app.upstream.forget();
    assert_eq!(sea.call(&token, "echo").await.status, 401, "a right signature that names nobody");
    for other in ["another-key", &sea.kid] {
        admit("canary", other);
        assert_eq!(sea.call(&token, "echo").await.status, 401, "it stands for {other}");
    }
    admit("bot", &signer.kid);
    let reply = sea.call(&token, "echo").await;
    assert_eq!((reply.status, reply.reason().as_str()), (200, "policy.no_grant"), "let in, and stopped: {}", reply.json());
    assert_eq!(sea.call(&token, "echo").await.status, 401, "once");
    admit("bot", &sea.kid);
    let reply = ask(&sea, "lbc_guess").await;
    assert_eq!((reply.status, reply.json()), (200, json!({"stands_for": sea.kid})), "no token");
    assert_eq!(ask(&sea, "lbc_guess").await.status, 401, "once");
    admit("bot", &sea.kid);
    assert_eq!(sea.call("lbc_guess", "echo").await.status, 401, "a secret is for the token endpoint alone");
    admit("bot", "another-secret");
    assert_eq!(ask(&sea, "lbc_guess").await.json()["error"], "invalid_client");
    assert_eq!(sea.app.upstream.hits().len(), 0, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaked_ends_within_100_ms_with_every_token_of_it() {
    let sea = Arc::new(Sea::start().await);
    let token = sea.token("tools:read").await;
    // The last call that was accepted, by when it was sent.
    let (begun, last, stop) = (Instant::now(), Arc::new(std::sync::Mutex::new(Duration::ZERO)), Arc::new(AtomicBool::new(false)));
    let calls = {
        let (sea, token, last, stop) = (sea.clone(), token.clone(), last.clone(), stop.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let sent = begun.elapsed();
                if sea.call(&token, "echo").await.status == 200 {
                    *last.lock().expect("not poisoned") = sent;
                }
            }
        })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    let ordered = begun.elapsed();
    let done = sea.app.api("POST", "/api/v1/credential-revoke", json!({"name": "token-key/oauth", "reason": "leaked"})).await;
    assert_eq!((&done["keys"], &done["open"]), (&json!([kid_of(&token)]), &json!([])), "{done}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::SeqCst);
    calls.await.expect("the loop did not break");
    let late = last.lock().expect("not poisoned").saturating_sub(ordered);
    assert!(late < Duration::from_millis(100), "a call was accepted {late:?} after the order");
    let again = sea.token("tools:read").await;
    assert_ne!(kid_of(&again), kid_of(&token));
    assert_eq!((sea.call(&again, "echo").await.code(), sea.call(&token, "echo").await.status), (0, 401));
    let done = sea.app.api("POST", "/api/v1/credential-revoke", json!({"name": "client-secret/bot", "reason": "leaked"})).await;
    assert_eq!((&done["keys"], &done["open"]), (&json!([sea.kid]), &json!([])), "{done}");
    assert_eq!((sea.call(&again, "echo").await.status, ask(&sea, &sea.secret).await.status), (401, 401));
    let row = sea.app.api("GET", SECRET, Value::Null).await["credential"].clone();
    assert_eq!(row["state"], "missing", "{row}");
    // And a rotation brings service back.
    let back = sea.app.api("POST", &format!("{SECRET}/rotate"), json!({"reason": "leak", "fetch": true})).await;
    assert_eq!(ask(&sea, back["secret"].as_str().expect("shown once")).await.status, 200);
    assert_eq!(state_of(&sea.app, SECRET).await["state"], "done");
}
