"""
Families of refresh tokens, whatever is done to them: one token of a grant is good, and none after reuse.
"""

import re

import pytest
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from guardrail.issuer._access_tokens import AccessTokens, IssuedToken
from guardrail.issuer._errors import OAuthError
from guardrail.issuer._stores import Grant, RefreshTokens

from .builders import NOW, ORDERS, Clock

LIFETIME = 60.0  # seconds


class Families(RuleBasedStateMachine):
    """
    Two users' grants, whose tokens are used, used again, garbled, revoked and left to expire, in any order.

    The model is one line: of each grant the last token and its expiry, until something ends it.
    """

    tokens = Bundle("tokens")

    @initialize()
    def start(self) -> None:
        self.clock = Clock()
        self.access_tokens = AccessTokens(clock=self.clock)
        on_revoke = self.access_tokens.revoke_family
        self.refresh_tokens = RefreshTokens(clock=self.clock, on_revoke=on_revoke)
        self.latest: dict[str, tuple[str, float]] = {}
        self.issued: dict[str, Grant] = {}
        self.in_hand: dict[str, list[str]] = {}

    @rule(target=tokens)
    def grant(self) -> str:
        grant = Grant("web", "alice", frozenset(), (ORDERS,), auth_time=int(NOW))
        return self._issue(grant)

    @rule(target=tokens, token=tokens)
    def use(self, token: str) -> str:
        grant = self.issued[token]
        is_good = self._good(grant.family) == token
        if not is_good:
            with pytest.raises(OAuthError, match="invalid_grant"):
                self.refresh_tokens.find(token)
            self._end(grant.family)
            return token
        assert self.refresh_tokens.find(token) == grant
        return self._issue(grant)

    @rule(token=tokens)
    def garble(self, token: str) -> None:
        with pytest.raises(OAuthError, match="invalid_grant"):
            self.refresh_tokens.find(token + "x")
        self._end(self.issued[token].family)

    @rule(token=tokens)
    def revoke(self, token: str) -> None:
        family = self.issued[token].family
        self.refresh_tokens.revoke(family)
        self._end(family)

    @rule()
    def wait(self) -> None:
        self.clock.now += LIFETIME / 2

    @invariant()
    def family_is_known_while_it_is_good(self) -> None:
        for token, grant in getattr(self, "issued", {}).items():
            if self._good(grant.family) is None:
                with pytest.raises(KeyError):
                    self.refresh_tokens.family_of(token)
            else:
                assert self.refresh_tokens.family_of(token) == grant

    @invariant()
    def access_tokens_end_with_their_family(self) -> None:
        for family, held in getattr(self, "in_hand", {}).items():
            for access_token in held:
                assert self.access_tokens.find(access_token).family == family

    def _issue(self, grant: Grant) -> str:
        token = self.refresh_tokens.issue(grant, lifetime=LIFETIME)
        assert re.fullmatch(r"[\w-]{43}\.[\w-]{43}", token)
        self.latest[grant.family] = (token, self.clock.now + LIFETIME)
        self.issued[token] = grant
        issued = IssuedToken({}, expires_at=NOW * 2, family=grant.family, kid=None)
        self.access_tokens.keep(f"access {token}", issued)
        self.in_hand.setdefault(grant.family, []).append(f"access {token}")
        return token

    def _good(self, family: str) -> str | None:
        token, expires_at = self.latest.get(family, (None, 0.0))
        return token if self.clock.now < expires_at else None

    def _end(self, family: str) -> None:
        self.latest.pop(family, None)
        for access_token in self.in_hand.pop(family, []):
            with pytest.raises(KeyError):
                self.access_tokens.find(access_token)


TestFamilies = Families.TestCase
TestFamilies.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
