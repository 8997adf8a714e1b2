"""
What a provider's tokens must and must not be, beside what every token must.
"""

from ._claim_values import Claims, malformed, missing
from ._claims import refuse_other_kinds, require_claims, validate_audience
from ._profiles import Profile
from ._urls import first_segment
from .errors import ClaimError

__all__ = ["ProviderRules"]


class ProviderRules:
    """
    The rules of one issuer's profile, for one service package.
    """

    def __init__(self, profile: Profile, *, issuer_url: str, audiences: frozenset[str]) -> None:
        """
        Args:
            profile: The issuer's.
            issuer_url: The issuer identifier, which may name a tenant.
            audiences: The package's audiences.
        """
        self._profile = profile
        self._tenant = first_segment(issuer_url)
        self._audiences = audiences

    def validate_audience(self, claims: Claims) -> None:
        """
        Refuse a claims set whose *aud* is not what the provider puts there for this package.

        Where *aud* is the client, it is not compared with anything here: the registered clients are what
        holds such a token to this API (`Profile.pins_client`).

        Raises:
            ClaimError: *aud* is missing, of the wrong shape, or names others.
        """
        if self._profile.audience == "client":
            self._validate_client_audience(claims)
        elif self._profile.audience == "package" or "aud" in claims:
            validate_audience(claims, audiences=self._audiences)

    def validate_kind(self, claims: Claims) -> None:
        """
        Refuse a claims set of another kind of token, or without what this kind always has.

        Raises:
            ClaimError: As `refuse_other_kinds`; or a required claim is missing.
        """
        refuse_other_kinds(claims, wanted=self._profile.wanted_marks)
        require_claims(claims, self._profile.required_claims)

    def validate_tenant(self, claims: Claims) -> None:
        """
        Refuse a claims set of another tenant than the one the issuer URL names, if the profile has tenants.

        Issuers of several tenants may share their keys, so that the signature does not tell the tenant.

        Raises:
            ClaimError: The tenant is missing, no text, or another one.
        """
        claim = self._profile.tenant_claim
        if not claim:
            return
        if claim not in claims:
            raise missing(claim)
        if not isinstance(claims[claim], str):
            raise malformed(claim, claims[claim])
        if claims[claim] != self._tenant:
            raise ClaimError(
                f'"{claim}" is not the tenant that the issuer URL names',
                claim=claim,
                reason="mismatch",
                code="tenant_mismatch",
                expected=self._tenant,
                actual=claims[claim],
            )

    def _validate_client_audience(self, claims: Claims) -> None:
        require_claims(claims, ("aud",))
        value, prefix = claims["aud"], self._profile.client_prefix
        # One client, as one string: which of several would be the one that calls?
        if not isinstance(value, str) or not value.startswith(prefix) or value == prefix:
            raise malformed("aud", value)
