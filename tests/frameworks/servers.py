"""
Real servers on loopback, each in a process of its own.
"""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx

from guardrail.testing import FakeIssuer

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
DEADLINE: Final = 15.0  # seconds until what should have happened did not
_POLL: Final = 0.02  # seconds between looks at what is to happen
_APP: Final = "served_app:app"
_UVICORN: Final = ("uvicorn", _APP, "--port", "{port}", "--ws")
SERVERS: Final = {
    "uvicorn-websockets": (*_UVICORN, "websockets"),
    "uvicorn-websockets-sansio": (*_UVICORN, "websockets-sansio"),
    "uvicorn-wsproto": (*_UVICORN, "wsproto"),
    "hypercorn": ("hypercorn", _APP, "--bind", "127.0.0.1:{port}", "--access-logfile", "-"),
    "granian": ("granian", _APP, "--interface", "asgi", "--port", "{port}", "--access-log"),
}


@dataclass
class Running:
    """
    A server that answers, and the issuer whose tokens it takes.
    """

    name: str
    port: int
    log_file: Path
    fake: FakeIssuer
    tokens: list[str] = field(default_factory=list[str])

    def token(self, scope: str = "orders:read", *, expires_in: float = 60.0) -> str:
        """
        A token, of which no part may turn up in the log.
        """
        self.tokens.append(self.fake.token(scope=scope, expires_in=expires_in))
        return self.tokens[-1]

    def client(self) -> httpx.AsyncClient:
        """
        A client of it.
        """
        url = f"http://127.0.0.1:{self.port}"
        return httpx.AsyncClient(base_url=url, timeout=DEADLINE, trust_env=False)

    async def ran(self) -> list[str]:
        """
        What ran of the application, so far.
        """
        async with self.client() as client:
            paths: list[str] = (await client.get("/open/ran")).json()
        return paths

    def log(self) -> str:
        """
        What it has logged so far, to either stream.
        """
        return self.log_file.read_text("utf-8", "replace")


@contextmanager
def running(name: str, folder: Path) -> Iterator[Running]:
    """
    One of `SERVERS`, from when it answers until the context ends.
    """
    fake = FakeIssuer(algorithm="EdDSA")
    server = Running(name, free_port(), folder / "log.txt", fake)
    words = [word.format(port=server.port) for word in SERVERS[name]]
    keys = {"SERVED_KEYS": json.dumps(fake.keys.jwks())}
    with process(*words, port=server.port, log_file=server.log_file, environment=keys):
        yield server


@contextmanager
def process(*words: str, port: int, log_file: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """
    ``python -m`` *words*, from when it answers at *port* until the context ends.
    """
    command = [sys.executable, "-m", *words]
    # Where the application and guardrail are, and that nothing it says is kept back.
    ours = {"PYTHONPATH": os.pathsep.join([str(HERE), str(ROOT)]), "PYTHONUNBUFFERED": "1"}
    with log_file.open("wb") as log:
        started = subprocess.Popen(
            command, cwd=log_file.parent, env={**os.environ, **ours, **environment}, stdout=log, stderr=log
        )
        try:
            _wait_for(port, started, log_file)
            yield
        finally:
            _stop(started)


def free_port() -> int:
    """
    A port that nobody listens at.
    """
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def _wait_for(port: int, started: subprocess.Popen[Any], log_file: Path) -> None:
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            assert started.poll() is None, log_file.read_text("utf-8")
            assert time.monotonic() < deadline, log_file.read_text("utf-8")
            time.sleep(_POLL)
        else:
            return


def _stop(started: subprocess.Popen[Any]) -> None:
    started.terminate()
    try:
        started.wait(DEADLINE)
    except subprocess.TimeoutExpired:
        started.kill()
        started.wait()
