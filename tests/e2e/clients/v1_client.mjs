// Drives npm `@modelcontextprotocol/sdk` (legacy era, sessions): v1_client.mjs URL CA legacy STEP..., the key in LIFEBOAT_KEY. The CA as in v2.
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { failure, run, say } from './steps.mjs';

const [, , url, , , ...words] = process.argv;
const client = new Client({ name: 'e2e-v1', version: '1' }, { capabilities: {} });
const headers = { Authorization: `Bearer ${process.env.LIFEBOAT_KEY}` };
try {
  const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
  await client.connect(transport);
  say({ step: 'connect', ok: true, protocol: transport.protocolVersion });
  await run(client, (name, args, more) => client.callTool({ name, arguments: args }, undefined, more), words);
  await transport.terminateSession();
  await client.close();
} catch (error) {
  say({ step: 'connect', ...failure(error) });
}
