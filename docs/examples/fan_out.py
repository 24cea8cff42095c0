"""A hundred inputs, eight at a time: results as they come, in the order of the inputs."""

import asyncio

import hopx_async as hopx


def digest(number: int) -> hopx.CommandSpec:
    """Return the command for one input; it finds the input in its environment."""
    return hopx.CommandSpec.make('printf %s "$INPUT" | sha256sum', env={"INPUT": str(number)})


async def main() -> None:
    async with hopx.local() as sandbox:
        results = sandbox.commands.map(digest, range(100), limit=8, ordered=True)
        async for number, result in results:
            if number % 25 == 0:
                print(f"{number:>3} {result.stdout[:8]}")
    print("done")


if __name__ == "__main__":
    asyncio.run(main())
