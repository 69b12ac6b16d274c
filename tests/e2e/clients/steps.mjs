// What both TypeScript clients do with their orders; each script brings its own SDK. Takes and answers the orders that py_client.py describes.
import { createInterface } from 'node:readline';

const failure = (error) => ({ ok: false, code: error?.code ?? null, message: String(error?.message ?? error), data: error?.data });

const resultLine = (result) => ({
  ok: !result.isError,
  text: (result.content ?? []).filter((part) => part.type === 'text').map((part) => part.text).join(''),
  structured: result.structuredContent ?? null,
});

// `connect(order, asked)` gives `{ protocol, list, call, close }`, which hides what differs between the two SDKs.
// `discover(url)` follows the challenge of a refused request.
export async function obey(connect, discover) {
  const connections = new Map();
  const say = (order, line) => console.log(JSON.stringify({ n: order.n, step: order.do, ...line }));
  const running = new Set();
  const take = async (order) => {
    try {
      if (order.do === 'connect') {
        const asked = [];
        const connection = { asked, ...(await connect(order, asked)) };
        connections.set(order.as, connection);
        say(order, { ok: true, protocol: connection.protocol });
      } else if (order.do === 'discover') {
        say(order, { ok: true, ...(await discover(order.url)) });
      } else {
        say(order, await one(connections.get(order.as), order));
      }
    } catch (error) {
      say(order, failure(error));
    }
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const task = take(JSON.parse(line)).finally(() => running.delete(task));
    running.add(task);
  }
  await Promise.race([Promise.all(running), new Promise((done) => setTimeout(done, 5000))]);
  process.exit(0);
}

async function one(connection, order) {
  if (order.do === 'list') return { ok: true, tools: (await connection.list()).tools.map((tool) => tool.name).sort() };
  if (order.do === 'close') {
    await connection.close();
    return { ok: true };
  }
  const { tool, arguments: args } = order;
  if (order.do === 'call') return { ...resultLine(await connection.call(tool, args, {})), asked: connection.asked };
  if (order.do === 'progress') return progress(connection, tool, args);
  if (order.do === 'cancel') return cancel(connection, tool, args, order.after_ms);
  throw new Error(`unknown order ${order.do}`);
}

async function progress(connection, tool, args) {
  const seen = [];
  const onprogress = ({ progress: step, total }) => seen.push({ at: Date.now(), step, total });
  const result = await connection.call(tool, args, { onprogress });
  const spread = seen.length ? seen.at(-1).at - seen[0].at : 0;
  return { ...resultLine(result), progress: seen.map(({ step, total }) => [step, total]), spread_ms: spread };
}

async function cancel(connection, tool, args, afterMs) {
  const started = Date.now();
  const stop = new AbortController();
  setTimeout(() => stop.abort('the test cancels'), afterMs);
  try {
    await connection.call(tool, args, { signal: stop.signal });
    return { ok: false, ms: Date.now() - started };
  } catch {
    return { ok: stop.signal.aborted, ms: Date.now() - started };
  }
}

// What a client makes of a 401: `challenge` and `metadata` are the SDK's own functions.
export const follower = (challenge, metadata) => async (url) => {
  const refused = await fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' });
  const { resourceMetadataUrl } = challenge(refused);
  return { status: refused.status, document: await metadata(url, { resourceMetadataUrl }) };
};
