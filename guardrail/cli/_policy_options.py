"""
The policy that options describe: one issuer, one service package, one requirement.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

from .._issuer import DEFAULT_ALGORITHMS, PROFILES, Issuer
from .._key_sets import KeySets
from .._policies import CompiledPolicy, PolicyCompiler
from .._policy import ServicePackage
from .._profiles import load_profile
from .._registration import UNREGISTERED_CLIENTS
from ..errors import PolicyError
from ._errors import UsageError
from ._issuer_words import parse_mapping, parse_registration

__all__ = ["add_policy_options", "compile_policy", "read_file"]

_NEEDS_CLIENTS: Final = "tokens of profile {} are told apart by their client alone: name yours, --client ID"


def add_policy_options(parser: argparse.ArgumentParser) -> None:
    """
    Add the options to *parser*.
    """
    _add_issuer_options(parser)
    needed = parser.add_argument_group("what the route needs")
    needed.add_argument("--scope", default="", help='scopes, such as "orders:read orders:write"')
    needed.add_argument("--role", action="append", default=[], help="one of these roles; may be given again")
    needed.add_argument(
        "--access-group", action="append", default=[], help="one of these access groups; may be given again"
    )
    needed.add_argument("--acr", action="append", default=[], help="an acr value; may be given again")
    needed.add_argument("--max-age", type=float, help="seconds since the user authenticated, at most")


def _add_issuer_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--issuer", required=True, help="the issuer, exactly as tokens spell it")
    parser.add_argument("--audience", required=True, action="append", help="this API; may be given again")
    parser.add_argument("--jwks", metavar="FILE", help="a JWK Set in a file, instead of asking the issuer")
    parser.add_argument("--algorithm", action="append", help=f"default: {', '.join(DEFAULT_ALGORITHMS)}")
    parser.add_argument("--profile", default="default", choices=PROFILES)
    parser.add_argument("--leeway", type=float, default=30.0, help="seconds; default: %(default)s")
    parser.add_argument(
        "--mapping",
        action="append",
        default=[],
        metavar="FIELD=CLAIM",
        help='where a field is read instead, a path in JSON: \'roles=["realm_access", "roles"]\'; '
        "may be given again",
    )
    _add_client_options(parser)


def _add_client_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--client",
        action="append",
        nargs="+",
        default=[],
        metavar=("ID", "KEY=VALUE"),
        help='a client registration, such as: orders-batch operator_id=svc-orders roles="importer reader" '
        "enabled=yes; may be given again, FILE before it",
    )
    parser.add_argument(
        "--unregistered-clients",
        default="allow",
        choices=UNREGISTERED_CLIENTS,
        help="whether other clients than those of --client may call; default: %(default)s",
    )


def compile_policy(options: argparse.Namespace) -> CompiledPolicy:
    """
    Make the policy. Fetches nothing.

    Raises:
        UsageError: A setting is wrong, or the file of the JWK Set cannot be read.
    """
    if load_profile(options.profile).pins_client and not options.client:
        raise UsageError(_NEEDS_CLIENTS.format(options.profile))
    try:
        package = ServicePackage("explain", issuer=_issuer(options), audience=options.audience)
        requirement = package.requires(
            *options.scope.split(),
            roles=options.role,
            access_groups=options.access_group,
            acr_values=options.acr,
            max_age=options.max_age,
        )
        return PolicyCompiler(key_sets=KeySets()).compile(requirement)
    except PolicyError as exc:
        raise UsageError(str(exc)) from exc


def _issuer(options: argparse.Namespace) -> Issuer:
    return Issuer(
        options.issuer,
        keys=None if options.jwks is None else _read_jwk_set(options.jwks),
        algorithms=options.algorithm or DEFAULT_ALGORITHMS,
        profile=options.profile,
        mapping=parse_mapping(options.mapping),
        leeway=options.leeway,
        clients=[parse_registration(words) for words in options.client],
        unregistered_clients=options.unregistered_clients,
    )


def _read_jwk_set(file: str) -> Any:
    try:
        return json.loads(read_file(file))
    except ValueError as exc:
        raise UsageError(f"{file} is not JSON: {exc}") from exc


def read_file(file: str) -> bytes:
    """
    The content of *file*; ``-`` is standard input.

    Raises:
        UsageError: It cannot be read. The name is not repeated: it may be the token, given by mistake.
    """
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as exc:
        raise UsageError(
            f"cannot read the file: {exc.strerror}. The token itself is never an argument"
        ) from exc
