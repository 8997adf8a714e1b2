"""
The authorization server: one Node process running ``server.mjs`` (npm's *oidc-provider*).

Knows how to start it, ask it for tokens, rotate its keys and count its requests. Knows nothing of guardrail.
"""

import json
import queue
import shutil
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import httpx

HERE = Path(__file__).parent
NODE_FLOOR = (20, 12)  # oidc-provider calls crypto.hash(), new in 20.12
START_TIMEOUT = 30.0  # seconds; the slow part is generating two RSA keys
STOP_TIMEOUT = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class OidcProvider:
    """
    A running provider, as its clients and its key-fetching neighbours see it.
    """

    http_client: httpx.Client = field(repr=False)
    issuer: str
    resource_base: str
    clients: Mapping[str, str] = field(repr=False)

    def resource(self, name: str) -> str:
        """
        Name a resource by its indicator (RFC 8707), which is the audience of its tokens too.

        Args:
            name: A key of ``ACCESS_TOKENS`` in ``server.mjs``; it decides the kind of token.
        """
        return self.resource_base + name

    def token(self, resource_name: str, *, client_id: str = "warehouse", scope: str = "orders:read") -> str:
        """
        Obtain an access token with the client credentials grant (RFC 6749 §4.4).

        Raises:
            httpx.HTTPStatusError: The provider refused.
        """
        form = {
            "grant_type": "client_credentials",
            "resource": self.resource(resource_name),
            "scope": scope,
        }
        credentials = (client_id, self.clients[client_id])
        response = self.http_client.post(f"{self.issuer}/token", data=form, auth=credentials)
        response.raise_for_status()
        return str(response.json()["access_token"])

    def rotate(self) -> None:
        """
        Sign with new keys from now on. The former ones stay published.
        """
        self.http_client.post(f"{self.issuer}/__rotate").raise_for_status()

    def rotate_and_withdraw(self) -> None:
        """
        Sign with new keys from now on. The former ones disappear from the JWK Set.
        """
        self.http_client.post(f"{self.issuer}/__rotate?drop=1").raise_for_status()

    def key_set(self) -> httpx.Response:
        """
        Fetch the JWK Set. Counts as a request, like anybody's.
        """
        return self.http_client.get(f"{self.issuer}/jwks").raise_for_status()

    def request_counts(self) -> Counter[str]:
        """
        Count the requests since the start, by path. Subtract two answers to see what lay between them.
        """
        response = self.http_client.get(f"{self.issuer}/__requests").raise_for_status()
        return Counter(response.json())


def find_node() -> str | None:
    """
    Find what the provider needs: a Node that is new enough, and the installed packages.

    Returns:
        The path of the executable, or ``None`` if anything is missing.
    """
    node = shutil.which("node")
    if node is None or not (HERE / "node_modules" / "oidc-provider").is_dir():
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    major, minor, *_ = version.strip().removeprefix("v").split(".")
    return node if (int(major), int(minor)) >= NODE_FLOOR else None


@contextmanager
def run_provider(node: str, *, log: Path, http_client: httpx.Client) -> Iterator[OidcProvider]:
    """
    Start a provider on a free loopback port and stop it afterwards.

    Args:
        node: The executable.
        log: Where its standard error goes; a file never blocks it.
        http_client: What the provider is asked with. Stays open.

    Raises:
        RuntimeError: It ended, or stayed silent for `START_TIMEOUT`. The message quotes the log.
    """
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [node, str(HERE / "server.mjs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
        try:
            yield OidcProvider(http_client, **_read_ready_line(process, log))
        finally:
            _stop(process)


def _read_ready_line(process: subprocess.Popen[str], log: Path) -> dict[str, Any]:
    assert process.stdout is not None
    line = _read_line(process.stdout)
    if not line:
        raise RuntimeError(f"oidc-provider did not start; it said:\n{log.read_text()}")
    ready: dict[str, Any] = json.loads(line)
    return ready


def _read_line(stream: IO[str]) -> str:
    """
    Read one line, or nothing at all within `START_TIMEOUT`. A thread, since Windows cannot poll a pipe.
    """
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: lines.put(stream.readline()), daemon=True).start()
    try:
        return lines.get(timeout=START_TIMEOUT)
    except queue.Empty:
        return ""


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()  # closes the pipes and reaps the process
