//! What the page of a new key offers to paste: the shell texts, and the configuration of desktop clients. Pure text.

use super::texts::{self, Facts};
use crate::admin::Admin;
use crate::web::origin;
use crate::web::view::Code;

/// `https://HOST:PORT` of the proxy: its public URL, or the name the browser used for the dashboard.
pub(in crate::admin) fn proxy_address(admin: &Admin, dashboard_host: &str) -> String {
    let settings = admin.feed.snapshot().settings.clone();
    if let Some(url) = &settings.public_url {
        return url.as_str().to_owned();
    }
    let name = origin::name_of(dashboard_host);
    let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    let configured = &settings.listen.proxy;
    let port = admin.feed.listeners().first().and_then(|listener| listener.address()).map(|address| address.port());
    let port = port.or_else(|| configured.rsplit_once(':').and_then(|(_, port)| port.parse().ok())).unwrap_or(8444);
    format!("https://{}:{port}", if name.is_empty() { "localhost" } else { &name })
}

/// All of them for one server. They list its tools: which of them the client may call is not known here.
pub(super) fn all(proxy: &str, server: &str, ca: &str, key: &str) -> Vec<Code> {
    let url = format!("{proxy}/mcp/{server}");
    let facts = Facts { url: &url, ca, key, tool: None };
    vec![
        Code::new("Shell, curl", texts::curl(&facts)),
        Code::new("Shell, Python with package mcp", texts::python(&facts)),
        Code::new("Shell, TypeScript with package @modelcontextprotocol/client", texts::typescript(&facts)),
        Code::new("Claude Desktop, Claude Code and others: mcpServers", desktop(&url, server, ca, key)),
    ]
}

fn desktop(url: &str, server: &str, ca: &str, key: &str) -> String {
    let config = serde_json::json!({ "mcpServers": { server: {
        "command": "npx",
        "args": ["-y", "mcp-remote", url, "--header", "Authorization:${LIFEBOAT_AUTH}"],
        "env": { "LIFEBOAT_AUTH": format!("Bearer {key}"), "NODE_EXTRA_CA_CERTS": ca },
    } } });
    serde_json::to_string_pretty(&config).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_snippet_names_address_and_key() {
        let all = all("https://localhost:8444", "demo", "/data/tls/ca.pem", "lbk_x");
        assert_eq!(all.len(), 4);
        for code in all {
            assert!(
                code.text.contains("https://localhost:8444/mcp/demo")
                    && code.text.contains("lbk_x")
                    && code.text.contains("ca.pem"),
                "{}",
                code.label
            );
        }
    }
}
