"""Drives PyPI `mcp`: py_client.py CA auto|legacy, the key in LIFEBOAT_KEY, or a client id and its secret in LIFEBOAT_CLIENT and
LIFEBOAT_SECRET: then the SDK gets tokens by itself. Takes one order a line as JSON, answers each with one line.

Orders, all with a number `n` that the answer repeats and the name `as` of a connection:
`connect` (`url`, or `bridge`: the command line of a stdio server; `elicit`: what the user answers when asked),
`list`, `call`, `progress`, `cancel` (`after_ms`), all three with `tool` and `arguments`, and `close`;
`discover` (`url`) follows the challenge of a refused request and needs no connection.
Orders do not wait for each other. The end of standard input ends everything.
"""

import asyncio
import json
import os
import ssl
import sys
import time
from contextlib import AsyncExitStack

import anyio
import httpx2
import mcp_types
from mcp import Client
from mcp.client.auth import utils as auth
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

CA, MODE = sys.argv[1:]
connections = {}


def say(order, **line):
    print(json.dumps({"n": order["n"], "step": order["do"]} | line), flush=True)


def failure(error):
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, MCPError):
        return {"ok": False, "code": error.error.code, "message": error.error.message, "data": error.error.data}
    return {"ok": False, "code": None, "message": f"{type(error).__name__}: {error}"}


class Memory:
    """Where the SDK keeps its tokens."""

    tokens = info = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.info

    async def set_client_info(self, info):
        self.info = info


class Connection:
    def __init__(self):
        self.client = None
        self.over = asyncio.Event()
        self.asked = []

    async def transport(self, order, stack):
        if "bridge" in order:
            program, *arguments = order["bridge"]
            return stdio_client(StdioServerParameters(command=program, args=arguments, env=dict(os.environ)))
        trust = ssl.create_default_context(cafile=CA)
        shown = {"headers": {"Authorization": "Bearer " + os.environ["LIFEBOAT_KEY"]}}
        if "LIFEBOAT_SECRET" in os.environ:
            client, secret = os.environ["LIFEBOAT_CLIENT"], os.environ["LIFEBOAT_SECRET"]
            issuer = order["url"].split("/mcp/")[0]
            provider = ClientCredentialsOAuthProvider(
                server_url=order["url"], storage=Memory(), client_id=client, client_secret=secret, issuer=issuer
            )
            shown = {"auth": provider}
        http = httpx2.AsyncClient(verify=trust, timeout=httpx2.Timeout(30, read=300), **shown)
        return streamable_http_client(order["url"], http_client=await stack.enter_async_context(http))

    async def elicited(self, order):
        async def answer(context, params):
            self.asked.append(params.message)
            return mcp_types.ElicitResult(action="accept", content=order["elicit"])

        return answer if "elicit" in order else None

    async def hold(self, order):
        try:
            async with AsyncExitStack() as stack:
                transport = await self.transport(order, stack)
                client = Client(transport, mode=MODE, elicitation_callback=await self.elicited(order))
                self.client = await stack.enter_async_context(client)
                say(order, ok=True, protocol=self.client.protocol_version)
                await self.over.wait()
        except BaseException as error:
            if self.client is None:
                say(order, **failure(error))


async def progress(client, tool, arguments):
    seen = []

    async def note(progress, total, message):
        seen.append((time.time(), progress, total))

    result = await client.call_tool(tool, arguments, progress_callback=note)
    spread = round((seen[-1][0] - seen[0][0]) * 1000) if seen else 0
    return result_line(result) | {"progress": [[step, total] for _, step, total in seen], "spread_ms": spread}


async def cancel(client, tool, arguments, after_ms):
    started = time.time()
    with anyio.move_on_after(after_ms / 1000) as scope:
        await client.call_tool(tool, arguments)
    return {"ok": scope.cancelled_caught, "ms": round((time.time() - started) * 1000)}


def result_line(result):
    text = "".join(part.text for part in result.content if part.type == "text")
    return {"ok": not result.is_error, "text": text, "structured": result.structured_content}


async def one(connection, order):
    client, kind = connection.client, order["do"]
    if kind == "list":
        return {"ok": True, "tools": sorted(tool.name for tool in (await client.list_tools()).tools)}
    if kind == "close":
        connection.over.set()
        return {"ok": True}
    tool, arguments = order["tool"], order.get("arguments")
    if kind == "call":
        return result_line(await client.call_tool(tool, arguments)) | {"asked": connection.asked}
    if kind == "progress":
        return await progress(client, tool, arguments)
    if kind == "cancel":
        return await cancel(client, tool, arguments, order["after_ms"])
    raise ValueError(f"unknown order {kind}")


async def discover(url):
    """What the SDK makes of a 401: it follows the challenge."""
    async with httpx2.AsyncClient(verify=ssl.create_default_context(cafile=CA)) as http:
        refused = await http.post(url, json={})
        named = auth.extract_resource_metadata_from_www_auth(refused)
        for candidate in auth.build_protected_resource_metadata_discovery_urls(named, url):
            found = await auth.handle_protected_resource_response(await http.get(candidate))
            if found:
                return {"ok": True, "status": refused.status_code, "document": found.model_dump(mode="json", exclude_none=True)}
    return {"ok": False, "status": refused.status_code}


async def obey(order):
    if order["do"] == "discover":
        return say(order, **(await discover(order["url"])))
    if order["do"] == "connect":
        connections[order["as"]] = Connection()
        return await connections[order["as"]].hold(order)
    try:
        say(order, **(await one(connections[order["as"]], order)))
    except Exception as error:
        say(order, **failure(error))


async def main():
    tasks = set()
    while line := await asyncio.to_thread(sys.stdin.readline):
        tasks.add(asyncio.create_task(obey(json.loads(line))))
    for connection in connections.values():
        connection.over.set()
    await asyncio.wait(tasks, timeout=5)


asyncio.run(main())
