"""
One issuer's tokens for one service package: header, key, signature, claims, client, in that order.
"""

from collections.abc import Callable
from typing import NamedTuple

from ._claims import NumericDates, read_numeric_dates, validate_issuer
from ._compact import CompactToken
from ._header import validate_header
from ._issuer import Issuer
from ._json import JSONObject
from ._keys import KeySet, Selection, verify_signature
from ._mapping import OperatorMapping
from ._mapping_setting import field_paths
from ._profiles import load_profile
from ._provider_rules import ProviderRules
from ._registration import RegisteredClients
from ._token_cache import VerifiedToken

__all__ = ["IssuerVerifier", "KnownHeader"]


class KnownHeader(NamedTuple):
    """
    What a header selects: found, and held to every rule, for another token, whose signature then held.
    """

    verifier: "IssuerVerifier"
    algorithm: str
    selection: Selection


class IssuerVerifier:
    """
    Verifies the tokens of one issuer for one service package.
    """

    def __init__(
        self, issuer: Issuer, *, audiences: frozenset[str], key_set: KeySet, clock: Callable[[], float]
    ) -> None:
        self._issuer = issuer
        self._algorithms = frozenset(issuer.algorithms)
        self._key_set = key_set
        self._clock = clock
        profile = load_profile(issuer.profile)
        self._rules = ProviderRules(profile, issuer_url=issuer.url, audiences=audiences)
        self._mapping = OperatorMapping(profile, replaced=field_paths(issuer.mapping), audiences=audiences)
        self._token_types = issuer.accepted_token_types or profile.token_types
        self._clients = RegisteredClients(
            issuer.clients,
            refuse_unregistered=issuer.unregistered_clients == "refuse" or profile.pins_client,
            kind_from_registration=profile.is_kind_registered,
        )

    async def select(self, token: CompactToken) -> KnownHeader:
        """
        What the header of a token selects that says it is this issuer's.

        Raises:
            InvalidTokenError: Its header is not acceptable, or names no key of the issuer.
            UnavailableError: The issuer's keys could not be had.
        """
        algorithm, kid = validate_header(
            token.unverified_header, algorithms=self._algorithms, token_types=self._token_types
        )
        return KnownHeader(self, algorithm, await self._key_set.select(kid, algorithm))

    def holds(self, selection: Selection) -> bool:
        """
        Whether what was selected before would be selected now.
        """
        return self._key_set.holds(selection.generation)

    def verify(self, token: CompactToken, algorithm: str, selection: Selection) -> VerifiedToken:
        """
        Authenticate a token with the keys that its header selects.

        Raises:
            InvalidTokenError: It is not acceptable.
            OperatorRefusedError: Its client may not call.
        """
        keys, generation = selection
        verify_signature(
            keys, signing_input=token.signing_input, signature=token.signature, algorithm=algorithm
        )
        claims = token.unverified_claims  # verified from here on
        dates = self._validate(claims)
        operator = self._clients.apply(self._mapping.operator(claims))
        return VerifiedToken(operator, dates, self._issuer.leeway, self._key_set, generation)

    def _validate(self, claims: JSONObject) -> NumericDates:
        """
        Everything RFC 9068 §4 asks of the claims set, cheapest first.
        """
        validate_issuer(claims, issuer=self._issuer.url)
        self._rules.validate_audience(claims)
        dates = read_numeric_dates(claims)
        dates.validate(now=self._clock(), leeway=self._issuer.leeway)
        self._rules.validate_kind(claims)
        self._rules.validate_tenant(claims)
        return dates
