"""A server on PyPI `fastmcp`, both eras over HTTP: fast_server.py PORT [CHANGE...]. Keeps what it is told in memory, for as long as it lives.

Changes, for the tests of drift: `reworded` (another description of `recall`), `renamed` (`recall` is called `recollect`).
With `watched` it has one tool more, `under_way`.
"""

import asyncio
import sys

from fastmcp import Context, FastMCP
from fastmcp.tools import ToolResult

port, changes = int(sys.argv[1]), set(sys.argv[2:])
server = FastMCP("fast")
kept: list[str] = []
begun: list[str] = []
READ = {"readOnlyHint": True}


@server.tool(annotations=READ)
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool(
    name="recollect" if "renamed" in changes else "recall",
    description="Lists what was remembered, and more." if "reworded" in changes else "Lists what was remembered.",
    annotations=READ,
)
def recall() -> list[str]:
    return kept


@server.tool(annotations={"readOnlyHint": False, "destructiveHint": False})
def remember(text: str) -> str:
    """Remembers a text."""
    kept.append(text)
    return f"remembered {text}"


@server.tool(annotations={"readOnlyHint": False, "destructiveHint": True})
def wipe() -> str:
    """Forgets everything, if it could."""
    raise RuntimeError("boom at /srv/app/secret.py line 3 token=abc")


@server.tool(annotations=READ)
async def count(steps: int, pause_ms: int, context: Context) -> str:
    """Counts slowly and reports each step."""
    for step in range(1, steps + 1):
        await asyncio.sleep(pause_ms / 1000)
        await context.report_progress(step, steps)
    return f"counted to {steps}"


@server.tool(annotations={"readOnlyHint": False, "destructiveHint": False})
async def remember_slowly(text: str, ms: int) -> str:
    """Remembers a text, after a while; a call that is given up before that is remembered as such."""
    begun.append(text)
    try:
        await asyncio.sleep(ms / 1000)
    except asyncio.CancelledError:
        kept.append(f"cancelled {text}")
        raise
    kept.append(text)
    return f"remembered {text}"


if "watched" in changes:

    @server.tool(annotations=READ)
    def under_way() -> list[str]:
        """Lists what it was ever told to remember slowly."""
        return begun


@server.tool(annotations=READ, output_schema=None)
def kitchen_sink() -> ToolResult:
    """Answers with what a proxy that reads numbers or sorts keys would change."""
    odd = {"z": 10**59 + 7, "a": -(10**59) - 7, "e": 1e-7, "f": 1.0, "u": "\u2028\u00e9\U0001f6df", "n": None, "deep": {"b": [[]], "a": {}}}
    return ToolResult(content="see the structure", structured_content=odd, meta={"e2e/unknown": {"y": 1, "x": [10**59]}})


@server.tool(annotations=READ)
async def confirm(context: Context) -> str:
    """Asks the user for a yes."""
    answer = await context.elicit("Is that so?", response_type=bool)
    return f"the user said {answer.action}"


server.run(transport="http", host="127.0.0.1", port=port, show_banner=False, log_level="error")
