"""An agent in the test's own loop, around a keeper's double, and a client of its link."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from hopx_async.agent.server import Agent, Config
from hopx_async.protocol import wire
from hopx_async.protocol.cursor import START, Position
from hopx_async.protocol.link import Link
from tests.agent.keeper_double import PATIENCE, PID, FakeKeeper, make_state

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from hopx_async.protocol.events import Event
    from hopx_async.protocol.subscription import Subscription

__all__ = [
    "SECRET",
    "TOKEN",
    "LinkClient",
    "Serving",
    "closed",
    "config_for",
    "greeting",
    "link_socket",
    "listening",
    "serving",
]

TOKEN = "a-token-of-the-tests"  # noqa: S105  # it opens nothing
SECRET = "5e" * 32


class LinkClient:
    """The client half of the link over a real websocket."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.link = Link()
        self._replies: dict[int, asyncio.Future[wire.Reply]] = {}
        self._news = asyncio.Event()
        self.link.connected(1)
        self._reader = asyncio.create_task(self._read())

    async def aclose(self) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)

    async def call(self, method: str, **params: Any) -> Any:
        """Ask and return the result, or raise the error that came."""
        reply = asyncio.get_running_loop().create_future()
        self._replies[self.link.call(1, method, params)] = reply
        await self.flush()
        async with asyncio.timeout(PATIENCE):
            answer: wire.Reply = await reply
        if answer.error is not None:
            raise wire.error_from_dict(answer.error)
        return answer.result

    def subscribe(
        self, process_id: str, position: Position = START, *, output: bool = True
    ) -> Subscription:
        return self.link.subscribe(process_id, position, output=output)

    async def next(self, subscription: Subscription) -> Event | None:
        """Return the next event, None at the end."""
        async with asyncio.timeout(PATIENCE):
            while True:
                event = subscription.take()
                await self.flush()
                if subscription.error is not None:
                    raise subscription.error
                if event is not None or subscription.done:
                    return event
                self._news.clear()
                await self._news.wait()

    async def events(self, process_id: str, position: Position = START) -> list[Event]:
        """Return every event from a position to the end."""
        subscription = self.subscribe(process_id, position)
        found = []
        while (event := await self.next(subscription)) is not None:
            found.append(event)
        return found

    async def exit(self, process_id: str) -> Event | None:
        return await self.next(self.subscribe(process_id, output=False))

    async def flush(self) -> None:
        while (frame := self.link.data_to_send(1)) is not None:
            await self.socket.send(frame)

    async def _read(self) -> None:
        async for frame in self.socket:
            for reply in self.link.receive(1, frame).replies:
                self._replies.pop(reply.call).set_result(reply)
            self._news.set()


class Serving:
    """An agent that serves, its keeper's double, and ways to reach it.

    Attributes:
        http: A client that has the token.
    """

    def __init__(self, agent: Agent, keeper: FakeKeeper, port: int) -> None:
        self.agent = agent
        self.keeper = keeper
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.http = aiohttp.ClientSession(self.url, headers={"Authorization": f"Bearer {TOKEN}"})

    @asynccontextmanager
    async def link(self) -> AsyncGenerator[LinkClient]:
        async with self.connect() as socket:
            client = LinkClient(socket)
            try:
                yield client
            finally:
                await client.aclose()

    def connect(self, **options: Any) -> connect:
        return link_socket(self.url, TOKEN, **options)

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Return status and JSON of one request."""
        async with self.http.request(method, path, **options) as response:
            return response.status, await response.json()


def link_socket(url: str, token: str, **options: Any) -> connect:
    """Return a websocket to an agent's link, to be entered."""
    return connect(
        url.replace("http", "ws", 1) + "/v1/link",
        additional_headers={"Authorization": f"Bearer {token}"},
        compression=None,
        max_size=1 << 23,
        proxy=None,
        **options,
    )


def greeting(*more: wire.Ask | wire.Call) -> str:
    """Return the first frame of a client."""
    controls: list[wire.ClientControl] = [wire.Hello(wire.LINK_VERSION), *more]
    return wire.encode(controls)


async def closed(socket: ClientConnection) -> tuple[int | None, str | None]:
    """Read until the close; return its code and reason."""
    async with asyncio.timeout(PATIENCE):
        with suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code, socket.close_reason


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def config_for(state_dir: Path, port: int, **changes: Any) -> dict[str, Any]:
    """Return the config that a root would send."""
    config = {"sandbox_id": "sbx_test", "workspace": str(state_dir / "workspace"), "port": port}
    config |= {"state_dir": str(state_dir), "token": TOKEN, "secret": SECRET}
    config |= {
        "base_env": {"PATH": "/bin", "HOME": "/home", "LANG": "C"},
        "retention_bytes": 1 << 28,
    }
    config |= {"keepers": [{"number": 1, "pid": PID, "stalled": False}], "keeper_commands": 2000}
    return {**config, "url_host": "127.0.0.1", "allow_hosts": [], **changes}


@asynccontextmanager
async def serving(
    state_dir: Path, *, index: str | None = "", logs: FakeKeeper | None = None, **config: Any
) -> AsyncGenerator[Serving]:
    """Run an agent in this loop on *state_dir*; *logs* is a keeper whose commands live on."""
    if not state_dir.exists():
        make_state(state_dir)
    ours, its = socket.socketpair()
    keeper = FakeKeeper(state_dir, its)
    if logs is not None:
        keeper.logs = logs.logs
    listen = listening()
    port = listen.getsockname()[1]
    config = config_for(state_dir, port, **config)
    told: list[dict[str, Any]] = []
    agent = Agent(msgspec.convert(config, Config), told.append)
    server = Serving(agent, keeper, port)
    try:
        await keeper.introduce(index=index)
        agent.keepers.take(1, ours)
        await agent.serve(listen)
        yield server
    finally:
        await server.http.close()
        await agent.aclose()
        await keeper.aclose()
