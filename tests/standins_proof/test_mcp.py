"""The MCP stand-in against the official client, in both eras of the protocol."""

from __future__ import annotations

import asyncio

import pytest
from mcp.client.client import Client
from standins import mcp as standin

LEGACY = "2025-11-25"


def talk(url, mode, work):
    async def run():
        async with Client(f"{url}/mcp", mode=mode) as client:
            return await work(client)

    return asyncio.run(asyncio.wait_for(run(), 60))


MODES = [("both", "auto", standin.MODERN), ("legacy", "auto", LEGACY), ("both", "legacy", LEGACY),
         ("modern", standin.MODERN, standin.MODERN), ("modern", "auto", standin.MODERN)]


@pytest.mark.parametrize(("era", "mode", "version"), MODES)
@pytest.mark.parametrize("is_sse", [False, True])
def test_tools_are_listed_and_called(mcp_standin, era, mode, version, is_sse):
    mcp_standin.control(era=era, sse=is_sse)

    async def work(client):
        names, cursor = [], None
        while True:
            page = await client.list_tools(cursor=cursor) if cursor else await client.list_tools()
            names += [tool.name for tool in page.tools]
            cursor = page.next_cursor
            if not cursor:
                break
        return client.protocol_version, names, await client.call_tool("add", {"a": 2, "b": 3})

    spoken, names, added = talk(mcp_standin.url, mode, work)
    assert spoken == version
    assert names == [tool["name"] for tool in standin.TOOLS]
    assert (added.structured_content, added.is_error) == ({"sum": 5}, False)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_results_have_their_forms(mcp_standin, mode):
    async def work(client):
        await client.list_tools()
        return [await client.call_tool(name, given) for name, given in [
            ("say", {"text": "hello"}), ("picture", {}), ("fails", {"why": "no"}),
            ("get-weather", {"city": "Zürich", "days": 2})]]

    said, picture, failed, weather = talk(mcp_standin.url, mode, work)
    assert [block.text for block in said.content] == ["You say:", "hello"]
    assert picture.content[0].type == "image"
    assert (failed.is_error, failed.content[0].text) == (True, "no")
    assert "Zürich" in weather.content[0].text or "Z\\u00fcrich" in weather.content[0].text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_unknown_tool_is_an_error(mcp_standin, mode):
    async def work(client):
        with pytest.raises(Exception, match="Unknown tool: nobody"):
            await client.call_tool("nobody", {})

    talk(mcp_standin.url, mode, work)
