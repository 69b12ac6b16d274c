-- What wrk sends: one tools/call per request, each with an id of its own. The request is put together once and cut at the id.
-- Reads BENCH_FILE: the path, then the headers one a line, an empty line, and the body with @@@@@@@@@ where the id goes.

local before, after, number
local marker = "@@@@@@@@@"

function init(args)
  local file = assert(io.open(os.getenv("BENCH_FILE"), "r"))
  local path = file:read("*l")
  local headers = {}
  for line in file:lines() do
    if line == "" then break end
    local name, value = line:match("^(.-): (.*)$")
    headers[name] = value
  end
  local body = file:read("*a")
  file:close()
  local whole = wrk.format("POST", path, headers, body)
  local from, to = whole:find(marker, 1, true)
  before, after = whole:sub(1, from - 1), whole:sub(to + 1)
  number = 100000000 + tonumber(os.getenv("BENCH_FIRST_ID") or "0")
end

function request()
  number = number + 1
  return before .. number .. after
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'BENCH {"requests":%d,"us":%d,"non2xx":%d,"broken":%d,"p50_us":%d,"p90_us":%d,"p99_us":%d,"max_us":%d}\n',
    summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50), latency:percentile(90), latency:percentile(99), latency.max))
end
