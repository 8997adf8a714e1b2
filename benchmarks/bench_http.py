"""
Throughput over HTTP: a small JSON route under uvicorn, with and without the guard, warm.

Two servers of one worker each are asked in turns over connections that stay open. What counts is requests
per second of the *server's* processor time, so that neither the client nor the machine's other work is in it.

    python benchmarks/bench_http.py [--rounds N] [--json FILE]
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from signing import AUDIENCE, ISSUER, SCOPE, Signer, rsa_signer
from timing import Figure, options, report, write

CONNECTIONS = 8
REQUESTS = 250  # of each connection in each round
START_TIMEOUT = 30.0  # seconds
TICKS = os.sysconf("SC_CLK_TCK")

APPLICATION = f"""
import json, os
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
from guardrail import GuardrailMiddleware, Issuer, ServicePackage

async def orders(request):
    return JSONResponse({{"orders": [1, 2, 3]}})

keys = json.loads(os.environ["KEYS"])
package = ServicePackage("orders", issuer=Issuer("{ISSUER}", keys=keys), audience="{AUDIENCE}")
unprotected = Starlette(routes=[Route("/orders", orders)])
protected = Starlette(routes=[Route("/orders", package.requires("{SCOPE}")(orders))])
protected.add_middleware(GuardrailMiddleware)
"""


@dataclass
class Server:
    """
    A running server.
    """

    process: subprocess.Popen[bytes]
    port: int

    def processor_time(self) -> float:
        """
        Seconds of processor time that it has used.
        """
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def serving(folder: Path, name: str, signer: Signer) -> Iterator[Server]:
    """
    uvicorn with one of the two applications.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", f"served:{name}", "--port", str(port), "--no-access-log"]
    environment = {**os.environ, "KEYS": json.dumps({"keys": [signer.jwk]})}
    with subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=folder, env=environment, stderr=subprocess.DEVNULL
    ) as process:
        try:
            _wait_for(port, process)
            yield Server(process, port)
        finally:
            process.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_TIMEOUT
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > end:
                raise
            time.sleep(0.05)
        else:
            return


async def ask(port: int, token: str, requests: int) -> None:
    """
    Ask over one connection, again and again.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET /orders HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    try:
        for _ in range(requests):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head[:40]
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
    finally:
        writer.close()


async def per_second(server: Server, token: str) -> float:
    """
    Requests per second of the server's processor time.
    """
    before = server.processor_time()
    await asyncio.gather(*[ask(server.port, token, REQUESTS) for _ in range(CONNECTIONS)])
    return CONNECTIONS * REQUESTS / (server.processor_time() - before)


async def compare(protected: Server, unprotected: Server, token: str, rounds: int) -> Figure:
    """
    How much of the throughput is left, round by round.
    """
    left: list[float] = []
    for number in range(rounds + 1):
        with_guard, without = await per_second(protected, token), await per_second(unprotected, token)
        if number:  # the first one warms up
            left.append(with_guard / without)
    return Figure.of(left)


def main() -> None:
    """
    Measure, print, write.
    """
    given = options(__doc__, rounds=9)
    signer = rsa_signer()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "served.py").write_text(APPLICATION, encoding="utf-8")
        protected = stack.enter_context(serving(folder, "protected", signer))
        unprotected = stack.enter_context(serving(folder, "unprotected", signer))
        left = asyncio.run(compare(protected, unprotected, signer.token(), given.rounds))
    title = "Throughput with the guard, of that without"
    rows: dict[str, Figure | str] = {"requests per second of processor time": left}
    report(title, rows, unit="x")
    write(given.json, "http", {title: rows})


if __name__ == "__main__":
    main()
