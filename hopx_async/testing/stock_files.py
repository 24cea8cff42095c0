"""Files of an emulated stock agent: in ``/workspace`` and ``/tmp``, nowhere else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from aiohttp import web

from hopx_async.agent.dialect.answers import Refused
from hopx_async.agent.dialect.disk import list_directory
from hopx_async.agent.dialect.files import FileRoutes
from hopx_async.agent.dialect.paths import WORKSPACE, Places
from hopx_async.agent.guard import json_response
from hopx_async.testing.stock_commands import StockRefusal

__all__ = ["StockFiles", "StockPlaces"]

_TEMPORARY = Path("/tmp")  # noqa: S108  # HopX's word, and this machine's own directory


class StockPlaces(Places):
    """Where ``/workspace`` is; ``/tmp`` is this machine's own."""

    def inside(self, path: object) -> Path:
        """Return where *path* leads, within either of the two.

        Raises:
            Refused: If it is no path, or leads elsewhere.
        """
        if isinstance(path, str) and "\0" not in path and Path(path).is_relative_to(_TEMPORARY):
            found = Path(path).resolve()
            if not found.is_relative_to(_TEMPORARY.resolve()):
                raise Refused("PATH_NOT_ALLOWED", f"{path[:200]!r} is not allowed", status=403)
            return found
        return super().inside(path)

    def told(self, place: Path) -> str:
        """Return *place* as clients write it."""
        return super().told(place) if place.is_relative_to(self.root) else str(place)


class StockFiles(FileRoutes):
    """The routes: listings in one piece, and uploads that fail where no directory is."""

    async def _list(self, request: web.Request) -> web.Response:
        place = await self._inside(request.query.get("path") or WORKSPACE)
        told, found = self._told(place), list[Any]()
        after: str | None = None
        while True:
            page, after = await asyncio.to_thread(list_directory, place, told, after)
            found += page
            if after is None:
                # An empty list is null, as Go writes it.
                return json_response({"files": found or None, "path": told, "count": len(found)})

    async def _upload(self, request: web.Request) -> web.Response:
        try:
            return await super()._upload(request)
        except Refused as error:
            if error.word == "FILE_NOT_FOUND":
                raise StockRefusal("INTERNAL_ERROR", error.message, status=500) from None
            raise
