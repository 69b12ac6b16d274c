//! What a person copies after the first run: how a client of each kind calls a tool through the proxy. Never written to a log;
//! the key in it is shown once.

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
