"""
``guardrail explain``: the road of one token, step by step, as the middleware would walk it.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from .._authorization import authorize
from .._bearer import extract_token
from .._catalogue import CATALOGUE, STEPS
from .._operator import ANONYMOUS, Operator
from .._policies import CompiledPolicy
from .._policy import Requirement
from ..errors import (
    AlgorithmNotAllowedError,
    ClaimError,
    InsufficientScopeError,
    TokenError,
    UnavailableError,
)
from ._errors import UsageError
from ._operator_table import print_operator
from ._policy_options import add_policy_options, compile_policy, read_file
from ._sources import sources

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
    parser.add_argument(
        "--operator",
        action="store_true",
        help="show the operator that the token becomes, field by field, values of its claims included",
    )
    add_policy_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """
    Print the road; 0 when the token would be accepted, 1 when not.

    Raises:
        UsageError: A file cannot be read, a setting is wrong, or the issuer's keys cannot be had.
    """
    policy = compile_policy(options)
    credentials = b"Bearer " + read_file(options.file).strip()
    operator, error = asyncio.run(_decide(policy, credentials))
    # Tested, and not seen: coverage's tracer does not come back from an event loop that used a thread.
    if isinstance(error, UnavailableError):  # pragma: no cover
        raise UsageError(f"{error}; with --jwks FILE no issuer is asked")
    _print_steps(None if error is None else step_of(error), unjudged=unjudged_steps(policy.requirement))
    if error is not None:
        _print_refusal(error)
    else:
        _print_acceptance(operator)
    if options.operator:
        _print_operator(operator, policy.requirement)
    return 0 if error is None else 1


async def _decide(
    policy: CompiledPolicy, credentials: bytes
) -> tuple[Operator, TokenError | UnavailableError | None]:
    """
    The middleware's steps 2 to 4, on a token in hand. A refusal is what was asked for, so it is returned,
    with the operator if there was one by then; else that is anonymous.
    """
    operator = ANONYMOUS
    try:
        token = extract_token({"type": "http", "headers": [(b"authorization", credentials)]})
        verified = await policy.verifier.authenticate(token)
        operator = verified.operator
        authorize(operator, policy.requirement, now=time.time(), leeway=verified.leeway)
    except (TokenError, UnavailableError) as error:
        return operator, error
    return operator, None


def unjudged_steps(requirement: Requirement) -> frozenset[str]:
    """
    The steps at which nothing was asked of the token.
    """
    issuer = requirement.package.issuers[0]
    is_judged = {
        "client": bool(issuer.clients) or issuer.unregistered_clients == "refuse",
        "directory": False,  # it is the application's own, and not asked here
        "authentication": bool(requirement.acr_values) or requirement.max_age is not None,
        "scopes": bool(requirement.all_scopes),
        "operator's rights": bool(requirement.roles) or bool(requirement.access_groups),
    }
    return frozenset(step for step, is_one in is_judged.items() if not is_one)


def _print_refusal(error: TokenError) -> None:
    entry = CATALOGUE[error.code]
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
    print("\naccepted")
    print(f"  kind    {operator.kind}")
    print(f"  client  {_short(operator.client_id)}")
    print(f"  scopes  {' '.join(sorted(operator.scopes)) or 'none'}")
    print(f"  expires in {(operator.token.expires_at or 0) - time.time():.0f} s")


def _print_operator(operator: Operator, requirement: Requirement) -> None:
    if not operator.is_authenticated:
        print("\nno operator: the token was refused before it became one")
        return
    package = requirement.package
    print("\nthe operator, of token and client registration; a directory may replace its operator_id,")
    print("access_groups, access_group and roles\n")
    print_operator(
        operator, sources(operator, issuer=package.issuers[0], audiences=frozenset(package.audiences))
    )


def _print_steps(failed: str | None, *, unjudged: frozenset[str]) -> None:
    """
    The road: passed up to *failed*, or *unjudged*, where nothing was asked for; not reached after it.
    """
    is_reached = True
    for step, what in STEPS.items():
        state = "FAILED" if step == failed else "not judged" if step in unjudged else "passed"
        print(f"{state if is_reached else 'not reached':<12}{step:<19}{what}")
        is_reached = is_reached and step != failed
