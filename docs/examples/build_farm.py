"""Builds on several sandboxes at once; the first that fails ends the others."""

import asyncio

import hopx_async as hopx

BUILDS = {
    "core": "echo compiling core; sleep 0.2",
    "web": "echo compiling web; sleep 0.3; echo 'web.c:7: error' >&2; exit 2",
    "docs": "echo rendering; sleep 60",
}


async def main() -> None:
    async with hopx.pool(hopx.local, min_size=2, max_size=2) as pool:
        try:
            async with hopx.group(pool, limit=3, grace=1) as farm:
                for name, build in BUILDS.items():
                    farm.start_soon(build, name=name, timeout=300)
                async for job in farm.completed():
                    print(f"{job.name}: {await job.wait()}")
        except hopx.CommandFailed as error:
            print(f"{error.name} failed: {error.tail.decode().splitlines()[-1]}")


if __name__ == "__main__":
    asyncio.run(main())
