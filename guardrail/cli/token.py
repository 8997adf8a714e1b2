"""
``guardrail token``: get an access token and print it.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any, Final

from ._errors import UsageError
from ._oauth import http_client, request_token

DEFAULT_ISSUER: Final = "http://127.0.0.1:9000"
SECRET_VARIABLE: Final = "GUARDRAIL_CLIENT_SECRET"  # noqa: S105 - its name, not a secret
_HOW: Final = f"set {SECRET_VARIABLE}, or give --client-secret-file FILE (- for standard input)"


def add_parser(commands: Any) -> None:
    """
    Add this command to the parser.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        "token",
        help="get an access token on the client credentials grant and print it",
        description="Get an access token on the client credentials grant and print it, and nothing else. "
        f"For the client secret, {_HOW}; it is never an argument.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--issuer", default=DEFAULT_ISSUER, help="default: %(default)s, where `guardrail issuer` is"
    )
    parser.add_argument("--client-id", default="dev-client", help="default: %(default)s")
    parser.add_argument("--client-secret-file", metavar="FILE", help="- for standard input")
    parser.add_argument("--client-secret", nargs="?", const="", help=argparse.SUPPRESS)
    parser.add_argument("--scope", help='space-separated, such as "orders:read orders:write"')
    parser.add_argument("--audience", help="the API the token is for")
    parser.add_argument(
        "--insecure-allow-http",
        action="store_true",
        help="send the secret over plain http to a host that is not this machine",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """
    Print a token on standard output, and nothing else.

    Raises:
        UsageError: No secret, or no token to be had.
    """
    if options.client_secret is not None:
        raise UsageError(f"a secret is no argument, every process here could read it: {_HOW}")
    secret = _secret(options.client_secret_file)
    with http_client() as http:
        token = request_token(
            http,
            options.issuer,
            client_id=options.client_id,
            client_secret=secret,
            scope=options.scope,
            audience=options.audience,
            insecure_allow_http=options.insecure_allow_http,
        )
    print(token)
    return 0


def _secret(file: str | None) -> str:
    """
    The client secret; never an argument, which every process on the machine could read.
    """
    try:
        secret = _read(file).strip()
        secret.encode()
    except OSError as exc:  # the file's name is not repeated: it may be the secret, given by mistake
        raise UsageError(f"cannot read the file of --client-secret-file: {exc.strerror}") from exc
    except UnicodeError as exc:
        raise UsageError("the client secret is not UTF-8 text") from exc
    if not secret:
        raise UsageError(f"no client secret: {_HOW}")
    return secret


def _read(file: str | None) -> str:
    if file is None:
        return os.environ.get(SECRET_VARIABLE, "")
    return sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
