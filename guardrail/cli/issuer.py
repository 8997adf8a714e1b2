"""
``guardrail issuer``: serve the embedded development issuer.
"""

import argparse
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from .._asgi import ASGIApp, Receive, Scope, Send
from .._urls import is_loopback
from ..issuer import Client, EmbeddedIssuer, Fault, load_clients
from ._client_words import KEYS, parse_client
from ._errors import UsageError
from ._servers import listen, server_for

MAX_PORT: Final = 65535
_DEFAULT_CLIENT: Final = (
    "dev-client",
    "scopes=orders:read orders:write",
    "audiences=https://api.example.com/orders",
)


def add_parser(commands: Any) -> None:
    """
    Add this command to the parser.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        "issuer",
        help="serve a small authorization server for development",
        description="Serve a small authorization server for development. Without --client and --clients "
        f"it knows one client, {_DEFAULT_CLIENT[0]}. Ctrl-C ends it, and its keys and secrets with it.",
        allow_abbrev=False,
    )
    parser.add_argument("--port", type=_port, default=9000, help="default: %(default)s; 0 takes a free one")
    parser.add_argument(
        "--host", default="127.0.0.1", help="default: %(default)s, which only this machine can reach"
    )
    parser.add_argument("--url", help="the issuer, as tokens and clients spell it; default: http://HOST:PORT")
    parser.add_argument(
        "--algorithm",
        default="RS256",
        choices=("RS256", "PS256", "ES256", "EdDSA"),
        help="what it signs with; default: %(default)s",
    )
    _add_clients(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """
    Serve until interrupted.

    Raises:
        UsageError: A client is not well formed, the address cannot be had, or uvicorn is not installed.
    """
    clients = _clients(options)
    with listen(options.host, options.port) as sock:
        host = f"[{options.host}]" if ":" in options.host else options.host
        url = options.url or f"http://{host}:{sock.getsockname()[1]}"
        try:
            issuer = EmbeddedIssuer(url, clients=clients, algorithm=options.algorithm)
        except ValueError as exc:
            raise UsageError(str(exc)) from exc
        has_name = options.url is not None
        app = _announcing(issuer, lambda: _announce(issuer, host=options.host, has_name=has_name))
        server = server_for(app, lifespan="on")
        with suppress(KeyboardInterrupt):  # uvicorn stops, and then passes it on
            server.run(sockets=[sock])
    return 0


def _add_clients(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--clients", metavar="FILE", help="client registrations, [[client]] tables in TOML")
    parser.add_argument(
        "--client",
        action="append",
        nargs="+",
        metavar=("ID", "KEY=VALUE"),
        help='a client, such as: batch scopes="orders:read orders:write" '
        "audiences=https://api.example.com/orders operator=svc-batch access_group=Orders:Api "
        "token_lifetime=600; its secret is generated and shown once. A public client, with PKCE: app "
        "public=true grant_types=authorization_code redirect_uris=... ; one with a key, for "
        f"private_key_jwt: jwks=FILE. Keys: {', '.join(KEYS)}",
    )


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to {MAX_PORT}; got {text!r}")
    return int(text)


def _clients(options: argparse.Namespace) -> tuple[Client, ...]:
    words = options.client or ([] if options.clients else [_DEFAULT_CLIENT])
    try:
        from_file = load_clients(options.clients) if options.clients else ()
        clients = (*from_file, *map(parse_client, words))
    except OSError as exc:
        raise UsageError(f"cannot read {options.clients}: {exc.strerror}") from exc
    except ValueError as exc:
        raise UsageError(str(exc)) from exc
    if not clients:
        raise UsageError(f"{options.clients} registers no client: write each as a [[client]] table")
    return clients


def _announcing(issuer: EmbeddedIssuer, announce: Callable[[], None]) -> ASGIApp:
    """
    *issuer*, announced when its server has started, and not before: Ctrl-C is then a wish to end.
    """

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            announce()
        await issuer(scope, receive, send)

    return app


def _announce(issuer: EmbeddedIssuer, *, host: str, has_name: bool) -> None:
    """
    Say loudly what this is, and each secret once; at once, also to a pipe.
    """
    print("*" * 72)
    print("FOR DEVELOPMENT ONLY: anybody who reaches it can be anybody.")
    if not is_loopback(host):
        print(f"It listens on {host}: OTHER MACHINES CAN REACH IT.")
    if not is_loopback(host) and not has_name:
        print("Give it --url with the name by which they do.")
    print("*" * 72)
    print(f"issuer   {issuer.url}")
    for client in issuer.clients:
        secret = client.client_secret or ("(public client)" if client.is_public else "(has a key)")
        print(f"client   {client.client_id}   secret {secret}   (shown once)")
        print(f"         scopes {' '.join(sorted(client.scopes))}   audiences {' '.join(client.audiences)}")
    _announce_use(issuer)
    if not has_name:  # what comes by a proxy is refused
        print(f"\nTo see clients cope, let token requests fail; fault is none, {', '.join(Fault.KINDS)}:")
        print(f"curl -d fault=rate_limited -d seconds=30 -d times=2 {issuer.url}/faults")
    print("Ctrl-C ends it.", flush=True)


def _announce_use(issuer: EmbeddedIssuer) -> None:
    """
    Say how to get a token, unless every client needs a browser or a key for it.
    """
    client_ids = [client.client_id for client in issuer.clients if client.client_secret]
    if client_ids:
        print("\nFor a token, with the secret of a client:")
        print(
            f"GUARDRAIL_CLIENT_SECRET=... guardrail token --issuer {issuer.url} --client-id {client_ids[0]}"
        )
