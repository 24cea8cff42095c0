"""A server in a sandbox: wait until it answers, use it, and see why another one did not start."""

import asyncio

import hopx_async as hopx

PORT = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1])"


async def main() -> None:
    async with hopx.local() as sandbox:
        port = int((await sandbox.commands.run(["python3", "-c", PORT], check=True)).stdout)
        await sandbox.commands.run("echo hello > index.html", check=True)
        command = ["python3", "-m", "http.server", "--bind", "127.0.0.1", str(port)]
        async with sandbox.commands.start(command, name="web") as server:
            await server.wait_for_http("/index.html", port=port)
            client = "python3 -c \"import urllib.request as u; print(u.urlopen('{}').read())\""
            url = f"http://127.0.0.1:{port}/index.html"
            print((await sandbox.commands.run(client.format(url))).stdout.strip())
            second = await sandbox.commands.start(command, name="second")
            try:
                await second.wait_for_output("Serving HTTP")
            except hopx.NotReady as error:
                print(f"{error.name}: {error.tail.decode().splitlines()[-1]}")


if __name__ == "__main__":
    asyncio.run(main())
