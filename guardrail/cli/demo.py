"""
``guardrail demo``: a development issuer and a protected API on loopback, and calls with good and bad tokens.
"""

import argparse
import os
import runpy
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from ..issuer import Client, EmbeddedIssuer, new_secret
from ._demo_calls import OTHER_AUDIENCE, Outcome, Scene, calls
from ._errors import UsageError
from ._oauth import http_client
from ._servers import address, free_port, serving
from ._table import print_table

AUDIENCE: Final = "https://api.example.com/orders"
SHORT_LIFETIME: Final = 1.0  # seconds

# In a wheel the example stands beside this module; in a checkout it is where examples are.
_EXAMPLES: Final = (
    Path(__file__).with_name("orders_api.py"),
    Path(__file__).parents[2] / "examples" / "orders_api.py",
)


def add_parser(commands: Any) -> None:
    """
    Add this command to the parser.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        "demo",
        help="start an issuer and a protected API, and show what each refuses",
        description="Start a development issuer and a protected API on free loopback ports, call the API "
        "with good and bad tokens, and print its answers; exit with 0 only if every one was right.",
        allow_abbrev=False,
    )
    parser.add_argument("--serve", action="store_true", help="leave both running, and print curl lines")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """
    Print the table; 0 only if every answer was as expected.

    Raises:
        UsageError: What serving needs is not installed, or a server does not start.
    """
    with _scene() as scene:
        print(f"issuer  {scene.issuer}   (embedded, for development)")
        print(f"api     {scene.api}   (examples/orders_api.py)\n", flush=True)
        outcomes = [scene.call(call) for call in calls(scene, wait_for_expiry=_wait)]
        _print(outcomes)
        if options.serve:
            with suppress(KeyboardInterrupt):
                _print_curl(scene)
                while True:
                    time.sleep(3600)  # an Event would wait deaf to Ctrl-C on Windows
    return 0 if all(outcome.is_right for outcome in outcomes) else 1


def clients() -> tuple[Client, Client, Client]:
    """
    The demo's registered clients: one that may do everything, one that reads, one whose tokens are brief.
    """
    read, both = ["orders:read"], ["orders:read", "orders:write"]
    return (
        Client(
            "orders-portal", client_secret=new_secret(), scopes=both, audiences=[AUDIENCE, OTHER_AUDIENCE]
        ),
        Client("orders-reader", client_secret=new_secret(), scopes=read, audiences=[AUDIENCE]),
        Client(
            "orders-batch",
            client_secret=new_secret(),
            scopes=read,
            audiences=[AUDIENCE],
            operator="svc-orders-batch",
            access_group="Orders:Batch",
            token_lifetime=SHORT_LIFETIME,
        ),
    )


@contextmanager
def _scene() -> Generator[Scene, None, None]:
    """
    Everything up and running, until the context ends.
    """
    issuer_socket, api_socket = free_port(), free_port()
    issuer_url = address(issuer_socket)
    portal, reader, batch = clients()
    issuer = EmbeddedIssuer(issuer_url, clients=(portal, reader, batch))
    with (
        issuer_socket,
        api_socket,
        serving(issuer, sock=issuer_socket, lifespan="off"),
        serving(load_example(issuer_url), sock=api_socket),
        http_client() as http,
    ):
        yield Scene(http, issuer_url, address(api_socket), portal, reader, batch)


def load_example(issuer_url: str) -> Any:
    """
    The example API, pointed at *issuer_url* by its environment variables.

    Raises:
        UsageError: FastAPI is not installed, or the example is not there.
    """
    path = next((path for path in _EXAMPLES if path.exists()), None)
    if path is None:
        raise UsageError("examples/orders_api.py is not there; run it from a checkout, or from the wheel")
    # No leeway: the demo shows an expiry, and should not wait half a minute for it.
    settings = {"ORDERS_ISSUER": issuer_url, "ORDERS_AUDIENCE": AUDIENCE, "ORDERS_LEEWAY": "0"}
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        return runpy.run_path(str(path))["app"]
    except ImportError as exc:
        raise UsageError(f"{exc}: pip install 'asgi-guardrail[demo]'") from exc
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _wait() -> None:
    time.sleep(SHORT_LIFETIME + 1)  # exp is in whole seconds, rounded down


def _print(outcomes: list[Outcome]) -> None:
    rows = [
        (
            f"{outcome.call.method} {outcome.call.path}",
            outcome.call.label,
            str(outcome.call.expected),
            f"{outcome.got}{'' if outcome.is_right else '  WRONG'}",
            outcome.challenge,
        )
        for outcome in outcomes
    ]
    print_table(("request", "token", "expected", "got", "challenge"), rows)
    right = sum(outcome.is_right for outcome in outcomes)
    print(f"\n{right} of {len(outcomes)} answers as expected.")


def _print_curl(scene: Scene) -> None:
    """
    Lines to paste; the secret lives as long as this process.
    """
    portal = scene.portal
    print("\nBoth go on running; Ctrl-C ends them. Paste:\n")
    print(
        f"TOKEN=$(curl -s -u '{portal.client_id}:{portal.client_secret}' -d grant_type=client_credentials "
        f"{scene.issuer}/token | python3 -c 'import json,sys; print(json.load(sys.stdin)[\"access_token\"])')"
    )
    print(f'curl -i -H "Authorization: Bearer $TOKEN" {scene.api}/orders')
    print(f'curl -i -X POST -H "Authorization: Bearer $TOKEN" {scene.api}/orders')
    print(f"curl -i {scene.api}/orders")
    print(f"curl -i -X POST -d '' {scene.issuer}/rotate")
    print("\nAfter /rotate get a new TOKEN. The API looks for unknown keys at most twice in 30 seconds, and")
    print("the calls above made it do so: 401 until then.", flush=True)
