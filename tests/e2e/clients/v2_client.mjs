// Drives npm `@modelcontextprotocol/client`: v2_client.mjs URL CA auto|legacy STEP..., the key in LIFEBOAT_KEY. The CA comes in by NODE_EXTRA_CA_CERTS.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { failure, run, say } from './steps.mjs';

const [, , url, , mode, ...words] = process.argv;
const options = mode === 'legacy' ? {} : { versionNegotiation: { mode } };
const client = new Client({ name: 'e2e-v2', version: '1' }, { capabilities: {}, ...options });
const headers = { Authorization: `Bearer ${process.env.LIFEBOAT_KEY}` };
try {
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
  say({ step: 'connect', ok: true, protocol: client.getNegotiatedProtocolVersion?.() ?? client.getProtocolVersion?.() });
  await run(client, (name, args, more) => client.callTool({ name, arguments: args }, more), words);
  await client.close();
} catch (error) {
  say({ step: 'connect', ...failure(error) });
}
