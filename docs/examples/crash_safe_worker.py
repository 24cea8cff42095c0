"""A worker that is killed again and again, and handles every line exactly once."""

import asyncio
import sqlite3
import sys
import tempfile
from pathlib import Path

import hopx_async as hopx


def database(home: Path) -> sqlite3.Connection:
    return sqlite3.connect(home / "done.db")


async def work(home: Path) -> None:
    """Go on where the last worker got to, whoever it was."""
    db = database(home)
    ref, cursor = db.execute("SELECT ref, cursor FROM progress").fetchone()
    async with hopx.local(state_dir=home / "state", detached=True) as sandbox:
        job = await sandbox.commands.get(hopx.CommandRef.from_json(ref))
        async for line in job.lines(after=cursor):
            with db:  # what was done and how far it is: both, or neither
                db.execute("INSERT INTO handled VALUES (?)", (line.text,))
                db.execute("UPDATE progress SET cursor = ?", (line.cursor,))
            print(line.text, flush=True)
    db.close()


async def run_worker(home: Path, crash_after: int | None) -> None:
    """Run a worker; kill it when it has handled so many lines."""
    command = [sys.executable, __file__, str(home)]
    worker = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert worker.stdout is not None
    handled = 0
    async for _ in worker.stdout:
        handled += 1
        if handled == crash_after:
            worker.kill()
    await worker.wait()


async def main(crashes: int = 2, count: int = 200) -> None:
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        async with hopx.local(state_dir=home / "state", detached=True) as sandbox:
            job = await sandbox.commands.start(f"for i in $(seq {count}); do echo item $i; done")
            db = database(home)
            with db:
                db.execute("CREATE TABLE handled (item)")
                db.execute("CREATE TABLE progress (ref, cursor)")
                db.execute("INSERT INTO progress VALUES (?, NULL)", (job.ref.to_json(),))
            for number in range(crashes):
                await run_worker(home, crash_after=count // (2 * crashes) + number)
            await run_worker(home, crash_after=None)
            items = [item for (item,) in db.execute("SELECT item FROM handled ORDER BY rowid")]
            db.close()
            await sandbox.kill()
    exact = items == [f"item {number + 1}" for number in range(count)]
    print(f"{crashes} crashes, {len(items)} items, {'each once' if exact else 'WRONG'}")


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1])) if sys.argv[1:] else main())
