//! Keys of issuers elsewhere: found by their metadata, kept for ten minutes, asked for once a minute at most whatever tokens are shown, by one at
//! a time. A key that its issuer takes back stops counting with the next look; keys that nobody could look at for an hour stop too. Never goes
//! where the settings do not lead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Response;
use serde::Deserialize;
use tokio::time::{Instant, timeout};

use crate::config::IssuerConfig;
use crate::crypto::jwk::{Jwk, VerifyingKey};
use crate::web::outbound::{self, Lookup};

const FRESH: Duration = Duration::from_secs(600);
const OLDEST: Duration = Duration::from_secs(3_600);
const BETWEEN: Duration = Duration::from_secs(60);
/// For metadata and keys together.
const PATIENCE: Duration = Duration::from_secs(10);
const LARGEST: usize = 256 * 1_024;
const MOST_KEYS: usize = 64;

/// A key of an issuer.
#[derive(Clone, Debug)]
pub(super) struct IssuerKey {
    /// What the issuer calls it.
    pub kid: Option<String>,
    /// What it is.
    pub thumbprint: Arc<str>,
    /// Checks signatures.
    pub key: VerifyingKey,
}

#[derive(Default)]
struct Known {
    /// The issuer that these keys are of: another URL under the same name is another issuer.
    issuer: String,
    keys: Vec<IssuerKey>,
    fetched: Option<Instant>,
    tried: Option<Instant>,
    /// Keys beyond the most that are kept, at the last look.
    beyond: usize,
}

/// What an issuer publishes: the keys that are kept, and how many more can be used.
struct Seen {
    keys: Vec<IssuerKey>,
    beyond: usize,
}

impl Known {
    /// Takes in what was seen; gives whether a key went.
    fn take(&mut self, config: &IssuerConfig, seen: Seen) -> bool {
        // Said when it changes, not at each look.
        if seen.beyond > 0 && seen.beyond != self.beyond {
            let beyond = seen.beyond;
            tracing::warn!(
                issuer = config.name,
                beyond,
                "an issuer publishes more than {MOST_KEYS} keys; tokens of the others are refused"
            );
        }
        let went = self.keys.iter().any(|key| !seen.keys.iter().any(|now| now.thumbprint == key.thumbprint));
        (self.keys, self.beyond, self.fetched) = (seen.keys, seen.beyond, Some(Instant::now()));
        went
    }
}

/// All of them, by name.
pub(super) struct Issuers {
    known: Mutex<HashMap<String, Known>>,
    turn: tokio::sync::Mutex<()>,
    lookup: Lookup,
}

impl Default for Issuers {
    fn default() -> Self {
        Self { known: Mutex::default(), turn: tokio::sync::Mutex::default(), lookup: outbound::system_lookup() }
    }
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct Published {
    keys: Vec<serde_json::Value>,
}

impl Issuers {
    /// Looks at an issuer where that is due: its keys are old, or none is called so. One look at a time, and one a minute. Gives whether a key
    /// went since the last one.
    pub(super) async fn see(&self, config: &IssuerConfig, kid: Option<&str>) -> bool {
        if !self.is_due(config, kid) {
            return false;
        }
        let _turn = self.turn.lock().await;
        // Somebody else may have looked meanwhile.
        if !self.is_due(config, kid) {
            return false;
        }
        self.with(config, |known| known.tried = Some(Instant::now()));
        match timeout(PATIENCE, fetch(config, &self.lookup)).await.unwrap_or_else(|_| Err(outbound::late())) {
            Ok(seen) => self.with(config, |known| known.take(config, seen)),
            Err(why) => {
                tracing::warn!(issuer = config.name, why, "the keys of an issuer cannot be seen");
                false
            }
        }
    }

    /// Forgets keys that nobody could look at for too long; gives whether there were any.
    pub(super) fn sweep(&self) -> bool {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let old = |known: &&mut Known| !known.keys.is_empty() && known.fetched.is_none_or(|at| at.elapsed() >= OLDEST);
        all.values_mut().filter(old).map(|known| known.keys.clear()).count() > 0
    }

    /// The keys of an issuer that count now.
    pub(super) fn keys(&self, config: &IssuerConfig) -> Vec<IssuerKey> {
        self.with(config, |known| {
            let counts = known.fetched.is_some_and(|at| at.elapsed() < OLDEST);
            if counts { known.keys.clone() } else { Vec::new() }
        })
    }

    /// Whether one of them is this one.
    pub(super) fn has(&self, config: &IssuerConfig, thumbprint: &str) -> bool {
        self.with(config, |known| {
            let counts = known.fetched.is_some_and(|at| at.elapsed() < OLDEST);
            counts && known.keys.iter().any(|key| key.thumbprint.as_ref() == thumbprint)
        })
    }

    fn is_due(&self, config: &IssuerConfig, kid: Option<&str>) -> bool {
        self.with(config, |known| {
            let fresh = known.fetched.is_some_and(|at| at.elapsed() < FRESH);
            let named = kid.is_none_or(|kid| known.keys.iter().any(|key| key.kid.as_deref() == Some(kid)));
            let rested = known.tried.is_none_or(|at| at.elapsed() >= BETWEEN);
            rested && !(fresh && named)
        })
    }

    fn with<T>(&self, config: &IssuerConfig, look: impl FnOnce(&mut Known) -> T) -> T {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = all.entry(config.name.clone()).or_default();
        if known.issuer != config.issuer {
            *known = Known { issuer: config.issuer.clone(), ..Known::default() };
        }
        look(known)
    }
}

async fn fetch(config: &IssuerConfig, lookup: &Lookup) -> Result<Seen, String> {
    let mut last = String::new();
    for url in config.metadata() {
        match document::<Metadata>(config, lookup, &url).await {
            // RFC 8414 section 3.3: a document of somebody else is none.
            Ok(metadata) if metadata.issuer != config.issuer => last = "its metadata names another issuer".to_owned(),
            Ok(metadata) => return keys(document::<Published>(config, lookup, &metadata.jwks_uri).await?),
            Err(why) => last = why,
        }
    }
    Err(last)
}

/// The keys that can be used, up to a bound. Of the others an issuer may have as many as it likes.
fn keys(published: Published) -> Result<Seen, String> {
    let read = |value: serde_json::Value| {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let key = jwk.verifying().ok()?;
        Some(IssuerKey { thumbprint: jwk.thumbprint().into(), kid: jwk.kid, key })
    };
    let mut usable = published.keys.into_iter().filter_map(read);
    let keys: Vec<IssuerKey> = usable.by_ref().take(MOST_KEYS).collect();
    if keys.is_empty() { Err("it publishes no key that can be used".to_owned()) } else { Ok(Seen { keys, beyond: usable.count() }) }
}

async fn document<T: serde::de::DeserializeOwned>(config: &IssuerConfig, lookup: &Lookup, url: &str) -> Result<T, String> {
    let target = config.target(url).map_err(|wrong| format!("{url}: {}", wrong.message))?;
    let client = outbound::client(&target, lookup).await.map_err(|fault| fault.to_string())?;
    let asked = client.get(target.url().clone()).header("accept", "application/json").send().await;
    let response = asked.map_err(|error| outbound::why(&error))?;
    if response.status().as_u16() != 200 {
        return Err(format!("it answered {}", response.status().as_u16()));
    }
    let bytes = read(response).await?;
    serde_json::from_slice(&bytes).map_err(|_| "its answer is not the document that was asked for".to_owned())
}

async fn read(mut response: Response) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| outbound::why(&error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > LARGEST {
            return Err(format!("its answer is larger than {LARGEST} bytes"));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> IssuerConfig {
        toml::from_str("name = \"idp\"\nissuer = \"https://id.example.com\"\n").expect("an issuer")
    }

    #[tokio::test(start_paused = true)]
    async fn atk_o09_an_issuer_is_looked_at_once_a_minute_and_forgotten_after_an_hour() {
        let (issuers, config) = (Issuers::default(), config());
        let key = crate::crypto::jwt::SigningKey::generate().expect("a key").public;
        let jwk = Jwk { kid: Some("a".into()), ..key };
        assert!(issuers.is_due(&config, Some("a")), "nothing is known");
        let (thumbprint, verifying) = (Arc::from(jwk.thumbprint()), jwk.verifying().expect("a key"));
        let one = IssuerKey { kid: jwk.kid, thumbprint, key: verifying };
        issuers.with(&config, |known| {
            (known.keys, known.fetched, known.tried) = (vec![one.clone()], Some(Instant::now()), Some(Instant::now()));
        });
        assert!(!issuers.is_due(&config, Some("a")) && !issuers.is_due(&config, Some("unknown")), "not again within a minute");
        tokio::time::advance(BETWEEN).await;
        assert!(!issuers.is_due(&config, Some("a")) && issuers.is_due(&config, Some("unknown")), "an unknown name, once");
        tokio::time::advance(FRESH).await;
        assert!(issuers.is_due(&config, Some("a")) && issuers.has(&config, &one.thumbprint), "old, and counts meanwhile");
        tokio::time::advance(OLDEST).await;
        assert!(!issuers.has(&config, &one.thumbprint) && issuers.keys(&config).is_empty(), "too old");
        assert!(issuers.sweep() && !issuers.sweep(), "and whoever hangs on them is told once");
        let moved = IssuerConfig { issuer: "https://other.example.com".into(), ..config };
        assert!(issuers.keys(&moved).is_empty() && issuers.is_due(&moved, Some("a")), "another issuer under that name");
    }
    #[tokio::test]
    async fn keys_beyond_the_most_are_counted_and_a_key_that_went_is_noticed() {
        let key = || serde_json::to_value(crate::crypto::jwt::SigningKey::generate().expect("a key").public).expect("JSON");
        let all: Vec<_> = (0..MOST_KEYS + 7).map(|_| key()).collect();
        let seen = keys(Published { keys: all.clone() }).expect("keys");
        assert_eq!((seen.keys.len(), seen.beyond), (MOST_KEYS, 7), "those beyond are told of, not dropped in silence");
        let (mut known, config) = (Known::default(), config());
        assert!(!known.take(&config, seen) && known.beyond == 7, "none went");
        assert!(!known.take(&config, keys(Published { keys: all.clone() }).expect("keys")));
        assert!(known.take(&config, keys(Published { keys: all[1..].to_vec() }).expect("keys")), "the first one went");
    }
}
