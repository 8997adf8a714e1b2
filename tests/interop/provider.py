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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import httpx

from .outbound import OutboundClient
from .visitor import REDIRECT_URI, AuthorizationRequest, visit

HERE = Path(__file__).parent
NODE_FLOOR = (20, 12)  # oidc-provider calls crypto.hash(), new in 20.12
START_TIMEOUT = 30.0  # seconds; the slow part is generating two RSA keys
STOP_TIMEOUT = 5.0  # seconds
MOST_PAGES = 10  # a sign-in takes four


@dataclass(frozen=True, slots=True)
class OidcProvider:
    """
    A running provider, as its clients and its key-fetching neighbours see it.

    Attributes:
        http_client: What it is asked with.
        url: Where it listens.
        issuer: The name it goes by: the same, unless somebody stands in front of it.
        resource_base: What the indicators of its resources begin with.
        clients: Secrets by client ID.
        outbound: The clients for calls of ours, one for each way to authenticate.
    """

    http_client: httpx.Client = field(repr=False)
    url: str
    issuer: str
    resource_base: str
    clients: Mapping[str, str] = field(repr=False)
    outbound: tuple[OutboundClient, ...] = ()

    def known_as(self, issuer: str) -> "OidcProvider":
        """
        The same provider, as the issuer that those see who reach it at another address.
        """
        return replace(self, issuer=issuer)

    def resource(self, name: str) -> str:
        """
        Name a resource by its indicator (RFC 8707), which is the audience of its tokens too.

        Args:
            name: A key of ``ACCESS_TOKENS`` in ``server.mjs``; it decides the kind of token.
        """
        return self.resource_base + name

    def token(self, resource_name: str, *, client_id: str = "warehouse", scope: str = "orders:read") -> str:
        """
        Obtain an access token with the client credentials grant (RFC 6749 §4.4), past whoever is in front.

        Raises:
            httpx.HTTPStatusError: The provider refused.
        """
        form = {
            "grant_type": "client_credentials",
            "resource": self.resource(resource_name),
            "scope": scope,
        }
        credentials = (client_id, self.clients[client_id])
        host = {"Host": urlsplit(self.issuer).netloc}
        response = self.http_client.post(f"{self.url}/token", data=form, auth=credentials, headers=host)
        response.raise_for_status()
        return str(response.json()["access_token"])

    def user_tokens(
        self, login: str, resource_name: str, *, scope: str = "openid orders:read"
    ) -> dict[str, str]:
        """
        Obtain tokens with the authorization code grant (RFC 6749 §4.1): a person signs in and consents.

        Goes to the provider itself: with nobody in front, whose name the tokens would have to bear.

        Returns:
            What the token endpoint answered with: an ``access_token`` and an ``id_token``.

        Raises:
            httpx.HTTPStatusError: The provider refused.
        """
        storefront = OutboundClient(
            "storefront", "client_secret_basic", secret=self.clients["storefront"], key=None
        )
        return self.tokens_of_person(login, resource_name, client=storefront, scope=scope)

    def tokens_of_person(
        self, login: str, resource_name: str, *, client: OutboundClient, scope: str = "openid orders:read"
    ) -> dict[str, str]:
        """
        Obtain the tokens that a person lets *client* have; among them a ``refresh_token``, if it may use one.

        Raises:
            httpx.HTTPStatusError: The provider refused.
        """
        request = AuthorizationRequest(client.client_id, scope, self.resource(resource_name))
        with visit(self.url) as person:
            form = request.redemption(_sign_in(person, request, login=login)) | client.form(self.issuer)
            response = person.post("/token", data=form, headers=client.headers()).raise_for_status()
        tokens: dict[str, str] = response.json()
        return tokens

    def outbound_client(self, name: str) -> OutboundClient:
        """
        Find a client for calls of ours by its name in ``outbound.mjs``.
        """
        return next(client for client in self.outbound if client.name == name)

    def ask(self, path: str, client: OutboundClient, **form: str) -> httpx.Response:
        """
        Post a form as *client* would, to ``/token``, ``/token/introspection`` or ``/token/revocation``.
        """
        return self.http_client.post(
            f"{self.url}{path}", data=form | client.form(self.issuer), headers=client.headers()
        )

    def stage(self) -> None:
        """
        Publish new keys beside those that sign. They sign nothing until `rotate`.
        """
        self._control("/__stage")

    def rotate(self) -> None:
        """
        Sign with the staged keys from now on, or with new ones. The former ones stay published.
        """
        self._control("/__rotate")

    def rotate_and_withdraw(self) -> None:
        """
        Sign with the staged keys from now on, or with new ones. The former ones disappear from the JWK Set.
        """
        self._control("/__rotate?drop=1")

    def replace_in_place(self) -> None:
        """
        Sign with new keys from now on, under the key IDs of the former ones, which disappear.
        """
        self._control("/__replace")

    def withdraw(self) -> None:
        """
        Take all keys out of the JWK Set that signed formerly. Those that sign stay.
        """
        self._control("/__withdraw")

    def key_set(self) -> httpx.Response:
        """
        Fetch the JWK Set. Counts as a request, like anybody's.
        """
        return self.http_client.get(f"{self.url}/jwks").raise_for_status()

    def request_counts(self) -> Counter[str]:
        """
        Count the requests since the start, by path. Subtract two answers to see what lay between them.
        """
        response = self.http_client.get(f"{self.url}/__requests").raise_for_status()
        return Counter(response.json())

    def _control(self, target: str) -> None:
        self.http_client.post(f"{self.url}{target}").raise_for_status()


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
            ready = _read_ready_line(process, log)
            outbound = tuple(OutboundClient(**client) for client in ready.pop("outbound"))
            yield OidcProvider(http_client, **ready, outbound=outbound)
        finally:
            _stop(process)


def _sign_in(person: httpx.Client, request: AuthorizationRequest, *, login: str) -> str:
    """
    Go through the provider's pages, until they send the browser back with a code. Returns where to.
    """
    response = person.get("/auth", params=request.parameters())
    for _ in range(MOST_PAGES):
        location = response.headers.get("Location", "")
        if not location or location.startswith(REDIRECT_URI):
            return str(location)
        if urlsplit(location).path.startswith("/interaction/"):
            prompt = "login" if 'value="login"' in person.get(location).text else "consent"
            response = person.post(location, data={"prompt": prompt, "login": login, "password": "any"})
        else:
            response = person.get(location)
    raise RuntimeError(f"still at {location} after {MOST_PAGES} pages")


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
