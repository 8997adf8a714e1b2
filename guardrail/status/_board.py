"""
`StatusBoard`: a listener that counts what the status page shows.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final

from .._catalogue import CATALOGUE
from .._settings import require_callables, require_seconds, require_synchronous
from ..events import (
    CircuitClosed,
    CircuitOpened,
    DirectoryFailed,
    DirectoryUnavailable,
    Event,
    KeysUnavailable,
    PlainHttpUsed,
    RefetchBudgetSpent,
    StaleKeysUsed,
    TokenAccepted,
    TokenFetched,
    TokenFetchFailed,
    TokenRefused,
    TokenRejected,
    TokenRevoked,
)
from ._tallies import ClientTally, OutboundTally, PackageTally, Tallies, Tally

__all__ = ["MAX_ENTRIES", "MAX_REFUSALS", "StatusBoard"]

MAX_REFUSALS: Final = 200  # different ones; the same once more is a number that goes up
MAX_ENTRIES: Final = 256  # of packages, clients, operators, scopes, outbound clients and notices, each

Refusal = TokenRefused | KeysUnavailable | DirectoryUnavailable
Outbound = TokenFetched | TokenFetchFailed | TokenRejected | CircuitOpened | CircuitClosed | TokenRevoked


class StatusBoard:
    """
    Counts what happens, for `status_app`. A listener: give it to ``on_event=[board]`` of the middleware, and
    of every `guardrail.client.AuthenticationProfile`.

    It keeps nothing that is not in an event, so no token, no secret and no person. Memory is bounded,
    whatever callers do: 200 different refusals, and 256 each of packages, clients, operators, scopes,
    outbound clients and notices; what was seen least recently makes room, and it is told how much did. It
    may be called from any thread, and does no I/O. It knows of one process, and nothing outlives that.
    """

    def __init__(
        self,
        *,
        nearly_expired: float = 30.0,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            nearly_expired: A token that arrives with at most so many seconds left is nearly expired; 30 by
                default.
            clock: Wall clock, in seconds since the epoch.
            monotonic: Clock for durations, in seconds.

        Raises:
            PolicyError: A setting is wrong; the message names the right form.
        """
        require_seconds("nearly_expired", nearly_expired, is_positive=False)
        require_callables(clock=clock, monotonic=monotonic)
        require_synchronous(clock=clock, monotonic=monotonic)
        self._nearly_expired = nearly_expired
        self._clock = clock
        self._monotonic = monotonic
        self._since = clock()
        self._lock = threading.Lock()
        many = MAX_ENTRIES
        self._packages: Tallies[str, PackageTally] = Tallies(PackageTally, limit=many)
        self._refusals: Tallies[Refusal, Tally] = Tallies(Tally, limit=MAX_REFUSALS)
        self._clients: Tallies[tuple[str, str | None], ClientTally] = Tallies(ClientTally, limit=many)
        self._operators: Tallies[tuple[str, str, str | None], Tally] = Tallies(Tally, limit=many)
        self._scopes: Tallies[tuple[str, str], Tally] = Tallies(Tally, limit=many)
        self._outbound: Tallies[tuple[str, str], OutboundTally] = Tallies(OutboundTally, limit=many)
        self._notices: Tallies[tuple[str, str], Tally] = Tallies(Tally, limit=many)

    def __call__(self, event: Event) -> None:
        """
        Take note of *event*, if it is one that the page says something about.
        """
        with self._lock:
            now = self._monotonic()
            if isinstance(event, TokenAccepted):
                self._accepted(event, now)
            elif isinstance(event, Refusal):
                self._refused(event, now)
            elif isinstance(event, Outbound):
                _note(self._outbound.touch((event.client_id, event.token_host)), event, now)
            else:
                about = _about(event)
                if about is not None:
                    self._notices.touch((event.name, about)).add(now)

    def _accepted(self, event: TokenAccepted, now: float) -> None:
        self._packages.touch(event.package).accepted += 1
        client = self._clients.touch((event.issuer, event.client_id))
        client.add(now)
        if event.seconds_left is not None:
            client.add_token(event.seconds_left, limit=self._nearly_expired)
        self._operators.touch((event.issuer, event.operator_kind, event.operator_id)).add(now)

    def _refused(self, event: Refusal, now: float) -> None:
        self._packages.touch(event.package).add_refusal(event.code, is_enforced=event.is_enforced)
        self._refusals.touch(event).add(now)
        if isinstance(event, TokenRefused):
            for scope in event.scopes_lacking:
                self._scopes.touch((event.package, scope)).add(now)

    def as_dict(self) -> dict[str, Any]:
        """
        All of it, for JSON; in each list, what happened last comes first. Durations are in seconds.
        """
        with self._lock:
            now = self._monotonic()
            return {
                "now": self._clock(),
                "since": self._since,
                "nearly_expired_at": self._nearly_expired,
                "packages": self._packages.rows(lambda name: {"package": name}, now),
                "refusals": self._refusals.rows(_refusal, now),
                "clients": self._clients.rows(lambda key: {"issuer": key[0], "client_id": key[1]}, now),
                "operators": self._operators.rows(_operator, now),
                "scopes": self._scopes.rows(lambda key: {"package": key[0], "scope": key[1]}, now),
                "outbound": self._outbound.rows(lambda key: {"client_id": key[0], "token_host": key[1]}, now),
                "notices": self._notices.rows(lambda key: {"event": key[0], "about": key[1]}, now),
                "forgotten": self._forgotten(),
            }

    def _forgotten(self) -> dict[str, int]:
        kept: dict[str, Tallies[Any, Any]] = {
            "packages": self._packages,
            "refusals": self._refusals,
            "clients": self._clients,
            "operators": self._operators,
            "scopes": self._scopes,
            "outbound": self._outbound,
            "notices": self._notices,
        }
        return {name: tallies.forgotten for name, tallies in kept.items()}


def _refusal(event: Refusal) -> dict[str, Any]:
    """
    The event's fields, and what the catalogue says of its code.
    """
    entry = CATALOGUE[event.code]
    said = {field.name: getattr(event, field.name) for field in fields(event)}
    return {"status": entry.status, "cause": entry.cause, "fix": entry.fix} | said  # a size can be 400 too


def _operator(key: tuple[str, str, str | None]) -> dict[str, Any]:
    return dict(zip(("issuer", "kind", "operator_id"), key, strict=True))


def _about(event: Event) -> str | None:
    """
    Whom a notice is about; None for an event that is none.
    """
    if isinstance(event, PlainHttpUsed):
        return event.package
    if isinstance(event, StaleKeysUsed | RefetchBudgetSpent):
        return event.issuer
    return event.reason if isinstance(event, DirectoryFailed) else None


def _note(tally: OutboundTally, event: Outbound, now: float) -> None:
    """
    What became of the tokens of one client.
    """
    if isinstance(event, TokenFetched):
        tally.fetched += 1
        tally.ends_at, tally.error, tally.retry_at = now - event.duration + event.lifetime, None, None
    elif isinstance(event, TokenFetchFailed):
        tally.failed += 1
        tally.error = event.error
        tally.retry_at = None if event.retry_after is None else now + event.retry_after
        tally.ends_at = tally.ends_at if event.token_alive else None
    elif isinstance(event, TokenRejected):
        tally.rejected += 1
    elif isinstance(event, TokenRevoked):
        tally.ends_at = None
    else:
        tally.is_circuit_open = isinstance(event, CircuitOpened)
