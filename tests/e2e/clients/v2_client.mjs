// Drives npm `@modelcontextprotocol/client`: v2_client.mjs CA auto|legacy, the key in LIFEBOAT_KEY, or a client id and its secret in
// LIFEBOAT_CLIENT and LIFEBOAT_SECRET: then the SDK gets tokens by itself. The CA comes in by NODE_EXTRA_CA_CERTS.
import {
  Client,
  ClientCredentialsProvider,
  StreamableHTTPClientTransport,
  discoverOAuthProtectedResourceMetadata,
  extractWWWAuthenticateParams,
} from '@modelcontextprotocol/client';
import { follower, obey } from './steps.mjs';

const [, , , mode] = process.argv;
const { LIFEBOAT_KEY, LIFEBOAT_CLIENT, LIFEBOAT_SECRET } = process.env;
const shown = (url) => {
  if (!LIFEBOAT_SECRET) return { requestInit: { headers: { Authorization: `Bearer ${LIFEBOAT_KEY}` } } };
  const expectedIssuer = new URL(url).origin;
  return { authProvider: new ClientCredentialsProvider({ clientId: LIFEBOAT_CLIENT, clientSecret: LIFEBOAT_SECRET, expectedIssuer }) };
};

await obey(async (order, asked) => {
  const era = mode === 'legacy' ? {} : { versionNegotiation: { mode } };
  const capabilities = order.elicit ? { elicitation: { form: {} } } : {};
  const client = new Client({ name: 'e2e-v2', version: '1' }, { capabilities, ...era });
  if (order.elicit) {
    client.setRequestHandler('elicitation/create', async (request) => {
      asked.push(request.params.message);
      return { action: 'accept', content: order.elicit };
    });
  }
  await client.connect(new StreamableHTTPClientTransport(new URL(order.url), shown(order.url)));
  return {
    protocol: client.getNegotiatedProtocolVersion?.() ?? client.getProtocolVersion?.(),
    list: () => client.listTools(),
    call: (name, args, more) => client.callTool({ name, arguments: args }, more),
    close: () => client.close(),
  };
}, follower(extractWWWAuthenticateParams, discoverOAuthProtectedResourceMetadata));
