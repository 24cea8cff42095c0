"""Three background commands at once, followed live: the program that `make demo` runs."""

import asyncio

import hopx_async as hopx

COMMANDS = {
    "count": "for i in 1 2 3 4 5; do echo step $i; sleep 0.4; done",
    "fail": "echo compiling; sleep 0.8; echo 'error: no such file' >&2; exit 3",
    "endless": "while true; do echo still here; sleep 0.7; done",
}


async def follow(name: str, job: hopx.CommandHandle) -> hopx.Exit:
    async for event in job.events():
        match event:
            case hopx.Started(pid=pid):
                print(f"{name:>8} | started as pid {pid}")
            case hopx.Stdout(data=data):
                print(f"{name:>8} | {data.decode().rstrip()}")
            case hopx.Stderr(data=data):
                print(f"{name:>8} ! {data.decode().rstrip()}")
            case hopx.Exited(exit=fate):
                print(f"{name:>8} | {fate}")
            case _:
                pass  # other kinds of event may come with later versions
    return await job.wait()


async def main() -> None:
    async with hopx.local() as sandbox:
        jobs = {
            name: await sandbox.commands.start(command, name=name, timeout=3)
            for name, command in COMMANDS.items()
        }
        fates = await asyncio.gather(*(follow(name, job) for name, job in jobs.items()))
    print("\nSummary")
    for name, fate in zip(jobs, fates, strict=True):
        print(f"{name:>8}   {fate.status:<10} {fate}")


if __name__ == "__main__":
    asyncio.run(main())
