// Drives npm `@modelcontextprotocol/sdk` (legacy era, sessions), the key in LIFEBOAT_KEY. The CA comes in by NODE_EXTRA_CA_CERTS.
import { discoverOAuthProtectedResourceMetadata, extractWWWAuthenticateParams } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { follower, obey } from './steps.mjs';

const headers = { Authorization: `Bearer ${process.env.LIFEBOAT_KEY}` };

await obey(async (order, asked) => {
  const client = new Client({ name: 'e2e-v1', version: '1' }, { capabilities: order.elicit ? { elicitation: {} } : {} });
  if (order.elicit) {
    client.setRequestHandler(ElicitRequestSchema, async (request) => {
      asked.push(request.params.message);
      return { action: 'accept', content: order.elicit };
    });
  }
  const transport = new StreamableHTTPClientTransport(new URL(order.url), { requestInit: { headers } });
  await client.connect(transport);
  return {
    protocol: transport.protocolVersion,
    list: () => client.listTools(),
    call: (name, args, more) => client.callTool({ name, arguments: args }, undefined, more),
    close: async () => {
      await transport.terminateSession();
      await client.close();
    },
  };
}, follower(extractWWWAuthenticateParams, discoverOAuthProtectedResourceMetadata));
