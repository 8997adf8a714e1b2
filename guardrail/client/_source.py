"""
Tokens for any number of callers: one lock, one fetch at a time, and what is told of it.
"""

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from ..events import (
    CircuitClosed,
    CircuitOpened,
    LifetimeUnknown,
    Listener,
    RefreshTokenRotated,
    TokenFetched,
    TokenFetchFailed,
    TokenRevoked,
)
from ._answers import Grant
from ._failures import Failure
from ._flight import Flight
from ._life import UNKNOWN_LIFETIME, AccessToken, Next, TokenLife, Trigger
from ._refresh import RefreshTokens
from ._rejections import Rejections
from ._server import AuthorizationServer

__all__ = ["Landing", "TokenSource"]

Landing = Flight[Next]
_BROKEN: Final = Failure("connect", "the fetch did not end as it should, or no thread can be started")
_REVOKED: Final = Failure("invalid_grant", "the refresh token was revoked", permanent=True, is_final=True)


class TokenSource:
    """
    The token of one profile.
    """

    def __init__(
        self,
        server: AuthorizationServer,
        refresh_tokens: RefreshTokens,
        *,
        client_id: str,
        clock: Callable[[], float],
        emit: Listener,
    ) -> None:
        """
        Args:
            clock: Seconds; only differences count.
            emit: Takes every event, from whatever thread; survives its listeners.
        """
        self._server = server
        self._refresh_tokens = refresh_tokens
        self._client_id = client_id
        self._clock = clock
        self._emit = emit
        self._lock = threading.Lock()
        self._life = TokenLife()
        self._rejections = Rejections()
        self._landing: Landing | None = None

    @property
    def token_host(self) -> str:
        """
        The host tokens come from, for events.
        """
        return self._server.endpoints.host

    @property
    def _who(self) -> dict[str, str]:
        """
        What all events have.
        """
        return {"client_id": self._client_id, "token_host": self.token_host}

    def obtain(self) -> AccessToken | Landing:
        """
        The token to use now, or the fetch to wait for. Starts one where it is time to.

        Raises:
            TokenUnavailableError: There is none, and it is not time to ask again.
            PolicyError: Likewise, because of what a callable of the profile returned.
        """
        token, now = self._life.token, self._clock()
        if token is not None and now < token.aging_at:
            return token  # one reference, read once: no lock for what nearly every request does
        with self._lock:
            step = self._life.next(now)
            if step.trigger is not None:
                self._landing = Flight()
            landing = self._landing
        if landing is not None and step.trigger is not None:
            landing.begin(
                partial(self._fetch, step.trigger), otherwise=partial(self._missed, step.trigger, now)
            )
        must_wait = step.token is None and step.failure is None
        return landing if must_wait and landing is not None else self.landed(step)

    def landed(self, outcome: Next) -> AccessToken:
        """
        The token that a fetch brought.

        Raises:
            TokenUnavailableError: It brought none.
            PolicyError: Likewise, because of what a callable of the profile returned.
        """
        if outcome.token is None:
            raise (outcome.failure or _BROKEN).raised(self._client_id, outcome.retry_after)
        return outcome.token

    def reject(self, token: AccessToken, origin: str, *, is_new: bool) -> str | None:
        """
        Take note that *origin* answered 401 to *token*; `obtain` then gives another one.

        Args:
            is_new: Whether it was obtained for that very call.

        Returns:
            Why the token is kept; None if it is not, or another one is in hand.
        """
        now = self._clock()
        with self._lock:
            held = self._life.token
            if held is not None and held.value != token.value and self._life.is_alive(now):
                return None
            age = 0.0 if is_new else now - token.obtained_at
            reason = self._rejections.reason_against(origin, age=age, now=now)
            if reason is None:
                self._rejections.renewing(origin)
                self._life.drop(token.value, gap="rejected")
            return reason

    def invalidate(self, value: str) -> None:
        """
        Forget the token if it is this one.
        """
        with self._lock:
            self._life.drop(value, gap="invalidated")

    def revoke(self) -> bool | None:
        """
        Revoke the tokens in hand (RFC 7009), and forget them whatever the answer. Blocks.

        Returns:
            Whether the server confirmed it; None if there is nowhere to ask, and nothing is forgotten then.
        """
        url = self._server.find_revocation()
        if url is None:
            return None
        tokens = self._take()
        is_confirmed = isinstance(url, str) and self._server.revoke(url, tokens)
        if is_confirmed and tokens:
            self._emit(TokenRevoked(**self._who))
        return is_confirmed

    def _take(self) -> tuple[tuple[str, str], ...]:
        """
        Forget the tokens in hand, and return them, each with its type hint. Blocks while a fetch runs.
        """
        while True:
            with self._lock:
                landing = self._landing
                if landing is None:
                    refresh_token, token = self._refresh_tokens.drop(), self._life.token
                    self._life.forget(_REVOKED if self._refresh_tokens.is_used else None)
                    found = (("refresh_token", refresh_token), ("access_token", token and token.value))
                    return tuple((hint, value) for hint, value in found if value)
            landing.wait()

    def _fetch(self, trigger: Trigger) -> Next:
        """
        One fetch, in a thread of its own. What is told of it is told before anybody goes on.
        """
        asked_at = self._clock()
        answer, is_rotated = self._ask()
        now = self._clock()
        if isinstance(answer, Failure):
            return self._land_failure(answer, trigger, now)
        landed = self._land(answer, trigger, asked_at=asked_at, now=now)
        if is_rotated:
            self._emit(RefreshTokenRotated(**self._who))
        return landed

    def _land(self, grant: Grant, trigger: Trigger, *, asked_at: float, now: float) -> Next:
        lifetime = UNKNOWN_LIFETIME if grant.lifetime is None else grant.lifetime
        spread = random.uniform(1.0, 1.5)  # noqa: S311 - nothing secret hangs on it
        value = grant.access_token
        token = AccessToken.of(value, lifetime, asked_at=asked_at, obtained_at=now, spread=spread)
        with self._lock:
            ends_outage = self._life.succeeded(token)
            self._rejections.settled(now, is_renewed=True)
            self._landing = None
        self._emit(TokenFetched(**self._who, trigger=trigger, lifetime=lifetime, duration=now - asked_at))
        if grant.lifetime is None:
            self._emit(LifetimeUnknown(**self._who))
        if ends_outage:
            self._emit(CircuitClosed(**self._who))
        return Next(token)

    def _ask(self) -> tuple[Grant | Failure, bool]:
        """
        The answer, and whether a new refresh token came with it and is stored.
        """
        answer = self._server.request_token(self._refresh_tokens.current)
        if isinstance(answer, Failure):
            if self._refresh_tokens.is_used and answer.permanent and answer.error == "invalid_grant":
                self._refresh_tokens.drop()
                return replace(answer, is_final=True), False
            return answer, False
        try:
            return answer, self._refresh_tokens.receive(answer.refresh_token)
        except Exception as exc:  # noqa: BLE001 - the application's callable; what it says may hold the token
            return Failure("not_stored", f"on_refresh_token raised {type(exc).__name__}"), False

    def _missed(self, trigger: Trigger, now: float) -> Next:
        return self._land_failure(_BROKEN, trigger, now)

    def _land_failure(self, failure: Failure, trigger: Trigger, now: float) -> Next:
        with self._lock:
            opens = self._life.failed(failure, now)
            retry_after, is_alive = self._life.retry_after(now), self._life.is_alive(now)
            self._rejections.settled(now, is_renewed=False)
            self._landing = None
        self._emit(
            TokenFetchFailed(
                **self._who,
                trigger=trigger,
                error=failure.error,
                permanent=failure.permanent,
                retry_after=retry_after,
                token_alive=is_alive,
            )
        )
        if opens:
            self._emit(CircuitOpened(**self._who))
        return Next(failure=failure, retry_after=retry_after)
