//! Shell texts to paste so that a program calls tools through the proxy. Pure. The key goes through the environment or standard input,
//! never through an argument that other accounts can see.

/// The facts a text needs.
pub struct Facts<'a> {
    /// `https://localhost:8444/mcp/demo`.
    pub url: &'a str,
    /// Absolute path of the CA certificate.
    pub ca: &'a str,
    /// The client key.
    pub key: &'a str,
    /// A tool without required arguments to call; without one the tools are listed.
    pub tool: Option<&'a str>,
}

/// Python with the package `mcp`.
pub fn python(facts: &Facts<'_>) -> String {
    let Facts { url, ca, key, tool } = facts;
    let wish = match tool {
        Some(tool) => format!(r#"(await client.call_tool("{tool}", {{}})).content[0].text"#),
        None => "[tool.name for tool in (await client.list_tools()).tools]".to_owned(),
    };
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
        async with Client(streamable_http_client("{url}", http_client=http)) as client:
            try:
                print({wish})
            except MCPError as refused:
                return f"refused: {{refused.error.message}}"

sys.exit(asyncio.run(main()))
PY
"#
    )
}

/// TypeScript with the package `@modelcontextprotocol/client`.
pub fn typescript(facts: &Facts<'_>) -> String {
    let Facts { url, ca, key, tool } = facts;
    let wish = match tool {
        Some(tool) => format!("(await client.callTool({{ name: '{tool}', arguments: {{}} }})).content[0].text"),
        None => "(await client.listTools()).tools.map((tool) => tool.name)".to_owned(),
    };
    format!(
        r#"# npm install @modelcontextprotocol/client@2.4.0
export LIFEBOAT_KEY='{key}' NODE_EXTRA_CA_CERTS='{ca}'
node --input-type=module - <<'JS'
import {{ Client, StreamableHTTPClientTransport }} from '@modelcontextprotocol/client';

const client = new Client({{ name: 'snippet', version: '1' }}, {{ versionNegotiation: {{ mode: 'auto' }} }});
const headers = {{ Authorization: `Bearer ${{process.env.LIFEBOAT_KEY}}` }};
await client.connect(new StreamableHTTPClientTransport(new URL('{url}'), {{ requestInit: {{ headers }} }}));
try {{
  console.log({wish});
}} catch (refused) {{
  console.error(`refused: ${{refused.message}}`);
  process.exitCode = 1;
}}
await client.close();
JS
"#
    )
}

/// curl, one request of the modern era.
pub fn curl(facts: &Facts<'_>) -> String {
    let Facts { url, ca, key, tool } = facts;
    let method = if tool.is_some() { "tools/call" } else { "tools/list" };
    let name = tool.map(|tool| format!("header = \"Mcp-Name: {tool}\"\n")).unwrap_or_default();
    let params = tool.map(|tool| format!(r#"\"name\":\"{tool}\",\"arguments\":{{}},"#)).unwrap_or_default();
    format!(
        r#"curl --silent --show-error --cacert '{ca}' --config - <<'CURL'
url = "{url}"
header = "Authorization: Bearer {key}"
header = "Content-Type: application/json"
header = "Accept: application/json, text/event-stream"
header = "MCP-Protocol-Version: 2026-07-28"
header = "Mcp-Method: {method}"
{name}data = "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":{{{params}\"_meta\":{{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\"io.modelcontextprotocol/clientCapabilities\":{{}}}}}}}}"
CURL
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_an_argument() {
        for tool in [Some("read_graph"), None] {
            let facts = Facts { url: "https://localhost:8444/mcp/demo", ca: "/d/tls/ca.pem", key: "lbk_k", tool };
            for text in [python(&facts), typescript(&facts), curl(&facts)] {
                let starts = |line: &&str| ["curl", "node", "python3"].iter().any(|program| line.starts_with(program));
                assert!(text.contains("lbk_k") && text.contains(facts.url) && text.contains(facts.ca), "{text}");
                assert!(!text.lines().find(starts).expect("a command").contains("lbk_k"), "{text}");
            }
        }
    }
}
