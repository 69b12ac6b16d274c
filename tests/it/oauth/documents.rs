//! The documents that lead a client to a token.

use serde_json::{Value, json};

use super::Sea;

async fn document(sea: &Sea, path: &str) -> Value {
    let reply = sea.app.bare("GET", path, &[], b"").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")), "{path}");
    reply.json()
}

#[tokio::test]
async fn pit_13_a_challenge_leads_to_a_token_endpoint_and_tells_no_name() {
    let sea = Sea::start().await;
    let mut seen = Vec::new();
    for server in ["up", "never-registered"] {
        let refused = sea.app.bare("POST", &format!("/mcp/{server}"), &[], b"{}").await;
        assert_eq!(refused.status, 401, "{server}");
        let challenge = refused.header("www-authenticate").expect("a challenge").to_owned();
        assert!(challenge.contains("scope=\"tools:read\"") && !challenge.contains("error="), "nothing was shown: {challenge}");
        let (_, rest) = challenge.split_once("resource_metadata=\"").expect("it names the document");
        let path = rest.split('"').next().and_then(|url| url.strip_prefix(&sea.base)).expect("at the same place").to_owned();
        let resource = document(&sea, &path).await;
        assert_eq!(resource["resource"], format!("{}/mcp/{server}", sea.base));
        assert_eq!(resource["authorization_servers"], json!([sea.base]));
        assert_eq!(resource["scopes_supported"], json!(["tools:read", "tools:write", "tools:destructive"]));
        seen.push(resource.to_string().replace(&format!("/mcp/{server}"), "/mcp/NAME"));
    }
    assert_eq!(seen[0], seen[1], "a stranger learns no name");
    let root = document(&sea, "/.well-known/oauth-protected-resource").await;
    assert_eq!(root["resource"], sea.base);
    let server = document(&sea, "/.well-known/oauth-authorization-server").await;
    assert_eq!(server["issuer"], sea.base);
    assert_eq!(server["token_endpoint"], format!("{}/oauth/token", sea.base));
    assert_eq!(server["revocation_endpoint"], format!("{}/oauth/revoke", sea.base));
    assert_eq!(server["grant_types_supported"], json!(["client_credentials"]));
    let methods = json!(["client_secret_basic", "client_secret_post", "private_key_jwt"]);
    assert_eq!(server["token_endpoint_auth_methods_supported"], methods);
    // The official SDKs want the address; nothing is served there, and nothing can be asked for.
    assert_eq!(server["response_types_supported"], json!([]));
    assert_eq!(sea.app.bare("GET", "/oauth/authorize?response_type=code", &[], b"").await.status, 401);
}

#[tokio::test]
async fn the_published_keys_are_public_and_may_be_kept_for_five_minutes() {
    let sea = Sea::start().await;
    let reply = sea.app.bare("GET", "/oauth/jwks", &[], b"").await;
    assert_eq!(reply.header("cache-control"), Some("public, max-age=300"));
    let keys = reply.json()["keys"].as_array().expect("keys").clone();
    assert_eq!(keys.len(), 1);
    assert_eq!((&keys[0]["alg"], &keys[0]["use"]), (&json!("ES256"), &json!("sig")));
    assert_eq!(keys[0]["kid"].as_str(), Some(sea.signer().kid.as_ref()));
    assert!(keys[0].get("d").is_none(), "the private half stays here");
    sea.app.api("POST", "/api/v1/token-keys/stage", json!({})).await;
    let both = document(&sea, "/oauth/jwks").await["keys"].as_array().expect("keys").len();
    assert_eq!(both, 2, "the next key is published before it signs");
    assert_eq!(sea.signer().kid.as_ref(), keys[0]["kid"], "and does not sign yet");
}

#[tokio::test]
async fn the_addresses_are_those_of_the_public_url() {
    let app = crate::support::TestApp::start_with("public_url = \"https://mcp.example.com\"\n").await;
    let challenge = app.bare("POST", "/mcp/up", &[("Host", "localhost")], b"{}").await;
    let challenge = challenge.header("www-authenticate").expect("a challenge").to_owned();
    let document = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp/up";
    assert!(challenge.contains(&format!("resource_metadata=\"{document}\"")), "{challenge}");
    let server = app.bare("GET", "/.well-known/oauth-authorization-server", &[("Host", "mcp.example.com")], b"").await.json();
    assert_eq!(server["issuer"], "https://mcp.example.com");
    assert_eq!(server["jwks_uri"], "https://mcp.example.com/oauth/jwks");
}
