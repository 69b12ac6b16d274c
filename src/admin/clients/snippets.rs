//! Lines to paste so that a program calls tools through the proxy: curl, Python, TypeScript, the configuration of desktop clients. Pure text.

use crate::admin::Admin;
use crate::web::origin;
use crate::web::view::Code;

/// `https://HOST:PORT` of the proxy, by the name the browser used for the dashboard.
pub(super) fn proxy_address(admin: &Admin, dashboard_host: &str) -> String {
    let name = origin::name_of(dashboard_host);
    let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    let configured = admin.feed.snapshot().settings.listen.proxy.clone();
    let port = admin.feed.listeners().first().map(|listener| listener.address.port());
    let port = port.or_else(|| configured.rsplit_once(':').and_then(|(_, port)| port.parse().ok())).unwrap_or(8444);
    format!("https://{}:{port}", if name.is_empty() { "localhost" } else { &name })
}

/// All of them for one server.
pub(super) fn all(proxy: &str, server: &str, ca: &str, key: &str) -> Vec<Code> {
    let url = format!("{proxy}/mcp/{server}");
    vec![
        Code::new("curl: list the tools", curl(&url, ca, key)),
        Code::new("Python, package mcp", python(&url, ca, key)),
        Code::new("TypeScript, package @modelcontextprotocol/sdk (run with NODE_EXTRA_CA_CERTS)", typescript(&url, ca, key)),
        Code::new("Claude Desktop, Claude Code and others: mcpServers", desktop(&url, server, ca, key)),
    ]
}

fn curl(url: &str, ca: &str, key: &str) -> String {
    format!(
        r#"curl --cacert {ca} {url} \
  -H "Authorization: Bearer {key}" \
  -H "Content-Type: application/json" \
  -H "Accept: application/json, text/event-stream" \
  -H "MCP-Protocol-Version: 2026-07-28" \
  -H "Mcp-Method: tools/list" \
  -d '{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{{"name":"curl","version":"1"}},"io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}'"#
    )
}

fn python(url: &str, ca: &str, key: &str) -> String {
    format!(
        r#"import asyncio, ssl
import httpx2 as httpx
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

async def main():
    tls = ssl.create_default_context(cafile="{ca}")
    headers = {{"Authorization": "Bearer {key}"}}
    async with httpx.AsyncClient(verify=tls, headers=headers, timeout=60) as http:
        async with Client(streamable_http_client("{url}", http_client=http)) as client:
            tools = await client.list_tools()
            print([tool.name for tool in tools.tools])

asyncio.run(main())"#
    )
}

fn typescript(url: &str, ca: &str, key: &str) -> String {
    format!(
        r#"// NODE_EXTRA_CA_CERTS={ca} node client.mjs
import {{ Client }} from "@modelcontextprotocol/sdk/client/index.js";
import {{ StreamableHTTPClientTransport }} from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const transport = new StreamableHTTPClientTransport(new URL("{url}"), {{
  requestInit: {{ headers: {{ Authorization: "Bearer {key}" }} }},
}});
const client = new Client({{ name: "example", version: "1.0.0" }});
await client.connect(transport);
console.log((await client.listTools()).tools.map((tool) => tool.name));
await client.close();"#
    )
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
