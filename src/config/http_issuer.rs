//! `[[http]]` in `credentials.toml`: somebody else's interface that issues and ends tokens, as templates of its requests. Never holds a secret: `{admin}`
//! stands for the one that this host keeps sealed.

use std::collections::BTreeMap;

use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::alerts::Target;
use crate::base::ids::check_name;

/// Stands for the secret that Lifeboat shows the issuer; in headers alone.
pub const ADMIN: &str = "{admin}";
/// Stands for the new token; in the value for the server alone.
pub const SECRET: &str = "{secret}";
/// Stands for what the issuer calls a token.
pub const ID: &str = "{id}";
/// Stands for a name that each rotation has alone.
pub const LABEL: &str = "{label}";
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];
const LONGEST: usize = 4_000;
const LONGEST_ID: usize = 500;

/// Tokens of one issuer for one server. Their name in commands is `http/NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpIssuerConfig {
    /// What it is called.
    pub name: String,
    /// The server that is sent the token.
    pub server: String,
    /// Its header or variable, of those in `secret_headers` or `secret_env`.
    pub secret: String,
    /// What stands there, with `{secret}` where the token is.
    #[serde(default = "bare")]
    pub value: String,
    /// Headers of each request, with `{admin}` where what this host keeps belongs: `lifeboat credential admin http/NAME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// PEM file of the authority that signs the issuer, as an absolute path. Default the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// An issuer on this host, which alone may speak plain HTTP.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_loopback: bool,
    /// Address ranges it may stand in although they are not public.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// Makes a token.
    pub create: CreateConfig,
    /// Ends one.
    pub revoke: RequestConfig,
    /// Names the tokens there are. Without it a token that was made in the moment of a crash stays there until somebody ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<ListConfig>,
}

/// One request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestConfig {
    /// GET, POST, PUT, PATCH or DELETE.
    pub method: String,
    /// Where, with `{id}` in the path.
    pub url: String,
    /// The body in JSON, with `{id}` inside of texts; none when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
}

/// The request that makes a token, and where its answer has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateConfig {
    /// POST or PUT.
    pub method: String,
    /// Where.
    pub url: String,
    /// The body in JSON, with `{label}` inside of texts; none when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// JSON pointer to what the issuer calls it.
    pub id: String,
    /// JSON pointer to the token.
    pub token: String,
}

/// The request that names tokens, and where its answer has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListConfig {
    /// Where; asked with GET.
    pub url: String,
    /// JSON pointer to the list.
    pub items: String,
    /// JSON pointer, in one of them, to what the issuer calls it.
    pub id: String,
    /// JSON pointer, in one of them, to the label it was made with.
    pub label: String,
}

fn bare() -> String {
    SECRET.to_owned()
}

/// One request with its words filled in.
#[derive(Clone, Debug)]
pub struct Filled {
    /// The method.
    pub method: String,
    /// Where, checked.
    pub target: Target,
    /// The body.
    pub body: Option<String>,
}

impl HttpIssuerConfig {
    /// What is wrong with it: the path of keys and what would be right.
    pub fn faults(&self) -> Vec<(Vec<&'static str>, String)> {
        let mut found = Vec::new();
        for (key, name) in [("name", &self.name), ("server", &self.server)] {
            found.extend(check_name(name).err().map(|why| (vec![key], why.to_owned())));
        }
        if self.value.matches(SECRET).count() != 1 || self.value.len() > LONGEST || self.value.chars().any(char::is_control) {
            found.push((vec!["value"], format!("must be one line with {SECRET} once")));
        }
        for (name, text) in &self.headers {
            let fits = http::HeaderName::try_from(name).is_ok() && http::HeaderValue::try_from(text).is_ok();
            if !fits || text.contains(SECRET) {
                found.push((vec!["headers"], format!("{name} must be a header, and {ADMIN} is the only word that counts there")));
            }
        }
        if !matches!(self.create.method.as_str(), "POST" | "PUT") {
            found.push((vec!["create", "method"], "must be POST or PUT".to_owned()));
        }
        if !METHODS.contains(&self.revoke.method.as_str()) {
            found.push((vec!["revoke", "method"], format!("must be one of {}", METHODS.join(", "))));
        }
        let named = [self.revoke.url.as_str(), self.revoke.body.as_deref().unwrap_or_default()].join("").contains(ID);
        if !named {
            found.push((vec!["revoke", "url"], format!("must say {ID}, or the body must")));
        }
        for (key, request) in self.requests() {
            match self.fill(&request, ("an-id", "a-label")) {
                Ok(filled) if filled.target.url().origin().ascii_serialization() != self.origin() => {
                    found
                        .push((vec![key, "url"], "must be at the same host as create: what this host keeps is for one".to_owned()));
                }
                Ok(_) => {}
                Err((what, why)) => found.push((vec![key, what], why)),
            }
        }
        for (path, pointer) in self.pointers() {
            if !pointer.starts_with('/') {
                found.push((path, "must be a JSON pointer such as /token".to_owned()));
            }
        }
        found
    }

    fn pointers(&self) -> Vec<(Vec<&'static str>, &str)> {
        let mut all = vec![(vec!["create", "id"], self.create.id.as_str()), (vec!["create", "token"], &self.create.token)];
        if let Some(list) = &self.list {
            all.extend([
                (vec!["list", "items"], list.items.as_str()),
                (vec!["list", "id"], &list.id),
                (vec!["list", "label"], &list.label),
            ]);
        }
        all
    }

    fn requests(&self) -> Vec<(&'static str, RequestConfig)> {
        let mut all = vec![("create", self.creating()), ("revoke", self.revoke.clone())];
        all.extend(self.listing().map(|list| ("list", list)));
        all
    }

    /// The request that makes a token.
    pub fn creating(&self) -> RequestConfig {
        RequestConfig { method: self.create.method.clone(), url: self.create.url.clone(), body: self.create.body.clone() }
    }

    /// The request that names tokens.
    pub fn listing(&self) -> Option<RequestConfig> {
        self.list.as_ref().map(|list| RequestConfig { method: "GET".into(), url: list.url.clone(), body: None })
    }

    /// Where it is: scheme, host and port.
    pub fn origin(&self) -> String {
        Url::parse(&self.create.url).map(|url| url.origin().ascii_serialization()).unwrap_or_default()
    }

    /// Fills the words of a request in: inside of texts of the body and inside of the path, where they can be nothing but text.
    ///
    /// # Errors
    /// The key and what would be right.
    pub fn fill(&self, request: &RequestConfig, (id, label): (&str, &str)) -> Result<Filled, (&'static str, String)> {
        let known = |text: &str| !text.replace(ID, "").replace(LABEL, "").contains(['{', '}']);
        if !known(&request.url) || request.url.split(ID).next().is_some_and(|before| before.matches('/').count() < 3) {
            return Err(("url", format!("{ID} may stand in its path, and no other brace")));
        }
        // A reader of URLs takes a segment of dots for a step, also when it is escaped.
        let fits = !id.is_empty() && id.len() <= LONGEST_ID && !matches!(id, "." | "..");
        if request.url.contains(ID) && !fits {
            return Err(("url", "what the issuer calls the token can stand in no path".to_owned()));
        }
        let text = request.url.replace(ID, &escaped(id)).replace(LABEL, &escaped(label));
        let target = Target::of(&text, self.plain_loopback, &self.allow_addresses, self.ca.as_deref())
            .map_err(|wrong| ("url", wrong.message))?;
        let body = request.body.as_deref().map(|body| {
            let mut value: Value = serde_json::from_str(body).map_err(|why| ("body", format!("must be JSON: {why}")))?;
            put(&mut value, &[(ID, id), (LABEL, label)]);
            Ok(value.to_string())
        });
        Ok(Filled { method: request.method.clone(), target, body: body.transpose()? })
    }
}

impl HttpIssuerConfig {
    /// Whether a token that the issuer calls so can be ended again: as one segment of a path it must reach the issuer as it is, which servers and proxies on
    /// the way do not promise for what means something in an address, escaped or not.
    pub fn can_end(&self, id: &str) -> bool {
        let plain = !id.contains(['/', '\\', '?', '#', '%', ';']) && !id.chars().any(|c| c.is_control() || c.is_whitespace());
        let fits = plain && !id.is_empty() && id.len() <= LONGEST_ID && !matches!(id, "." | "..");
        fits || !self.revoke.url.contains(ID)
    }
}

/// Words are put into texts after the JSON was read, so that no value can change its shape.
fn put(value: &mut Value, words: &[(&str, &str)]) {
    match value {
        Value::String(text) => *text = words.iter().fold(text.clone(), |text, (word, with)| text.replace(word, with)),
        Value::Array(all) => all.iter_mut().for_each(|one| put(one, words)),
        Value::Object(all) => all.values_mut().for_each(|one| put(one, words)),
        _ => {}
    }
}

/// One segment of a path (RFC 3986, section 2.3): everything that is not unreserved is escaped.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'.');
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer() -> HttpIssuerConfig {
        HttpIssuerConfig {
            name: "github".into(),
            server: "github".into(),
            secret: "authorization".into(),
            value: "Bearer {secret}".into(),
            headers: [("authorization".to_owned(), "Bearer {admin}".to_owned())].into(),
            create: CreateConfig {
                method: "POST".into(),
                url: "https://issuer.example.com/tokens".into(),
                body: Some("{\"name\": \"{label}\", \"days\": 90}".into()),
                id: "/id".into(),
                token: "/token".into(),
            },
            revoke: RequestConfig { method: "DELETE".into(), url: "https://issuer.example.com/tokens/{id}".into(), body: None },
            list: None,
            ..HttpIssuerConfig::default()
        }
    }

    #[test]
    fn each_thing_that_cannot_work_is_said_by_its_keys() {
        assert_eq!(issuer().faults(), []);
        let with = |change: fn(&mut HttpIssuerConfig)| {
            let mut config = issuer();
            change(&mut config);
            config.faults().into_iter().map(|(path, _)| path.join(".")).collect::<Vec<_>>()
        };
        assert_eq!(with(|c| c.value = "x".into()), ["value"]);
        assert_eq!(with(|c| c.create.method = "GET".into()), ["create.method"]);
        assert_eq!(with(|c| c.create.body = Some("{".into())), ["create.body"]);
        assert_eq!(with(|c| c.create.token = "token".into()), ["create.token"]);
        assert_eq!(with(|c| c.revoke.url = "https://issuer.example.com/tokens".into()), ["revoke.url"]);
        assert_eq!(with(|c| c.revoke.url = "https://other.example.com/tokens/{id}".into()), ["revoke.url"]);
        assert_eq!(with(|c| c.revoke.url = "https://{id}.example.com/tokens".into()), ["revoke.url"]);
        assert_eq!(with(|c| c.revoke.url = "https://issuer.example.com/{admin}/{id}".into()), ["revoke.url"]);
        assert_eq!(with(|c| c.create.url = "http://issuer.example.com/tokens".into()), ["create.url", "revoke.url"]);
        assert_eq!(with(|c| drop(c.headers.insert("x y".into(), String::new()))), ["headers"]);
    }

    #[test]
    fn atk_w01_what_an_issuer_says_stays_text() {
        let config = issuer();
        let url = |id: &str| config.fill(&config.revoke, (id, "")).unwrap().target.url().as_str().to_owned();
        assert_eq!(url("a/../../admin?x#y"), "https://issuer.example.com/tokens/a%2F..%2F..%2Fadmin%3Fx%23y");
        for odd in ["", ".", ".."] {
            assert!(config.fill(&config.revoke, (odd, "")).is_err(), "{odd:?}");
        }
        let body = config.fill(&config.creating(), ("", "x\", \"admin\": \"true")).unwrap().body.unwrap();
        let read: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (read["days"].as_i64(), read["name"].as_str(), read.get("admin")),
            (Some(90), Some("x\", \"admin\": \"true"), None)
        );
    }
}
