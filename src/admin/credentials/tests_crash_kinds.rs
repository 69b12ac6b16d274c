//! A process that dies at any moment of a rotation in which others have a part: a client that gets tokens, whoever keeps a token, a receiver of alerts, and
//! whoever holds the identity that opens archives.

use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::canary::Target;
use super::machine::{Hold, State};
use super::observer::{Observer, Point};
use super::tests_crash::{Case, check, dies_everywhere, house};
use super::*;
use crate::admin::alerts::receivers::{AddReceiver, add as add_receiver};
use crate::admin::alerts::tests_receiver::Receiver;
use crate::admin::alerts::{Signing, trial};
use crate::admin::tests_house::{House, root};
use crate::admin::vaults::{self, BackupOrder, ProveRecipient, RestoreOrder};
use crate::admin::{clients, tokens};
use crate::crypto::archive::{Ephemeral, Identities};

/// A secret of the client `ci`; in the end the one that is handed over gets a token.
pub(super) struct OfClient;

pub(super) async fn with_secret(house: &House) {
    clients::secret_add(&house.admin, &root(), "ci", &clients::AddSecret::default()).await.unwrap();
}

impl Case for OfClient {
    async fn name(&self, _: &Admin) -> String {
        "client-secret/ci".to_owned()
    }

    async fn check(&self, house: &House, name: &str, row: &Rotation, at: Option<Point>) {
        let admin = &house.admin;
        check(admin, name, row, at).await;
        let running = admin.feed.snapshot().tokens.secrets.keys().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(Some(&running[..]), row.new.as_ref().map(std::slice::from_ref), "died at {at:?}");
        let secret = Secret::new(fetch(admin, &root(), name).await.unwrap().secret);
        let listener = admin.feed.listeners().remove(0);
        let target = Target { server: "demo".into(), tool: None };
        let given = grants::ask(admin, &listener, &target, ("ci", &secret)).await;
        assert_eq!(given.unwrap().expires_in, 600, "died at {at:?}");
    }
}

/// The key that signs tokens; in the end there is one, and a token of the old one is refused.
pub(super) struct OfTokens;

impl Case for OfTokens {
    async fn name(&self, _: &Admin) -> String {
        "token-key/oauth".to_owned()
    }

    async fn check(&self, house: &House, name: &str, row: &Rotation, at: Option<Point>) {
        let admin = &house.admin;
        check(admin, name, row, at).await;
        let tokens = admin.feed.snapshot().tokens.clone();
        let published: Vec<String> = tokens.verifiers.keys().map(ToString::to_string).collect();
        let signs = tokens.signer.as_ref().map(|signer| signer.kid.to_string());
        assert_eq!((&published[..], &signs), (std::slice::from_ref(row.new.as_ref().unwrap()), &row.new), "died at {at:?}");
        assert!(row.sealed.is_none(), "neither key nor token stays, died at {at:?}");
        let steps = store::steps(&admin.db, &row.id).await.unwrap();
        let proof = &steps.iter().rfind(|step| step.step == "prove").unwrap().evidence;
        let sides = (&proof["accepted"][0]["status"], &proof["rejected"][0]["status"]);
        assert_eq!(sides, (&json!(200), &json!(401)), "died at {at:?}: {proof}");
        let live = tokens::list(admin, &root()).await.unwrap().keys.into_iter().filter(|key| key.state != "retired").count();
        assert_eq!(live, 1, "died at {at:?}");
    }
}

/// What signs the notices to a receiver, which really gets them; in the end the new secret alone signs.
struct OfReceiver {
    receiver: Receiver,
    before: Mutex<String>,
}

impl Case for OfReceiver {
    async fn name(&self, _: &Admin) -> String {
        "webhook/pager".to_owned()
    }

    async fn check(&self, house: &House, name: &str, row: &Rotation, at: Option<Point>) {
        let admin = &house.admin;
        check(admin, name, row, at).await;
        let secret = fetch(admin, &root(), name).await.unwrap().secret;
        assert!(trial(admin, "pager", Signing::Both).await.unwrap().ok, "died at {at:?}");
        let hit = self.receiver.hits().pop().unwrap();
        let before = std::mem::replace(&mut *self.before.lock().unwrap(), secret.clone());
        assert!(hit.is_signed_by(&secret) && !hit.is_signed_by(&before), "died at {at:?}");
    }
}

/// Who can open archives, with identities that really open them.
struct OfArchives {
    now: Mutex<Ephemeral>,
    next: Mutex<Ephemeral>,
}

impl OfArchives {
    /// Shows that the new identity is at hand.
    async fn prove(&self, admin: &Admin, name: &str) {
        let asked = vaults::prove(admin, &root(), name, ProveRecipient::default()).await.unwrap();
        let sealed = BASE64.decode(asked.challenge.unwrap()).unwrap();
        let identity = self.next.lock().unwrap().text();
        let word = crate::crypto::recovery::decrypt(&identity, &sealed).unwrap();
        let answer = ProveRecipient { answer: Some(word.reveal().clone()) };
        assert!(vaults::prove(admin, &root(), name, answer).await.unwrap().proved);
    }

    /// Whether an identity opens the newest archive of a vault, whatever else this host keeps.
    async fn opens(&self, admin: &Admin, identity: &Secret<String>) -> bool {
        let (folder, found) = vaults::destination(admin).await.unwrap();
        let note = found.archives.iter().filter(|note| note.vault == "notes").max_by_key(|note| note.seq).unwrap();
        let identities = Identities::read(std::slice::from_ref(identity)).unwrap();
        vaults::catalogue::extract(&folder, note, &identities, &mut ()).is_ok()
    }
}

/// It is looked at again at once.
async fn at_once(admin: &Admin, id: &str) {
    let mut held = work::hold(admin, id).await.unwrap();
    (held.row.hold, held.row.why, held.row.next_try_at) = (None, None, None);
    held.end(Ok(("resume", Value::Null))).await.unwrap();
}

impl Case for OfArchives {
    async fn name(&self, admin: &Admin) -> String {
        let there = vaults::list_recipients(admin, &root()).await.unwrap().recipients;
        assert_eq!(there.len(), 1, "{there:?}");
        format!("recipient/{}", there[0].name)
    }

    async fn begin(&self, admin: &Admin, name: &str, _: usize) -> Rotation {
        let row = begin(admin, &root(), name, &RotateOrder::default()).await.unwrap();
        let next = Ephemeral::generate();
        let value = Kept { secret: Some(next.recipient()), old: None };
        *self.next.lock().unwrap() = next;
        let mut held = work::hold(admin, &row.id).await.unwrap();
        held.row.sealed = value.seal(admin, &row.id).unwrap();
        held.end(Ok(("supply", Value::Null))).await.unwrap();
        row
    }

    async fn go(&self, admin: &Admin, id: &str, observer: &dyn Observer) -> Verb<Rotation> {
        loop {
            let row = work::drive(admin, id, observer).await?;
            match (row.state, row.hold) {
                (State::Installed, Some(Hold::Failed)) => self.prove(admin, row.facts["called"].as_str().unwrap()).await,
                (State::Draining, None) => {
                    assert!(vaults::run(admin, &root(), BackupOrder::default()).await.unwrap().ok);
                }
                _ => return Ok(row),
            }
            at_once(admin, id).await;
        }
    }

    async fn check(&self, house: &House, _: &str, row: &Rotation, at: Option<Point>) {
        let admin = &house.admin;
        check(admin, &self.name(admin).await, row, at).await;
        assert!(vaults::run(admin, &root(), BackupOrder { vault: Some("notes".into()) }).await.unwrap().ok);
        let new = std::mem::replace(&mut *self.next.lock().unwrap(), Ephemeral::generate());
        let old = std::mem::replace(&mut *self.now.lock().unwrap(), new);
        let new = self.now.lock().unwrap().text();
        assert!(self.opens(admin, &new).await && !self.opens(admin, &old.text()).await, "died at {at:?}");
        let to = house.path().join(format!("back-{}", row.id));
        let order = RestoreOrder {
            archive: "latest:notes".into(),
            to: to.display().to_string(),
            identity: Some(new),
            ..RestoreOrder::default()
        };
        vaults::restore(admin, &root(), order).await.unwrap();
        assert_eq!(std::fs::read_to_string(to.join("memory.jsonl")).unwrap(), "one\ntwo\n", "died at {at:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_client_secret_survives_a_death_at_every_moment() {
    let house = house().await;
    with_secret(&house).await;
    dies_everywhere(house, &OfClient).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_token_signing_key_survives_a_death_at_every_moment() {
    dies_everywhere(house().await, &OfTokens).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_secret_of_a_receiver_survives_a_death_at_every_moment() {
    let (house, receiver) = (house().await, Receiver::start().await);
    let order = AddReceiver {
        name: "pager".into(),
        url: receiver.url(),
        plain_loopback: true,
        ca: Some(receiver.ca()),
        ..AddReceiver::default()
    };
    let made = add_receiver(&house.admin, &root(), order).await.unwrap();
    dies_everywhere(house, &OfReceiver { receiver, before: Mutex::new(made.secret) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_a_recipient_survives_a_death_at_every_moment_and_its_identity_opens_archives() {
    let (house, _, identity) = vaults::tests::house().await;
    house.listen("proxy").await;
    dies_everywhere(house, &OfArchives { now: Mutex::new(identity), next: Mutex::new(Ephemeral::generate()) }).await;
}
