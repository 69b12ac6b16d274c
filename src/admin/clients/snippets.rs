//! What a person copies to let a program call tools through the proxy: printed at the first run and shown beside a new key. Never
//! written to a log; the key in it is shown once.

use crate::admin::Admin;
use crate::web::origin;
use crate::web::view::Code;

/// The facts a snippet needs.
pub struct SnippetFacts<'a> {
    /// `https://localhost:8444`.
    pub proxy_url: &'a str,
    /// Server to call.
    pub server: &'a str,
    /// Tool without required arguments.
    pub tool: &'a str,
    /// Absolute path of the CA certificate.
    pub ca: &'a str,
    /// The client key.
    pub key: &'a str,
}

/// Name and text of each snippet. Each is a whole shell text: the key goes through the environment or standard input, never
/// through an argument that other accounts can see.
pub fn snippets(facts: &SnippetFacts<'_>) -> Vec<(&'static str, String)> {
    vec![("python", python(facts)), ("typescript", typescript(facts)), ("curl", curl(facts))]
}

fn python(facts: &SnippetFacts<'_>) -> String {
    let SnippetFacts { proxy_url, server, tool, ca, key } = facts;
    format!(
        r#"# pip install mcp==2.3.0
export LIFEBOAT_KEY='{key}'
python3 - <<'PY'
import asyncio, os, ssl, sys, httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

async def main():
    tls = ssl.create_default_context(cafile="{ca}")
    headers = {{"Authorization": "Bearer " + os.environ["LIFEBOAT_KEY"]}}
    async with httpx2.AsyncClient(verify=tls, headers=headers, timeout=30) as http:
        async with Client(streamable_http_client("{proxy_url}/mcp/{server}", http_client=http)) as client:
            try:
                print((await client.call_tool("{tool}", {{}})).content[0].text)
            except MCPError as refused:
                return f"refused: {{refused.error.message}}"

sys.exit(asyncio.run(main()))
PY
"#
    )
}

fn typescript(facts: &SnippetFacts<'_>) -> String {
    let SnippetFacts { proxy_url, server, tool, ca, key } = facts;
    format!(
        r#"# npm install @modelcontextprotocol/client@2.4.0
export LIFEBOAT_KEY='{key}' NODE_EXTRA_CA_CERTS='{ca}'
node --input-type=module - <<'JS'
import {{ Client, StreamableHTTPClientTransport }} from '@modelcontextprotocol/client';

const client = new Client({{ name: 'snippet', version: '1' }}, {{ versionNegotiation: {{ mode: 'auto' }} }});
const headers = {{ Authorization: `Bearer ${{process.env.LIFEBOAT_KEY}}` }};
await client.connect(new StreamableHTTPClientTransport(new URL('{proxy_url}/mcp/{server}'), {{ requestInit: {{ headers }} }}));
try {{
  console.log((await client.callTool({{ name: '{tool}', arguments: {{}} }})).content[0].text);
}} catch (refused) {{
  console.error(`refused: ${{refused.message}}`);
  process.exitCode = 1;
}}
await client.close();
JS
"#
    )
}

fn curl(facts: &SnippetFacts<'_>) -> String {
    let SnippetFacts { proxy_url, server, tool, ca, key } = facts;
    format!(
        r#"curl --silent --show-error --cacert '{ca}' --config - <<'CURL'
url = "{proxy_url}/mcp/{server}"
header = "Authorization: Bearer {key}"
header = "Content-Type: application/json"
header = "Accept: application/json, text/event-stream"
header = "MCP-Protocol-Version: 2026-07-28"
header = "Mcp-Method: tools/call"
header = "Mcp-Name: {tool}"
data = "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":\"{tool}\",\"arguments\":{{}},\"_meta\":{{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\"io.modelcontextprotocol/clientCapabilities\":{{}}}}}}}}"
CURL
"#
    )
}

/// The snippets of a new key for the page that shows it: the first server, and of its tools the first that only reads.
pub(super) fn for_page(admin: &Admin, dashboard_host: &str, ca: &str, key: &str) -> Vec<Code> {
    let snapshot = admin.feed.snapshot();
    let Some((server, entry)) = snapshot.servers.iter().next() else { return Vec::new() };
    let reading = |(_, tool): &(&String, &crate::config::ToolConfig)| tool.class == crate::config::Class::Read;
    let simple = entry.config.tools.keys().find(|tool| *tool == "read_graph");
    let tool = simple.or_else(|| entry.config.tools.iter().find(reading).map(|(name, _)| name));
    let proxy_url = proxy_address(admin, dashboard_host);
    let facts = SnippetFacts { proxy_url: &proxy_url, server, tool: tool.map_or("TOOL", String::as_str), ca, key };
    let shell = snippets(&facts).into_iter().map(|(name, text)| Code::new(name, text));
    let desktop = Code::new("Claude Desktop, Claude Code and others: mcpServers", desktop(&facts));
    shell.chain([desktop]).collect()
}

/// `https://HOST:PORT` of the proxy, by the name the browser used for the dashboard.
pub(super) fn proxy_address(admin: &Admin, dashboard_host: &str) -> String {
    let name = origin::name_of(dashboard_host);
    let name = if name.contains(':') { format!("[{name}]") } else { name.to_owned() };
    let configured = admin.feed.snapshot().settings.listen.proxy.clone();
    let port = admin.feed.listeners().first().map(|listener| listener.address.port());
    let port = port.or_else(|| configured.rsplit_once(':').and_then(|(_, port)| port.parse().ok())).unwrap_or(8444);
    format!("https://{}:{port}", if name.is_empty() { "localhost" } else { &name })
}

fn desktop(facts: &SnippetFacts<'_>) -> String {
    let SnippetFacts { proxy_url, server, ca, key, .. } = facts;
    let url = format!("{proxy_url}/mcp/{server}");
    let config = serde_json::json!({ "mcpServers": { *server: {
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
    fn a_key_is_never_an_argument() {
        let facts = SnippetFacts {
            proxy_url: "https://localhost:8444",
            server: "demo",
            tool: "read_graph",
            ca: "/d/tls/ca.pem",
            key: "lbk_k",
        };
        for (name, text) in snippets(&facts) {
            let command =
                text.lines().find(|line| line.starts_with("curl") || line.starts_with("node") || line.starts_with("python3"));
            assert!(text.contains("lbk_k"), "{name}");
            assert!(!command.expect("a command").contains("lbk_k"), "{name}");
        }
    }
}
