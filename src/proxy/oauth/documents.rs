//! The documents that lead a client to a token: of the resource (RFC 9728), of who gives tokens (RFC 8414), and the keys that sign them. The
//! same for every name, so that strangers learn no name.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::config::IssuerConfig;
use crate::crypto::jwt::Alg;
use crate::policy::Snapshot;
use crate::policy::scopes::SUPPORTED;
use crate::policy::tokens::JWKS_AGE;
use crate::proxy::exchange::Whole;

/// The address of the token endpoint.
pub(super) fn token_endpoint(base: &str) -> String {
    format!("{base}/oauth/token")
}

/// The metadata of a protected resource. `base` and the path stand in it byte for byte as the client uses them.
pub fn protected_resource(base: &str, server: Option<&str>, issuers: &[IssuerConfig]) -> Bytes {
    let path = server.map(|server| format!("/mcp/{server}")).unwrap_or_default();
    let document = json!({
        "resource": format!("{base}{path}"),
        "authorization_servers": std::iter::once(base).chain(issuers.iter().map(|issuer| issuer.issuer.as_str())).collect::<Vec<_>>(),
        "scopes_supported": SUPPORTED,
        "bearer_methods_supported": ["header"],
    });
    document.to_string().into()
}

/// The metadata of who gives tokens: this instance.
pub fn authorization_server(base: &str) -> Bytes {
    let algs = Alg::ALL.map(Alg::name);
    let methods = ["client_secret_basic", "client_secret_post", "private_key_jwt"];
    let document = json!({
        "issuer": base,
        "token_endpoint": token_endpoint(base),
        "revocation_endpoint": format!("{base}/oauth/revoke"),
        "jwks_uri": format!("{base}/oauth/jwks"),
        "grant_types_supported": ["client_credentials"],
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algs,
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algs,
        "scopes_supported": SUPPORTED,
        // No user ever consents to anything here. RFC 8414 lets this address be left out then; the official SDKs take no document without it.
        "authorization_endpoint": format!("{base}/oauth/authorize"),
        "response_types_supported": [],
        "code_challenge_methods_supported": ["S256"],
    });
    document.to_string().into()
}

/// The public keys whose tokens count, and the one that will sign next.
pub fn jwks(snapshot: &Snapshot) -> Whole {
    let age = HeaderValue::from_str(&format!("public, max-age={JWKS_AGE}")).unwrap_or(HeaderValue::from_static("no-cache"));
    Whole { extra: vec![(header::CACHE_CONTROL, age)], ..Whole::json(StatusCode::OK, Bytes::from(snapshot.tokens.jwks())) }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const BASE: &str = "https://localhost:8444";

    #[test]
    fn pit_13_the_resource_is_the_address_the_client_uses() {
        let value: Value = serde_json::from_slice(&protected_resource(BASE, Some("demo"), &[])).expect("JSON");
        assert_eq!(value["resource"], "https://localhost:8444/mcp/demo");
        let metadata: Value = serde_json::from_slice(&authorization_server(BASE)).expect("JSON");
        assert_eq!(value["authorization_servers"], json!([metadata["issuer"]]));
        assert_eq!(metadata["grant_types_supported"], json!(["client_credentials"]));
    }
}
