"""
The examples of other frameworks start as they say, and are guarded: by a real server, with real tokens.
"""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import pytest
from frameworks.servers import DEADLINE, ROOT, free_port, process
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from guardrail.cli import _servers
from guardrail.testing import FakeIssuer

pytestmark = pytest.mark.anyio


@dataclass(frozen=True)
class Example:
    """
    What there is in an example: what one scope reads, what another one does, and a WebSocket if it has one.
    """

    name: str
    package: str
    reads: tuple[str, ...]
    does: str
    scope: str
    watch: str | None

    @property
    def command(self) -> str:
        """
        How it says that it is run.
        """
        return f"uvicorn examples.{self.name}:app"


EXAMPLES = [
    Example(
        "litestar_api",
        package="shipments",
        reads=("/shipments", "/shipments/report"),
        does="/dispatch",
        scope="shipments:send",
        watch="/shipments/watch",
    ),
    Example(
        "quart_api",
        package="tickets",
        reads=("/tickets", "/tickets/report"),
        does="/box-office",
        scope="tickets:sell",
        watch="/tickets/watch",
    ),
    Example(
        "django_api",
        package="library",
        reads=("/loans", "/loans/report"),
        does="/desk",
        scope="library:lend",
        watch=None,
    ),
    Example(
        "raw_asgi_api",
        package="sensors",
        reads=("/sensors", "/sensors/report"),
        does="/calibration",
        scope="sensors:calibrate",
        watch="/sensors/watch",
    ),
]


@dataclass
class Served:
    """
    An example that is being served, and the issuer it trusts.
    """

    example: Example
    client: httpx.Client
    fake: FakeIssuer

    def token(self, scope: str = "read") -> str:
        """
        A token with one scope; only its last word need be given.
        """
        return self.fake.token(scope=scope if ":" in scope else f"{self.example.package}:{scope}")

    def ask(self, path: str, *, token: str | None = None, method: str = "GET") -> httpx.Response:
        """
        Call it.
        """
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return self.client.request(method, path, headers=headers)

    def socket(self, *, token: str | None = None, offers: tuple[str, ...] = ()) -> connect:
        """
        Its WebSocket; failing that, a handshake where it reads.
        """
        path = self.example.watch or self.example.reads[0]
        url = str(self.client.base_url.copy_with(scheme="ws", path=path))
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        protocols = [Subprotocol(one) for one in offers] or None
        return connect(url, additional_headers=headers, subprotocols=protocols, proxy=None)

    @property
    def alice(self) -> str:
        """
        The operator's key of the tokens' subject.
        """
        return f"{self.fake.url}#alice"


@contextmanager
def an_issuer(audience: str) -> Iterator[FakeIssuer]:
    """
    An issuer that answers over HTTP.
    """
    with _servers.free_port() as sock:
        fake = FakeIssuer(_servers.address(sock), audience=audience, algorithm="EdDSA")

        async def metadata(_: Request) -> JSONResponse:
            return JSONResponse({"issuer": fake.url, "jwks_uri": f"{fake.url}/jwks"})

        async def keys(_: Request) -> JSONResponse:
            return JSONResponse(fake.keys.jwks())

        well_known = Route("/.well-known/oauth-authorization-server", metadata)
        with _servers.serving(Starlette(routes=[well_known, Route("/jwks", keys)]), sock=sock):
            yield fake


@pytest.fixture(scope="module", params=EXAMPLES, ids=lambda example: example.name)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """
    Each of the examples, started with the command in its docstring, and a port.
    """
    example: Example = request.param
    port, log_file = free_port(), tmp_path_factory.mktemp("example") / "log.txt"
    words = [*example.command.split(), "--port", str(port)]
    with an_issuer(f"https://api.example.com/{example.package}") as fake:
        trust = {f"{example.package.upper()}_ISSUER": fake.url}
        with process(*words, port=port, log_file=log_file, environment=trust):
            url = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=url, timeout=DEADLINE, trust_env=False) as client:
                yield Served(example, client, fake)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_says_how_it_is_run(example: Example) -> None:
    """
    The command is in its docstring, as it is run here.
    """
    text = (ROOT / "examples" / f"{example.name}.py").read_text("utf-8")

    assert f"\n    {example.command}\n" in text.split('"""')[1]


def test_an_example_reads_for_those_who_may(served: Served) -> None:
    """
    On the event loop and in a thread it answers for the token's subject, and without a token nobody.
    """
    token = served.token()

    allowed = [served.ask(path, token=token) for path in served.example.reads]
    refused = [served.ask(path) for path in served.example.reads]

    assert [list(answer.json().values()) for answer in allowed] == [[served.alice]] * 2
    assert [answer.status_code for answer in refused] == [401, 401]


def test_an_example_tells_reading_from_doing(served: Served) -> None:
    """
    What needs another scope is forbidden to those who may read, and that scope is enough for both.
    """
    does, reads = served.example.does, served.example.reads[0]
    enough = served.token(served.example.scope)

    # Django's view and the plain application take any method.
    too_little = served.ask(does, token=served.token(), method="POST")
    done = [served.ask(does, token=enough, method="POST"), served.ask(reads, token=enough)]

    assert too_little.status_code == 403
    assert [list(answer.json().values()) for answer in done] == [[served.alice]] * 2


def test_an_example_is_open_only_where_it_says_so(served: Served) -> None:
    """
    The health check needs no token; what no prefix declares is 404, with a token too.
    """
    answers = [served.ask("/healthz"), served.ask("/"), served.ask("/undeclared", token=served.token())]

    assert [answer.status_code for answer in answers] == [200, 404, 404]


async def test_an_example_guards_its_websocket(served: Served) -> None:
    """
    It opens for the token's subject, and is refused without one: by Django too, which has none.
    """
    with pytest.raises(InvalidStatus) as refused:
        await served.socket()
    if served.example.watch is not None:
        async with asyncio.timeout(DEADLINE), served.socket(token=served.token()) as socket:
            watched = json.loads(await socket.recv())
            assert watched == {"watched_by": served.alice}

    assert refused.value.response.status_code == 401


@pytest.mark.parametrize("served", [EXAMPLES[1]], indirect=True, ids=["quart_api"])
def test_quarts_stream_is_made_for_who_asked(served: Served) -> None:
    """
    Each line names the token's subject.
    """
    answer = served.ask("/tickets/queue", token=served.token())

    assert answer.text.splitlines() == [f"alice is number {place}" for place in (3, 2, 1)]


@pytest.mark.parametrize("served", [EXAMPLES[3]], indirect=True, ids=["raw_asgi_api"])
async def test_a_browser_watches_the_plain_application(served: Served) -> None:
    """
    Its token is among the subprotocols it offers, and another one is agreed on.
    """
    offers = ("sensors.v1", f"bearer.{served.token()}")

    async with asyncio.timeout(DEADLINE), served.socket(offers=offers) as socket:
        watched = json.loads(await socket.recv())

    assert socket.subprotocol == "sensors.v1"
    assert watched == {"watched_by": served.alice}


@pytest.mark.parametrize("served", [EXAMPLES[3]], indirect=True, ids=["raw_asgi_api"])
def test_the_plain_applications_events_end_with_their_token(served: Served) -> None:
    """
    A token that is in its last second of leeway opens a stream that is over with it.
    """
    token = served.fake.token(scope="sensors:read", expires_in=-29.0)

    answer = served.ask("/sensors/events", token=token)

    assert answer.status_code == 200
    assert answer.text.startswith("data: 0\n\n")
