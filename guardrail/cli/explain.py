"""
``guardrail explain``: the road of one token, step by step, as the middleware would walk it.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from .._authorization import authorize
from .._bearer import extract_token
from .._catalogue import CATALOGUE, STEPS
from .._issuer import DEFAULT_ALGORITHMS, PROFILES, Issuer
from .._key_sets import KeySets
from .._operator import Operator
from .._policies import CompiledPolicy, PolicyCompiler
from .._policy import ServicePackage
from ..errors import (
    AlgorithmNotAllowedError,
    ClaimError,
    InsufficientScopeError,
    PolicyError,
    TokenError,
    UnavailableError,
)
from ._errors import UsageError

# Claims that may be shown: they say nothing of a person.
_SHOWN: Final = frozenset({"iss", "aud", "exp", "nbf", "iat", "typ", "token_use"})
_STEP_OF_CLAIM: Final = {"aud": "audience", "exp": "times", "nbf": "times", "iat": "times"}


def add_parser(commands: Any) -> None:
    """
    Add this command to the parser.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        "explain",
        help="walk a token's road step by step, and say what would refuse it",
        description="Walk the road of a token step by step, as the middleware would, and say what refuses it "
        "and what to change. Exit status: 0 accepted, 1 refused, 2 wrong usage. "
        "The token is never an argument.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="the token; - for standard input"
    )
    parser.add_argument("--issuer", required=True, help="the issuer, exactly as tokens spell it")
    parser.add_argument("--audience", required=True, action="append", help="this API; may be given again")
    parser.add_argument("--jwks", metavar="FILE", help="a JWK Set in a file, instead of asking the issuer")
    parser.add_argument(
        "--scope", default="", help='what the route needs, such as "orders:read orders:write"'
    )
    parser.add_argument("--algorithm", action="append", help=f"default: {', '.join(DEFAULT_ALGORITHMS)}")
    parser.add_argument("--profile", default="default", choices=PROFILES)
    parser.add_argument("--leeway", type=float, default=30.0, help="seconds; default: %(default)s")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """
    Print the road; 0 when the token would be accepted, 1 when not.

    Raises:
        UsageError: A file cannot be read, a setting is wrong, or the issuer's keys cannot be had.
    """
    policy = _policy(options)
    credentials = b"Bearer " + _read(options.file).strip()
    outcome = asyncio.run(_decide(policy, credentials))
    # Tested, and not seen: coverage's tracer does not come back from an event loop that used a thread.
    if isinstance(outcome, UnavailableError):  # pragma: no cover
        raise UsageError(f"{outcome}; with --jwks FILE no issuer is asked")
    if isinstance(outcome, TokenError):
        _print_refusal(outcome)
        return 1
    _print_acceptance(outcome)
    return 0


async def _decide(policy: CompiledPolicy, credentials: bytes) -> Operator | TokenError | UnavailableError:
    """
    The middleware's steps 2 to 4, on a token in hand; a refusal is what was asked for, so it is returned.
    """
    try:
        token = extract_token({"type": "http", "headers": [(b"authorization", credentials)]})
        verified = await policy.verifier.authenticate(token)
        authorize(verified.operator, policy.requirement, now=time.time(), leeway=verified.leeway)
    except (TokenError, UnavailableError) as error:
        return error
    return verified.operator


def _policy(options: argparse.Namespace) -> CompiledPolicy:
    """
    The policy that the options describe.
    """
    try:
        issuer = Issuer(
            options.issuer,
            keys=None if options.jwks is None else _read_jwk_set(options.jwks),
            algorithms=options.algorithm or DEFAULT_ALGORITHMS,
            profile=options.profile,
            leeway=options.leeway,
        )
        package = ServicePackage("explain", issuer=issuer, audience=options.audience)
        return PolicyCompiler(key_sets=KeySets()).compile(package.requires(*options.scope.split()))
    except PolicyError as exc:
        raise UsageError(str(exc)) from exc


def _read_jwk_set(file: str) -> Any:
    try:
        return json.loads(_read(file))
    except ValueError as exc:
        raise UsageError(f"{file} is not JSON: {exc}") from exc


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as exc:  # the name is not repeated: it may be the token, given by mistake
        raise UsageError(
            f"cannot read the file: {exc.strerror}. The token itself is never an argument"
        ) from exc


def _print_refusal(error: TokenError) -> None:
    entry, failed = CATALOGUE[error.code], step_of(error)
    _print_steps(failed)
    print(f"\nrefused with {error.status}: {error.code}")
    print(f"  what   {error}")
    for line in _facts(error):
        print(f"  {line}")
    print(f"  why    {entry.cause}")
    print(f"  to do  {entry.fix}")


def step_of(error: TokenError) -> str:
    """
    The step of the road that *error* comes from; a missing or malformed claim's is that of the claim.
    """
    step = CATALOGUE[error.code].step
    return (
        _STEP_OF_CLAIM.get(error.claim, step)
        if isinstance(error, ClaimError) and step == "operator"
        else step
    )


def _facts(error: TokenError) -> Sequence[str]:
    """
    Expected and actual, where neither says anything of a person.
    """
    if isinstance(error, InsufficientScopeError):
        return (f"needs  {' '.join(error.required)}", f"has    {' '.join(sorted(error.granted)) or 'none'}")
    if isinstance(error, AlgorithmNotAllowedError):
        return (f"has    {_short(error.algorithm)}",)
    if isinstance(error, ClaimError) and error.claim in _SHOWN and error.actual is not None:
        wanted = () if error.expected is None else (f"needs  {_short(error.expected)}",)
        return (*wanted, f"has    {_short(error.actual)}")
    return ()


def _short(value: object) -> str:
    """
    A value of the token, escaped and cut.
    """
    return ascii(value)[:200]


def _print_acceptance(operator: Operator) -> None:
    _print_steps(None)
    print("\naccepted")
    print(f"  kind    {operator.kind}")
    print(f"  client  {_short(operator.client_id)}")
    print(f"  scopes  {' '.join(sorted(operator.scopes)) or 'none'}")
    print(f"  expires in {(operator.token.expires_at or 0) - time.time():.0f} s")


def _print_steps(failed: str | None) -> None:
    """
    The road: passed up to *failed*, not reached after it.
    """
    state = "passed"
    for step, what in STEPS.items():
        if step == failed:
            state = "FAILED"
        print(f"{state:<12}{step:<19}{what}")
        state = "not reached" if state == "FAILED" else state
