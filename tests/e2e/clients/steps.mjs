// The steps that both TypeScript clients take; each script brings its own SDK. One JSON line per step.
export const say = (line) => console.log(JSON.stringify(line));

export const failure = (error) => ({ ok: false, code: error?.code ?? null, message: String(error?.message ?? error), data: error?.data });

const resultLine = (result) => ({
  ok: !result.isError,
  text: (result.content ?? []).filter((part) => part.type === 'text').map((part) => part.text).join(''),
});

// `call(name, arguments, options)` hides what differs between the two SDKs.
export async function run(client, call, words) {
  while (words.length > 0) {
    const step = words.shift();
    try {
      say({ step, ...(await one(client, call, step, words)) });
    } catch (error) {
      say({ step, ...failure(error) });
    }
  }
}

async function one(client, call, step, words) {
  if (step === 'list') return { ok: true, tools: (await client.listTools()).tools.map((tool) => tool.name).sort() };
  const tool = words.shift();
  const args = JSON.parse(words.shift());
  if (step === 'call') return { tool, ...resultLine(await call(tool, args, {})) };
  if (step === 'progress') {
    const seen = [];
    const result = await call(tool, args, { onprogress: () => seen.push(Date.now()) });
    return { tool, ...resultLine(result), progress: seen.length, spread_ms: seen.length ? seen.at(-1) - seen[0] : 0 };
  }
  if (step === 'cancel') {
    const ms = Number(words.shift());
    const started = Date.now();
    const stop = new AbortController();
    setTimeout(() => stop.abort('the test cancels'), ms);
    try {
      await call(tool, args, { signal: stop.signal });
      return { tool, ok: false, ms: Date.now() - started };
    } catch {
      return { tool, ok: stop.signal.aborted, ms: Date.now() - started };
    }
  }
  throw new Error(`unknown step ${step}`);
}
