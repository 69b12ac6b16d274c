//! Shell texts to paste so that a program gets tokens by itself: with the official SDKs, nothing but its name and secret. Pure. The secret goes
//! through the environment or standard input, never through an argument that other accounts can see.

/// The facts a text needs.
pub struct Facts<'a> {
    /// `https://localhost:8444/mcp/demo`.
    pub url: &'a str,
    /// Who gives the tokens: the SDK shows the secret to nobody else.
    pub issuer: &'a str,
    /// Absolute path of the CA certificate.
    pub ca: &'a str,
    /// The client's name.
    pub client: &'a str,
    /// Its secret.
    pub secret: &'a str,
}

/// Python with the package `mcp`.
pub fn python(facts: &Facts<'_>) -> String {
    let Facts { url, issuer, ca, client, secret } = facts;
    format!(
        r#"# pip install mcp==2.3.0
export LIFEBOAT_SECRET='{secret}'
python3 - <<'PY'
import asyncio, os, ssl, httpx2
from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client

class Memory:
    tokens = info = None
    async def get_tokens(self): return self.tokens
    async def set_tokens(self, tokens): self.tokens = tokens
    async def get_client_info(self): return self.info
    async def set_client_info(self, info): self.info = info

async def main():
    tls = ssl.create_default_context(cafile="{ca}")
    auth = ClientCredentialsOAuthProvider(
        server_url="{url}", storage=Memory(), client_id="{client}", client_secret=os.environ["LIFEBOAT_SECRET"],
        issuer="{issuer}")
    async with httpx2.AsyncClient(verify=tls, auth=auth, timeout=30) as http:
        async with Client(streamable_http_client("{url}", http_client=http)) as client:
            print([tool.name for tool in (await client.list_tools()).tools])

asyncio.run(main())
PY
"#
    )
}

/// TypeScript with the package `@modelcontextprotocol/client`.
pub fn typescript(facts: &Facts<'_>) -> String {
    let Facts { url, issuer, ca, client, secret } = facts;
    format!(
        r#"# npm install @modelcontextprotocol/client@2.4.0
export LIFEBOAT_SECRET='{secret}' NODE_EXTRA_CA_CERTS='{ca}'
node --input-type=module - <<'JS'
import {{ Client, ClientCredentialsProvider, StreamableHTTPClientTransport }} from '@modelcontextprotocol/client';

const clientSecret = process.env.LIFEBOAT_SECRET;
const authProvider = new ClientCredentialsProvider({{ clientId: '{client}', clientSecret, expectedIssuer: '{issuer}' }});
const client = new Client({{ name: 'snippet', version: '1' }}, {{ versionNegotiation: {{ mode: 'auto' }} }});
await client.connect(new StreamableHTTPClientTransport(new URL('{url}'), {{ authProvider }}));
console.log((await client.listTools()).tools.map((tool) => tool.name));
await client.close();
JS
"#
    )
}

/// curl: one request for a token, and one with it.
pub fn curl(facts: &Facts<'_>) -> String {
    let Facts { url, issuer, ca, client, secret } = facts;
    format!(
        r#"token=$(curl --silent --show-error --fail --cacert '{ca}' --config - <<'CURL' | sed -n 's/.*"access_token": *"\([^"]*\)".*/\1/p'
url = "{issuer}/oauth/token"
user = "{client}:{secret}"
data-urlencode = "grant_type=client_credentials"
data-urlencode = "resource={url}"
CURL
)
curl --silent --show-error --cacert '{ca}' --config - <<CURL
url = "{url}"
header = "Authorization: Bearer $token"
header = "Content-Type: application/json"
header = "Accept: application/json, text/event-stream"
header = "MCP-Protocol-Version: 2026-07-28"
header = "Mcp-Method: tools/list"
data = "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{{\"_meta\":{{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\"io.modelcontextprotocol/clientCapabilities\":{{}}}}}}}}"
CURL
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_an_argument() {
        let (url, issuer) = ("https://localhost:8444/mcp/demo", "https://localhost:8444");
        let facts = Facts { url, issuer, ca: "/d/tls/ca.pem", client: "ci", secret: "lbs_k" };
        for text in [python(&facts), typescript(&facts), curl(&facts)] {
            let starts = |line: &&str| ["node", "python3", "token=$(curl"].iter().any(|program| line.starts_with(program));
            assert!(text.contains("lbs_k") && text.contains(facts.url) && text.contains(facts.ca), "{text}");
            assert!(!text.lines().find(starts).expect("a command").contains("lbs_k"), "{text}");
        }
    }
}
