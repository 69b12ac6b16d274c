//! Servers behind the proxy that are not what they should be: other keys, old TLS, redirects, hangs, broken answers. Every case asserts what the
//! client reads, what reached the server, and what operators are told.

mod breaker;
mod faults;
mod health;
mod identity;
pub(crate) mod site;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::proxy::{call, modern};
use crate::support::TestApp;
use crate::support::wire::Reply;

const FAR: &str = "[[grant]]\ntools = [\"*/*\"]\nclasses = [\"read\", \"write\"]\n";

/// A whole Lifeboat with one more client, which may read and write everywhere.
struct House {
    app: TestApp,
    key: String,
}

impl House {
    async fn start(settings: &str) -> Self {
        let app = TestApp::start_with(settings).await;
        app.api("POST", "/api/v1/roles/far", json!({"toml": FAR})).await;
        let key = app.add_client("far", "far", 0).await;
        Self { app, key }
    }

    /// Registers a server; what is not given is as for a server on this machine.
    async fn add(&self, name: &str, url: &str, more: Value) -> (u16, Value) {
        let mut order = json!({"name": name, "url": url, "allow_addresses": ["127.0.0.0/8", "::1/128"]});
        if url.starts_with("http:") {
            order["plain_loopback"] = json!(true);
        }
        for (key, value) in more.as_object().expect("an object") {
            order[key] = value.clone();
        }
        self.app.api_status("POST", "/api/v1/servers", order).await
    }

    async fn call(&self, server: &str, tool: &str) -> Reply {
        let body = call(1, tool, json!({})).to_string();
        self.app.post_to(&format!("/mcp/{server}"), &self.key, &modern("tools/call", tool), body.as_bytes()).await
    }

    async fn show(&self, name: &str) -> Value {
        self.app.api("GET", &format!("/api/v1/servers/{name}"), Value::Null).await
    }

    async fn health(&self) -> Value {
        self.app.api("GET", "/api/v1/health", Value::Null).await
    }

    /// What `/health` says of the servers.
    async fn servers_told(&self) -> String {
        let health = self.health().await;
        let check = health["checks"].as_array().expect("checks").iter().find(|check| check["name"] == "servers").cloned();
        check.expect("servers")["detail"].as_str().expect("text").to_owned()
    }

    /// Changes a file of the configuration by hand and commits it.
    async fn edit(&self, server: &str, change: impl FnOnce(&str) -> String) {
        let path = self.app.data.path().join(format!("config/servers/{server}.toml"));
        let text = std::fs::read_to_string(&path).expect("the file");
        std::fs::write(&path, change(&text)).expect("written");
        self.app.api("POST", "/api/v1/config/commit", json!({"message": "by hand"})).await;
    }

    async fn doctor(&self) -> Vec<(String, String, String)> {
        let told = self.app.api("GET", "/api/v1/doctor", Value::Null).await;
        let checks = told["checks"].as_array().expect("checks").clone();
        let text = |check: &Value, key: &str| check[key].as_str().unwrap_or_default().to_owned();
        checks.iter().map(|check| (text(check, "name"), text(check, "state"), text(check, "detail"))).collect()
    }

    /// Events of one action, newest first.
    async fn actions(&self, action: &str) -> Vec<Value> {
        let all = self.app.events("limit=200").await;
        all.into_iter().filter(|event| event["action"] == action).collect()
    }
}

/// Waits until it holds, for as long as a busy machine may need.
async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(20), "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn executed(reply: &Reply) -> String {
    reply.json()["error"]["data"]["executed"].as_str().unwrap_or_default().to_owned()
}
