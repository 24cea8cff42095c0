"""The files of a sandbox, as calls that block."""

from __future__ import annotations

from typing import Self

from hopx_async import files as _files
from hopx_async import watching as _watching
from hopx_async.blocking.wrapping import Stream, Wrapper, awaited, giving
from hopx_async.protocol.file_answers import FileEvent

__all__ = ["FileWatch", "Files"]


class FileWatch(Stream[FileEvent], of=_watching.FileWatch):
    """An iterator of changes, made by ``sandbox.files.watch()``; entered, it watches."""

    def __enter__(self) -> Self:
        self._carry_out(self._inner.__aenter__)
        return self


class Files(Wrapper[_files.Files], of=_files.Files):
    """The files of one sandbox: ``sandbox.files``."""

    read = awaited(_files.Files.read)
    read_text = awaited(_files.Files.read_text)
    write = awaited(_files.Files.write)
    list = awaited(_files.Files.list)
    exists = awaited(_files.Files.exists)
    mkdir = awaited(_files.Files.mkdir)
    remove = awaited(_files.Files.remove)
    upload = awaited(_files.Files.upload)
    download = awaited(_files.Files.download)
    watch = giving(_files.Files.watch, FileWatch)
