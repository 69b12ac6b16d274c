"""Drives PyPI `mcp`: py_client.py URL CA auto|legacy STEP..., the key in LIFEBOAT_KEY. One JSON line per step.

Steps: `list` | `call TOOL JSON` | `progress TOOL JSON` | `cancel TOOL JSON MS`.
"""

import asyncio
import json
import os
import ssl
import sys
import time

import anyio
import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError


def say(**line):
    print(json.dumps(line), flush=True)


def failure(error):
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, MCPError):
        return {"ok": False, "code": error.error.code, "message": error.error.message, "data": error.error.data}
    return {"ok": False, "code": None, "message": f"{type(error).__name__}: {error}"}


def result_line(result):
    return {"ok": not result.is_error, "text": "".join(part.text for part in result.content if part.type == "text")}


async def step(client, kind, words):
    if kind == "list":
        return {"ok": True, "tools": sorted(tool.name for tool in (await client.list_tools()).tools)}
    tool, arguments = words.pop(0), json.loads(words.pop(0))
    line = {"tool": tool}
    if kind == "call":
        return line | result_line(await client.call_tool(tool, arguments))
    if kind == "progress":
        seen = []

        async def note(progress, total, message):
            seen.append(time.time())

        result = await client.call_tool(tool, arguments, progress_callback=note)
        return line | result_line(result) | {"progress": len(seen), "spread_ms": round((seen[-1] - seen[0]) * 1000) if seen else 0}
    if kind == "cancel":
        started = time.time()
        with anyio.move_on_after(int(words.pop(0)) / 1000) as scope:
            await client.call_tool(tool, arguments)
        return line | {"ok": scope.cancelled_caught, "ms": round((time.time() - started) * 1000)}
    raise SystemExit(f"unknown step {kind}")


async def main():
    url, ca, mode, *words = sys.argv[1:]
    headers = {"Authorization": "Bearer " + os.environ["LIFEBOAT_KEY"]}
    try:
        async with httpx2.AsyncClient(verify=ssl.create_default_context(cafile=ca), headers=headers, timeout=httpx2.Timeout(30, read=300)) as http:
            async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
                say(step="connect", ok=True, protocol=client.protocol_version)
                while words:
                    kind = words.pop(0)
                    try:
                        say(step=kind, **(await step(client, kind, words)))
                    except MCPError as error:
                        say(step=kind, **failure(error))
    except Exception as error:
        say(step="connect", **failure(error))


asyncio.run(main())
