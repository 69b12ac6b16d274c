//! What the proxy needs to give tokens and to check them: keys, digests of client secrets, cuts. Made whole from the credentials, replaced with
//! its snapshot. Never holds a secret of a client, and never judges a signature.

use std::collections::HashMap;
use std::sync::Arc;

use super::principal::{Issuer, Principal, Token};
use super::snapshot::Snapshot;
use crate::base::clock::Timestamp;
use crate::config::{ClientJwk, ConfigFault, Desired, IssuerConfig};
use crate::crypto::jwk::{Jwk, VerifyingKey};
use crate::crypto::jwt::SigningKey;

/// How long a token lives, in milliseconds (docs/CONTRACT.md, "Endpoints").
pub const LIFE_MS: i64 = 600_000;
/// How long an answer of `/oauth/jwks` may be kept, in seconds.
pub const JWKS_AGE: i64 = 300;
/// Characters of a thumbprint that name a key in the ledger: 132 bits.
const NAMED: usize = 22;

/// The key that signs now.
#[derive(Clone, Debug)]
pub struct Signer {
    /// Its public name.
    pub kid: Arc<str>,
    /// Its private half.
    pub key: SigningKey,
}

/// A key of this instance that is published.
#[derive(Clone, Debug)]
pub struct Published {
    /// Checks signatures.
    pub key: VerifyingKey,
    /// The same as it is published.
    pub jwk: Jwk,
}

/// A client secret that may be shown now. Revoked ones are not in a snapshot.
#[derive(Clone, Debug)]
pub struct SecretEntry {
    /// The public part of the secret.
    pub kid: Arc<str>,
    /// Whose it is.
    pub client: Arc<str>,
    /// SHA-256 of the whole text.
    pub hash: [u8; 32],
    /// When it stops counting; `None` means never.
    pub expires_at: Option<Timestamp>,
}

/// A public key that a client signs its assertions with.
#[derive(Clone, Debug)]
pub struct AssertionKey {
    /// What the ledger calls it: made of the key itself, so that no other key can take its name.
    pub id: Arc<str>,
    /// What the client calls it.
    pub kid: String,
    /// The key.
    pub key: VerifyingKey,
}

/// Every token that was issued at a moment or before it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cuts {
    /// For everybody.
    pub everyone: Option<Timestamp>,
    /// For one client.
    pub clients: HashMap<Arc<str>, Timestamp>,
}

impl Cuts {
    /// A cut of one client, or of everybody.
    pub fn one(client: Option<&str>, at: Timestamp) -> Self {
        match client {
            Some(client) => Self { everyone: None, clients: HashMap::from([(client.into(), at)]) },
            None => Self { everyone: Some(at), clients: HashMap::new() },
        }
    }

    /// The moment until which a client's tokens are over; none when all count.
    pub fn of(&self, client: &str) -> Option<Timestamp> {
        self.everyone.max(self.clients.get(client).copied())
    }

    /// Whether a token of a client that was issued then is over.
    pub fn end(&self, client: &str, issued_at: Timestamp) -> bool {
        self.of(client).is_some_and(|cut| issued_at <= cut)
    }

    /// When a token of a client counts as issued: now, and after what was cut.
    pub fn issue(&self, client: &str, now: Timestamp) -> Timestamp {
        self.of(client).map_or(now, |cut| now.max(cut.plus_ms(1)))
    }

    /// The moment of a new cut: now, and no earlier than what may have been issued since the last one.
    pub fn next(&self, client: Option<&str>, now: Timestamp) -> Timestamp {
        let last = match client {
            Some(client) => self.of(client),
            None => self.everyone.max(self.clients.values().max().copied()),
        };
        last.map_or(now, |cut| now.max(cut.plus_ms(1)))
    }

    /// These and others: a cut never moves back.
    pub fn and(&mut self, other: &Self) {
        self.everyone = self.everyone.max(other.everyone);
        for (client, before) in &other.clients {
            let kept = self.clients.entry(client.clone()).or_insert(*before);
            *kept = (*kept).max(*before);
        }
    }
}

impl Tokens {
    /// The answer of `/oauth/jwks`: every key that signs, signed or will sign tokens that count.
    pub fn jwks(&self) -> String {
        let mut keys: Vec<&Jwk> = self.verifiers.values().map(|published| &published.jwk).collect();
        keys.sort_unstable_by(|a, b| a.kid.cmp(&b.kid));
        serde_json::json!({ "keys": keys }).to_string()
    }
}

/// The state of tokens at one moment.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// Signs; without it no token can be had.
    pub signer: Option<Signer>,
    /// Keys whose tokens count: the current one, the one before until its last token has expired, and the next one.
    pub verifiers: HashMap<Arc<str>, Published>,
    /// Client secrets, by kid.
    pub secrets: HashMap<Arc<str>, SecretEntry>,
    /// What was cut.
    pub cuts: Cuts,
}

/// What the ledger calls a key of a client: `jwk-` and the beginning of its thumbprint.
pub fn jwk_id(jwk: &Jwk) -> String {
    let thumbprint = jwk.thumbprint();
    format!("jwk-{}", thumbprint.get(..NAMED).unwrap_or(&thumbprint))
}

/// A key of the configuration as the crypto layer takes it.
pub fn public_jwk(jwk: &ClientJwk) -> Jwk {
    let ClientJwk { kid, kty, crv, x, y, n, e, alg, usage } = jwk.clone();
    Jwk { kty, crv, x, y, n, e, alg, kid: Some(kid), usage }
}

/// The keys of every client; faults of those that are none.
pub(super) fn assertion_keys(desired: &Desired, faults: &mut Vec<ConfigFault>) -> HashMap<Arc<str>, Vec<AssertionKey>> {
    let mut all = HashMap::new();
    for (name, client) in &desired.clients {
        let mut keys = Vec::new();
        for jwk in &client.jwks {
            let public = public_jwk(jwk);
            match public.verifying() {
                Ok(key) => keys.push(AssertionKey { id: jwk_id(&public).into(), kid: jwk.kid.clone(), key }),
                Err(why) => {
                    let message = format!("jwk \"{}\": {why}", jwk.kid);
                    faults.push(ConfigFault { file: format!("clients/{name}.toml"), line: 0, message });
                }
            }
        }
        if !keys.is_empty() {
            all.insert(name.as_str().into(), keys);
        }
    }
    all
}

impl Snapshot {
    /// Takes credentials out, by kid: keys, client secrets, clients' public keys and keys that sign tokens.
    pub fn without(&mut self, gone: impl Fn(&str) -> bool) {
        self.keys.retain(|kid, _| !gone(kid));
        if self.tokens.secrets.keys().chain(self.tokens.verifiers.keys()).any(|kid| gone(kid)) {
            let tokens = Arc::make_mut(&mut self.tokens);
            tokens.secrets.retain(|kid, _| !gone(kid));
            tokens.verifiers.retain(|kid, _| !gone(kid));
            tokens.signer = tokens.signer.take().filter(|signer| !gone(&signer.kid));
        }
        for keys in self.assertions.values_mut() {
            keys.retain(|key| !gone(&key.id));
        }
        self.assertions.retain(|_, keys| !keys.is_empty());
    }

    /// Every credential of clients, by kid.
    pub fn kids(&self) -> impl Iterator<Item = &Arc<str>> {
        let assertions = self.assertions.values().flatten().map(|key| &key.id);
        self.keys.keys().chain(self.tokens.secrets.keys()).chain(assertions)
    }

    /// Credentials of one client, by kid.
    pub fn kids_of(&self, client: &str) -> Vec<String> {
        let keys = self.keys.values().filter(|key| key.client.as_ref() == client).map(|key| &key.kid);
        let secrets = self.tokens.secrets.values().filter(|secret| secret.client.as_ref() == client).map(|secret| &secret.kid);
        let assertions = self.assertions.get(client).into_iter().flatten().map(|key| &key.id);
        keys.chain(secrets).chain(assertions).map(|kid| kid.to_string()).collect()
    }

    /// Whether a principal still is one: its client is there, and so is the credential it showed or got its token for.
    ///
    /// # Errors
    /// The slug that says why not.
    pub fn counts(&self, principal: &Principal, now: Timestamp) -> Result<(), &'static str> {
        if principal.canary.is_some() {
            return Ok(());
        }
        if !self.clients.contains_key(&principal.client) {
            return Err("auth.unknown");
        }
        match &principal.token {
            Some(token) => self.token_counts(principal, token, now),
            None => {
                let key = self.keys.get(&principal.kid).ok_or("auth.unknown")?;
                in_time(key.expires_at, now)
            }
        }
    }

    // What was revoked is told before what has expired: a call under way outlives the one, not the other.
    fn token_counts(&self, principal: &Principal, token: &Token, now: Timestamp) -> Result<(), &'static str> {
        self.not_revoked(principal, token, now)?;
        in_time(Some(token.expires_at), now)
    }

    fn not_revoked(&self, principal: &Principal, token: &Token, now: Timestamp) -> Result<(), &'static str> {
        if self.tokens.cuts.end(&principal.client, token.issued_at) {
            return Err("auth.revoked");
        }
        match &token.issuer {
            Issuer::Own { key } => {
                if !self.tokens.verifiers.contains_key(key) {
                    return Err("auth.revoked");
                }
                match self.tokens.secrets.get(&principal.kid) {
                    Some(secret) => in_time(secret.expires_at, now),
                    None => self.asserts(principal).then_some(()).ok_or("auth.revoked"),
                }
            }
            // Whether its key still counts is known where keys are fetched.
            Issuer::External(foreign) => {
                let still = |config: &IssuerConfig| {
                    (&config.name, &config.issuer, &config.client_claim) == (&foreign.name, &foreign.issuer, &foreign.claim)
                        && config.client(&foreign.value) == Some(principal.client.as_ref())
                };
                self.settings.issuers.iter().any(still).then_some(()).ok_or("auth.revoked")
            }
        }
    }

    fn asserts(&self, principal: &Principal) -> bool {
        let keys = self.assertions.get(&principal.client).map_or(&[][..], Vec::as_slice);
        keys.iter().any(|key| key.id == principal.kid)
    }
}

fn in_time(end: Option<Timestamp>, now: Timestamp) -> Result<(), &'static str> {
    if end.is_some_and(|end| end <= now) { Err("auth.expired") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_outlives_a_cut_after_it_or_dies_by_one_before_it() {
        // Everything within one millisecond, and then with a clock that goes back.
        for now in [Timestamp(1_000), Timestamp(400)] {
            let mut cuts = Cuts::default();
            let mut given = vec![("a", cuts.issue("a", Timestamp(1_000))), ("b", cuts.issue("b", Timestamp(1_000)))];
            for cut in [Some("a"), None, Some("b"), Some("a"), None] {
                let at = cuts.next(cut, if given.len() == 2 { Timestamp(1_000) } else { now });
                cuts.and(&Cuts::one(cut, at));
                let over = |client: &str| cut.is_none_or(|cut| cut == client);
                for (client, issued) in &given {
                    assert!(!over(client) || cuts.end(client, *issued), "{client} {issued:?} outlives {cut:?} {at:?}");
                }
                for client in ["a", "b"] {
                    let issued = cuts.issue(client, now);
                    assert!(!cuts.end(client, issued), "{client} {issued:?} dies by what was cut before it: {cuts:?}");
                    given.push((client, issued));
                }
            }
        }
    }
}
