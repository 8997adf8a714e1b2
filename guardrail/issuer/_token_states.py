"""
Revocation and introspection without HTTP: what a client says of a token, and what it is told of one.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from .._shapes import is_array
from ._authentication import ClientAuthentication
from ._errors import OAuthError
from ._parameters import Parameters, required_parameter
from ._stores import RefreshTokens
from ._tokens import Minter


@dataclass(frozen=True, slots=True)
class TokenStates:
    """
    Ends tokens (RFC 7009), and tells whether they are good (RFC 7662).

    Takes no notice of *token_type_hint*: no token looks like one of the other kind.
    """

    authentication: ClientAuthentication
    minter: Minter
    refresh_tokens: RefreshTokens

    def revoke(self, parameters: Parameters, *, authorization: Sequence[str]) -> None:
        """
        Revoke a token of the client's; nothing happens to another client's, and to what is no token.

        With a refresh token, used ones too, ends all that came of its grant (RFC 7009 §2.1).

        Args:
            authorization: The values of all ``Authorization`` headers.

        Raises:
            OAuthError: The client is not authenticated, or *token* is missing.
        """
        client = self.authentication.authenticate(parameters, authorization=authorization)
        token = required_parameter(parameters, name="token")
        # RFC 7009 §2.2: neither case is an error, and so the answer tells nobody which it was.
        with suppress(KeyError):
            if self.minter.access_tokens.find(token).claims["client_id"] == client.client_id:
                self.minter.access_tokens.revoke(token)
        with suppress(KeyError):
            grant = self.refresh_tokens.family_of(token)
            if grant.client_id == client.client_id:
                self.refresh_tokens.revoke(grant.family)

    def introspect(self, parameters: Parameters, *, authorization: Sequence[str]) -> dict[str, object]:
        """
        Tell what an access token says, to its client and to whoever may be its audience.

        Everything else is ``{"active": False}`` alone: refresh tokens, others' tokens, and what is no token.

        Args:
            authorization: The values of all ``Authorization`` headers.

        Raises:
            OAuthError: The client is not authenticated, or public; or *token* is missing.
        """
        client = self.authentication.authenticate(parameters, authorization=authorization)
        # RFC 7662 §2.1: the endpoint MUST require authorization, and a public client's identifier is none.
        if client.is_public:
            raise OAuthError("invalid_client", "introspection needs client authentication", status=401)
        try:
            claims = self.minter.find(required_parameter(parameters, name="token")).claims
        except KeyError:
            return {"active": False}
        audience = claims["aud"] if is_array(claims["aud"]) else [claims["aud"]]
        if claims["client_id"] != client.client_id and not set(client.audiences).intersection(audience):
            return {"active": False}
        return {"active": True, "token_type": "Bearer", **claims}
