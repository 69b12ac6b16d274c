//! Cases of what clients show at the token endpoint: a secret once, several at a time, public keys, all of it ended at once.

use super::{AddJwk, AddSecret, jwk_add, jwk_remove, secret_add, secret_list, secret_revoke};
use crate::admin::OperatorRole;
use crate::admin::clients::{AddClient, add, revoke, show};
use crate::admin::tests_house::{House, operator, root};
use crate::base::fault::FaultKind;
use crate::crypto::jwt::SigningKey;
use crate::crypto::keys::{self, KeyPrefix};

fn client(name: &str) -> AddClient {
    AddClient { name: name.into(), roles: vec!["demo".into()], oauth: true, ..AddClient::default() }
}

fn counts(house: &House, kid: &str) -> bool {
    house.admin.feed.snapshot().kids().any(|known| known.as_ref() == kid)
}

fn jwk() -> String {
    serde_json::to_string(&SigningKey::generate().unwrap().public).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_secret_has_no_key_and_only_its_hash_outlives_it() {
    let house = House::open().await;
    let admin = &house.admin;
    let made = add(admin, &root(), client("ci")).await.unwrap();
    let secret = made.secret.unwrap();
    assert_eq!((made.key, made.client_id.as_deref()), (None, Some("ci")));
    let shown = keys::parse(&secret).unwrap();
    assert_eq!((shown.prefix, shown.kid), (KeyPrefix::Secret, made.kid.as_str()));
    let snapshot = admin.feed.snapshot();
    assert!(keys::same(&snapshot.tokens.secrets[made.kid.as_str()].hash, &shown.hash) && snapshot.keys.is_empty());
    let second = secret_add(admin, &root(), "ci", &AddSecret { expires_days: Some(7) }).await.unwrap();
    assert!(counts(&house, &made.kid) && counts(&house, &second.kid), "both count");
    assert_eq!(secret_list(admin, &operator(OperatorRole::Viewer), Some("ci")).await.unwrap().secrets.len(), 2);
    assert_eq!(secret_list(admin, &root(), Some("other")).await.unwrap().secrets.len(), 0);
    secret_revoke(admin, &operator(OperatorRole::Operator), &made.kid).await.unwrap();
    assert!(!counts(&house, &made.kid) && counts(&house, &second.kid));
    assert_eq!(secret_revoke(admin, &root(), &made.kid).await.unwrap_err().kind, FaultKind::NotFound, "it counts no more");
    assert_eq!(show(admin, &root(), "ci").await.unwrap().state, "active");
    let refused = async |name: &str, days| {
        secret_add(admin, &root(), name, &AddSecret { expires_days: days }).await.map(|_| ()).unwrap_err().kind
    };
    assert_eq!((refused("ghost", None).await, refused("ci", Some(0)).await), (FaultKind::NotFound, FaultKind::Invalid));
    let denied = secret_add(admin, &operator(OperatorRole::Operator), "ci", &AddSecret::default()).await;
    assert_eq!(denied.map(|_| ()).unwrap_err().kind, FaultKind::Denied);
    for entry in std::fs::read_dir(house.path()).unwrap().flatten().filter(|entry| entry.path().is_file()) {
        let bytes = std::fs::read(entry.path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{:?}", entry.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_key_is_registered_once_and_removed_for_good() {
    let house = House::open().await;
    let admin = &house.admin;
    add(admin, &root(), client("ci")).await.unwrap();
    let text = jwk();
    let key = jwk_add(admin, &root(), "ci", &AddJwk { jwk: text.clone() }).await.unwrap();
    assert!(counts(&house, &key.id) && key.algorithms == ["ES256"]);
    assert!(key.id.starts_with("jwk-") && key.kid.starts_with(&key.id[4..]), "both are made of the key itself: {key:?}");
    let again = async || jwk_add(admin, &root(), "ci", &AddJwk { jwk: text.clone() }).await.map(|_| ()).unwrap_err().kind;
    assert_eq!(again().await, FaultKind::Conflict);
    let removed = jwk_remove(admin, &operator(OperatorRole::Operator), "ci", &key.kid).await.unwrap();
    assert!(!counts(&house, &key.id) && removed.id == key.id);
    assert_eq!(again().await, FaultKind::Conflict, "it cannot come back");
    // A hand that writes it into the file again changes nothing.
    let path = admin.data.config().join("clients/ci.toml");
    let members: serde_json::Value = serde_json::from_str(&text).unwrap();
    let member = |name: &str| members[name].as_str().unwrap().to_owned();
    let entry =
        format!("\n[[jwk]]\nkid = \"k\"\nkty = \"EC\"\ncrv = \"P-256\"\nx = \"{}\"\ny = \"{}\"\n", member("x"), member("y"));
    std::fs::write(&path, std::fs::read_to_string(&path).unwrap() + &entry).unwrap();
    let order = crate::admin::revisions::CommitOrder { author: None, message: "bring it back".into() };
    crate::admin::revisions::commit(admin, &root(), order).await.unwrap();
    assert!(!counts(&house, &key.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_public_key_is_refused_with_what_is_wrong() {
    let house = House::open().await;
    add(&house.admin, &root(), client("ci")).await.unwrap();
    let mut private: serde_json::Value = serde_json::from_str(&jwk()).unwrap();
    private["d"] = "c2VjcmV0".into();
    for (text, why) in [
        (private.to_string(), "private"),
        ("{}".to_owned(), "no JSON Web Key"),
        ("not json".to_owned(), "no JSON Web Key"),
        (r#"{"kty":"oct","k":"AAAA"}"#.to_owned(), "private"),
        (r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#.to_owned(), "no point"),
        (r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#.to_owned(), "EC P-256"),
    ] {
        let fault = jwk_add(&house.admin, &root(), "ci", &AddJwk { jwk: text.clone() }).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Invalid, "{text}");
        assert!(fault.message.contains(why), "{text}: {fault}");
        assert!(!fault.message.contains("c2VjcmV0"), "a fault never repeats what was pasted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_a_client_ends_all_that_it_shows() {
    let house = House::open().await;
    let admin = &house.admin;
    let made = add(admin, &root(), client("ci")).await.unwrap();
    let key = jwk_add(admin, &root(), "ci", &AddJwk { jwk: jwk() }).await.unwrap();
    let done = revoke(admin, &operator(OperatorRole::Operator), "ci").await.unwrap();
    assert_eq!(done.kids, std::slice::from_ref(&made.kid));
    assert!(!counts(&house, &made.kid) && !counts(&house, &key.id));
    assert_eq!(show(admin, &root(), "ci").await.unwrap().state, "revoked");
    // A client of that name begins anew.
    let again = add(admin, &root(), client("ci")).await.unwrap();
    assert!(counts(&house, &again.kid) && !counts(&house, &made.kid));
}
