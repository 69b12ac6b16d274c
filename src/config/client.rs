//! `clients/NAME.toml`: a program that calls tools. Never holds its key or secret, only public keys that it signs with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The whole of `clients/NAME.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// Names of its roles; their grants add up.
    pub roles: Vec<String>,
    /// Calls per second instead of the default; 0 means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// Calls that may come at once before `rate` counts, instead of twice `rate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// Calls in flight at once instead of the default; 0 means no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Whether it may ask for the successor of its key itself, by showing the key (`POST /credential/rotate`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub self_rotation: bool,
    /// Public keys with which the client proves itself at the token endpoint (RFC 7523), at most eight. `lifeboat client jwk add NAME`
    /// writes them.
    #[serde(default, rename = "jwk", skip_serializing_if = "Vec::is_empty")]
    pub jwks: Vec<ClientJwk>,
}

/// A public key as a JSON Web Key (RFC 7517). A private member is refused like any unknown one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientJwk {
    /// Its name, which the client puts into the head of what it signs.
    pub kid: String,
    /// `EC`, `OKP` or `RSA`.
    pub kty: String,
    /// `P-256` or `Ed25519`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crv: Option<String>,
    /// First coordinate of the point, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub x: Option<String>,
    /// Second coordinate of the point, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// Modulus of an RSA key, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<String>,
    /// Exponent of an RSA key, base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub e: Option<String>,
    /// The one algorithm it is for: `ES256`, `EdDSA`, `PS256` or `RS256`. Default: those that fit the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alg: Option<String>,
    /// `sig`.
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    pub usage: Option<String>,
}
