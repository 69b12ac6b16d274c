//! `[[issuer]]` in `lifeboat.toml`: who else may give tokens that count here. Never fetches anything.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::alerts::{Target, Wrong};

/// Algorithms that an issuer may sign with.
pub const ALGORITHMS: [&str; 4] = ["ES256", "EdDSA", "PS256", "RS256"];

/// An authorization server of one's own whose access tokens (JWT) count here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IssuerConfig {
    /// What to call it; the ledger names its tokens' credential `ext:NAME`.
    pub name: String,
    /// Its issuer identifier, byte for byte as its tokens have it in `iss`: `https://…`.
    pub issuer: String,
    /// Algorithms its tokens may be signed with.
    #[serde(default = "every_algorithm")]
    pub algorithms: Vec<String>,
    /// What must stand in `aud`. Default: the URL of the MCP server that is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// The claim that names the client.
    #[serde(default = "subject")]
    pub client_claim: String,
    /// Which client a value of that claim is. With an entry here only those count; without any the value is the client's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub clients: BTreeMap<String, String>,
    /// The claim that holds the scopes, as text with spaces or as a list.
    #[serde(default = "scope")]
    pub scope_claim: String,
    /// Allows loopback, and `http://` there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_loopback: bool,
    /// Private address ranges (CIDR) that its host names may resolve to. Loopback with `plain_loopback` needs none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// Absolute path of the CA certificates (PEM) that sign it, instead of the system's roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

fn every_algorithm() -> Vec<String> {
    ALGORITHMS.map(str::to_owned).to_vec()
}

fn subject() -> String {
    "sub".to_owned()
}

fn scope() -> String {
    "scope".to_owned()
}

impl IssuerConfig {
    /// Where a document of it is, under the same guard as the issuer itself.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub fn target(&self, url: &str) -> Result<Target, Wrong> {
        Target::of(url, self.plain_loopback, &self.allow_addresses, self.ca.as_deref())
    }

    /// Where its metadata may stand, in the order they are asked for: RFC 8414 section 3.1, then OpenID Connect Discovery section 4.
    pub fn metadata(&self) -> Vec<String> {
        let issuer = self.issuer.trim_end_matches('/');
        let (scheme, rest) = issuer.split_once("://").unwrap_or(("https", issuer));
        let (host, path) = rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
        vec![
            format!("{scheme}://{host}/.well-known/oauth-authorization-server{path}"),
            format!("{issuer}/.well-known/openid-configuration"),
        ]
    }

    /// The client that a value of its claim means.
    pub fn client<'a>(&'a self, value: &'a str) -> Option<&'a str> {
        if self.clients.is_empty() { Some(value) } else { self.clients.get(value).map(String::as_str) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issuer(text: &str) -> IssuerConfig {
        toml::from_str(&format!("name = \"idp\"\nissuer = \"{text}\"\n")).expect("an issuer")
    }

    #[test]
    fn metadata_stands_where_the_specifications_say() {
        let found = issuer("https://id.example.com/tenant").metadata();
        assert_eq!(found[0], "https://id.example.com/.well-known/oauth-authorization-server/tenant");
        assert_eq!(found[1], "https://id.example.com/tenant/.well-known/openid-configuration");
        assert_eq!(
            issuer("https://id.example.com/").metadata()[0],
            "https://id.example.com/.well-known/oauth-authorization-server"
        );
    }

    #[test]
    fn a_map_of_clients_lets_nobody_else_in() {
        let mut issuer = issuer("https://id.example.com");
        assert_eq!(issuer.client("ci"), Some("ci"));
        issuer.clients.insert("0oa1".into(), "ci".into());
        assert_eq!((issuer.client("0oa1"), issuer.client("ci")), (Some("ci"), None));
        assert!(issuer.target("http://id.example.com/x").is_err() && issuer.target("https://10.0.0.1/x").is_err());
    }
}
