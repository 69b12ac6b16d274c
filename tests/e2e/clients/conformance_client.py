"""The client that the official suite's mock servers test: conformance_client.py URL, the scenario in MCP_CONFORMANCE_SCENARIO.

The key stands in LIFEBOAT_KEY and the CA in LIFEBOAT_CA where URL is a Lifeboat's; without them it goes to the mock server itself.
"""

import asyncio
import contextlib
import json
import os
import ssl
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CreateMessageResult, ElicitResult, ListRootsResult, TextContent
from pydantic import ValidationError


async def elicited(context, params):
    """Accepts, with the defaults of the form, and with a yes where there is none."""
    fields = getattr(params, "requested_schema", {}).get("properties", {})
    return ElicitResult(action="accept", content={name: field.get("default", True) for name, field in fields.items()})


async def sampled(context, params):
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="a model would say this"), model="none")


async def rooted(context):
    return ListRootsResult(roots=[])


async def initialize(client):
    await client.list_tools()


async def tools_call(client):
    await client.list_tools()
    await client.call_tool("add_numbers", {"a": 5, "b": 3})


async def elicitation_defaults(client):
    await client.list_tools()
    await client.call_tool("test_client_elicitation_defaults", {})


async def sse_retry(client):
    await client.list_tools()
    await client.call_tool("test_reconnection", {})


async def request_state(client):
    await client.list_tools()
    for tool in ["test_mrtr_echo_state", "test_mrtr_unrelated", "test_mrtr_no_state"]:
        await client.call_tool(tool, {})
    # The SDK will not read a modern result without a type; what counts is that it does not take it for a question and call again.
    with contextlib.suppress(ValidationError):
        await client.call_tool("test_mrtr_no_result_type", {})


async def standard_headers(client):
    for tool in (await client.list_tools()).tools:
        await client.call_tool(tool.name, {})
    for resource in (await client.list_resources()).resources:
        await client.read_resource(str(resource.uri))
    for prompt in (await client.list_prompts()).prompts:
        await client.get_prompt(prompt.name)


async def custom_headers(client):
    await client.list_tools()
    for call in json.loads(os.environ["MCP_CONFORMANCE_CONTEXT"])["toolCalls"]:
        await client.call_tool(call["name"], call["arguments"])


async def invalid_tools(client):
    """Calls whatever the SDK left in the list."""
    for tool in (await client.list_tools()).tools:
        await client.call_tool(tool.name, dict.fromkeys(tool.input_schema.get("properties", {}), "here"))


async def echo_schema(client):
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    await client.call_tool("json_schema_echo", {"schema": tools["json_schema_2020_12_tool"].input_schema})


SCENARIOS = {
    "initialize": initialize,
    "tools_call": tools_call,
    "elicitation-sep1034-client-defaults": elicitation_defaults,
    "sse-retry": sse_retry,
    "request-metadata": initialize,
    "sep-2322-client-request-state": request_state,
    "http-standard-headers": standard_headers,
    "http-custom-headers": custom_headers,
    "http-invalid-tool-headers": invalid_tools,
    "json-schema-ref-no-deref": initialize,
    "json-schema-2020-12-preservation": echo_schema,
}


async def main():
    steps = SCENARIOS[os.environ["MCP_CONFORMANCE_SCENARIO"]]
    mode = "auto" if os.environ["MCP_CONFORMANCE_PROTOCOL_VERSION"] >= "2026-07-28" else "legacy"
    ca, key = os.environ.get("LIFEBOAT_CA"), os.environ.get("LIFEBOAT_KEY")
    verify = ssl.create_default_context(cafile=ca) if ca else True
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx2.AsyncClient(verify=verify, headers=headers, timeout=httpx2.Timeout(10, read=30)) as http:
        transport = streamable_http_client(sys.argv[-1], http_client=http)
        callbacks = {"elicitation_callback": elicited, "sampling_callback": sampled, "list_roots_callback": rooted}
        async with Client(transport, mode=mode, **callbacks) as client:
            await steps(client)


asyncio.run(main())
