"""
What the tests of the command line share: running a command, in this process and in one of its own.
"""

import signal
from collections.abc import Callable, Iterator

import pytest

from guardrail.cli import main
from guardrail.cli._servers import address, free_port, serving
from guardrail.issuer import Client, EmbeddedIssuer

from .commands import AUDIENCE, SECRET, Ran

Run = Callable[..., Ran]


def pytest_configure(config: pytest.Config) -> None:
    """
    Register the marker of the tests that build or install.
    """
    config.addinivalue_line("markers", "slow: builds a wheel; needs hatchling, from an index or installed")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The developer's own settings do not count, and Ctrl-C is not ignored, as it is in a shell's background.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("GUARDRAIL_CLIENT_SECRET", "ORDERS_ISSUER", "ORDERS_AUDIENCE", "ORDERS_LEEWAY", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """
    Run a command in this process; what it printed and how it ended.
    """

    def run_command(*arguments: str) -> Ran:
        capsys.readouterr()
        try:
            status: object = main(arguments)
        except SystemExit as exc:
            status = exc.code
        printed = capsys.readouterr()
        return Ran(status, printed.out, printed.err)

    return run_command


@pytest.fixture(scope="session")
def issuer_url() -> Iterator[str]:
    """
    A running embedded issuer with the client ``dev-client``, whose secret is `SECRET`.
    """
    client = Client(
        "dev-client",
        client_secret=SECRET,
        scopes=["orders:read", "orders:write"],
        audiences=[AUDIENCE, "https://api.example.com/billing"],
    )
    with free_port() as sock:
        url = address(sock)
        with serving(EmbeddedIssuer(url, clients=[client]), sock=sock, lifespan="off"):
            yield url
