"""
One issuer of a glewlwyd server: an instance of its OpenID Connect plugin, with a path, keys and tokens of its
own.
"""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from joserfc.jwk import ECKey, KeyParameters, RSAKey

from .visitor import AuthorizationRequest, visit

LIFETIME = 600  # seconds, of an access token


@dataclass(frozen=True, slots=True)
class Settings:
    """
    What the issuers of one server have in common.

    Attributes:
        client_secrets: By client ID.
        passwords: By user name.
        claims: Names of claims about users -> the property of the user each is taken from.
    """

    client_secrets: Mapping[str, str] = field(repr=False)
    passwords: Mapping[str, str] = field(repr=False)
    claims: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Tokens:
    """
    What the token endpoint answered with.
    """

    access_token: str = field(repr=False)
    id_token: str | None = field(default=None, repr=False)


class GlewlwydIssuer:
    """
    An issuer as its clients, its users and its administrator see it.

    Attributes:
        url: The issuer identifier.
    """

    def __init__(self, name: str, *, api: str, admin: httpx.Client, settings: Settings) -> None:
        self.url = f"{api}/{name}"
        self._api = api
        self._name = name
        self._admin = admin
        self._settings = settings
        self._keys = [_generate_key("RS256")]  # all that are published, the one that signs first
        self._admin.post("/mod/plugin/", json=self._plugin())

    def machine_token(self, client_id: str, *, resource: str | None, scope: str = "orders:read") -> str:
        """
        Obtain an access token with the client credentials grant (RFC 6749 §4.4).

        Without a *resource* (RFC 8707), its audience is what glewlwyd puts there: the scope.
        """
        form = {"grant_type": "client_credentials", "scope": scope}
        return self._redeem(client_id, form | ({"resource": resource} if resource else {})).access_token

    def user_tokens(
        self, username: str, *, client_id: str, resource: str, scope: str = "openid orders:read"
    ) -> Tokens:
        """
        Obtain tokens with the authorization code grant: the user signs in and lets the client have *scope*.
        """
        request = AuthorizationRequest(client_id, scope, resource)
        password = self._settings.passwords[username]
        with visit(self._api) as user:
            user.post("/auth/", json={"username": username, "password": password}).raise_for_status()
            user.put(f"/auth/grant/{client_id}", json={"scope": scope}).raise_for_status()
            # "g_continue": the login page, which is not served here, has been seen.
            asked = user.get(f"/{self._name}/auth", params={**request.parameters(), "g_continue": ""})
        return self._redeem(client_id, request.redemption(asked.headers["Location"]))

    def key_ids(self) -> list[str]:
        """
        Name the published keys, the one that signs first.
        """
        return [str(key["kid"]) for key in self._keys]

    def rotate(self, algorithm: str) -> None:
        """
        Sign with a new key from now on. The former ones stay published.
        """
        self._publish([_generate_key(algorithm), *self._keys])

    def withdraw(self) -> None:
        """
        Take all keys out of the JWK Set that signed formerly.
        """
        self._publish(self._keys[:1])

    def _publish(self, keys: list[dict[str, Any]]) -> None:
        self._keys = keys
        self._admin.put(f"/mod/plugin/{self._name}", json=self._plugin())
        self._admin.put(f"/mod/plugin/{self._name}/reset")

    def _redeem(self, client_id: str, form: Mapping[str, str]) -> Tokens:
        secret = self._settings.client_secrets[client_id]
        with visit(self._api) as client:
            response = client.post(f"/{self._name}/token", data=dict(form), auth=(client_id, secret))
        answer = response.raise_for_status().json()
        return Tokens(answer["access_token"], answer.get("id_token"))

    def _plugin(self) -> dict[str, Any]:
        claims = [
            {"user-parameter": source, "token-parameter": claim}
            for claim, source in self._settings.claims.items()
        ]
        parameters = {
            "iss": self.url,
            "subject-type": "public",
            "jwks-private": json.dumps({"keys": self._keys}),  # the first signs
            "jwks-show": True,
            "access-token-duration": LIFETIME,
            "refresh-token-duration": LIFETIME,
            "code-duration": LIFETIME,
            "refresh-token-rolling": False,
            "allow-non-oidc": True,  # or it knows no client credentials grant
            "auth-type-code-enabled": True,
            "auth-type-token-enabled": False,
            "auth-type-id-token-enabled": True,
            "auth-type-password-enabled": False,
            "auth-type-client-enabled": True,
            "auth-type-refresh-enabled": False,
            "pkce-allowed": True,
            "resource-allowed": True,
            "resource-client-property": "resource",
            "resource-scope": {},
            "resource-scope-and-client-property": False,
            "resource-change-allowed": False,
            "additional-parameters": claims,
        }
        return {
            "module": "oidc",
            "name": self._name,
            "display_name": self._name,
            "parameters": parameters,
        }


def _generate_key(algorithm: str) -> dict[str, Any]:
    members: KeyParameters = {"kid": secrets.token_urlsafe(8), "alg": algorithm, "use": "sig"}
    if algorithm.startswith("ES"):
        return dict(ECKey.generate_key("P-256", members).as_dict(private=True))
    return dict(RSAKey.generate_key(2048, members).as_dict(private=True))
