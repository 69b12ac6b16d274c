"""One MCP call as every client of a measurement makes it, and the check that its answer is the text that was sent."""

import http.client
import json
import ssl

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
}
WORDS = "the quick brown fox jumps over the lazy dog "


def text_of(size):
    """Plain words of so many bytes; nothing in it looks like a secret."""
    return (WORDS * (size // len(WORDS) + 1))[:size]


def message(identity, tool, text, modern=True):
    params = {"name": tool, "arguments": {"text": text}}
    if modern:
        params["_meta"] = META
    return json.dumps({"jsonrpc": "2.0", "id": identity, "method": "tools/call", "params": params}, separators=(",", ":"))


def begin(subject):
    """The handshake of the older revisions; keeps the session, where there is one, in the subject's headers."""
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
    for message in ({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}, {"jsonrpc": "2.0", "method": "notifications/initialized"}):
        link = connect(subject)
        link.request("POST", subject.paths["json"], json.dumps(message), headers_of(subject, ""))
        answer = link.getresponse()
        answer.read()
        session = answer.getheader("mcp-session-id")
        link.close()
        if session:
            subject.headers = {**subject.headers, "mcp-session-id": session, "mcp-protocol-version": "2025-11-25"}
    return answer.status < 300


def headers_of(subject, tool):
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream", **subject.headers}
    if subject.modern:
        headers |= {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": tool}
    return headers


def connect(subject):
    if not subject.tls:
        return http.client.HTTPConnection("127.0.0.1", subject.port, timeout=20)
    context = ssl.create_default_context(cafile=subject.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return http.client.HTTPSConnection("127.0.0.1", subject.port, timeout=20, context=context)


def echo(subject, form, tool, size):
    """One call; gives nothing when the answer holds the text, else what came instead."""
    text, link = text_of(size), connect(subject)
    try:
        link.request("POST", subject.paths[form], message(7, subject.prefix + tool, text, subject.modern), headers_of(subject, tool))
        answer = link.getresponse()
        body = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as fault:
        return str(fault)
    finally:
        link.close()
    data = next((line[5:] for line in body.splitlines() if line.startswith("data:") and '"result"' in line), body)
    try:
        found = json.loads(data)
        if found["id"] == 7 and found["result"]["content"][0]["text"] == text:
            return None
    except (ValueError, KeyError, IndexError, TypeError):
        pass
    return f"HTTP {answer.status}: {body[:300]}"
