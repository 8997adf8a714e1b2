"""
The endpoints of the embedded issuer as ASGI routes: requests in, pure parts asked, responses out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from ._authorize import AuthorizationEndpoint, authorization_response
from ._clients import Client
from ._errors import AuthorizationError, OAuthError
from ._faults import Faults, read_fault
from ._grants import TokenEndpoint
from ._http import (
    CORS,
    NO_STORE,
    answering,
    page,
    preflight,
    query_parameters,
    read_parameters,
    refuse_as_page,
    require_local,
)
from ._keys import SigningKeys
from ._metadata import metadata, metadata_paths
from ._pages import consent_page, welcome_page
from ._token_states import TokenStates

_KEEP_PREVIOUS: Final = {"true": True, "false": False}
_CACHE: Final = {"Cache-Control": "public, max-age=60"}  # seconds; short, because keys rotate under test


@dataclass(frozen=True, slots=True)
class Endpoints:
    """
    The HTTP side of one issuer.
    """

    issuer: str
    clients: Mapping[str, Client]
    keys: SigningKeys
    faults: Faults
    token: TokenEndpoint
    token_states: TokenStates
    authorization: AuthorizationEndpoint

    def routes(self, path: str) -> list[Route]:
        """
        List the routes: below the issuer's path, and without it for where a mount took it away.

        Args:
            path: The path of the issuer, without its last slash.
        """
        serve_metadata = answering(self.serve_metadata, headers=CORS)
        routes = [Route(form, serve_metadata) for form in metadata_paths(path)]
        routes += [Route(form, preflight, methods=["OPTIONS"]) for form in metadata_paths(path)]
        return routes + [route for prefix in dict.fromkeys(("", path)) for route in self._routes(prefix)]

    def _routes(self, prefix: str) -> list[Route]:
        authorize = f"{prefix}/authorize"
        refuse = self._refuse_authorization
        return [
            Route(prefix or "/", self.serve_welcome),
            Route(f"{prefix}/jwks", answering(self.serve_jwks, headers=CORS)),
            Route(f"{prefix}/jwks", preflight, methods=["OPTIONS"]),
            Route(f"{prefix}/token", answering(self.serve_token, headers=CORS), methods=["POST"]),
            Route(f"{prefix}/token", preflight, methods=["OPTIONS"]),
            Route(f"{prefix}/revoke", answering(self.serve_revocation, headers=CORS), methods=["POST"]),
            Route(f"{prefix}/revoke", preflight, methods=["OPTIONS"]),
            Route(f"{prefix}/introspect", answering(self.serve_introspection), methods=["POST"]),
            Route(authorize, answering(self.serve_consent, refuse=refuse)),
            Route(authorize, answering(self.serve_decision, refuse=refuse), methods=["POST"]),
            Route(f"{prefix}/rotate", answering(self.serve_rotation), methods=["POST"]),
            Route(f"{prefix}/faults", answering(self.serve_faults), methods=["POST"]),
        ]

    async def serve_welcome(self, _request: Request) -> Response:
        """
        Say what this server is, and what it is not.
        """
        return page(welcome_page(self.issuer))

    async def serve_metadata(self, _request: Request) -> Response:
        """
        Publish the metadata document (RFC 8414 §3.2).
        """
        clients = self.clients.values()
        return JSONResponse(metadata(self.issuer, algorithm=self.keys.algorithm, clients=clients))

    async def serve_jwks(self, _request: Request) -> Response:
        """
        Publish the JWK Set (RFC 7517 §8.5.2).
        """
        return JSONResponse(self.keys.jwks(), headers=_CACHE, media_type="application/jwk-set+json")

    async def serve_token(self, request: Request) -> Response:
        """
        Answer a token request (RFC 6749 §3.2), or misbehave as it was told to.
        """
        fault = self.faults.take()
        if fault is not None:
            await self.faults.sleep(fault.delay)
            instead = fault.response(token_endpoint=f"{self.issuer.rstrip('/')}/token")
            if instead is not None:
                return instead
        parameters = await read_parameters(request)
        authorization = request.headers.getlist("authorization")
        answer = self.token.answer(parameters, authorization=authorization, fault=fault)
        return JSONResponse(answer, headers=NO_STORE)

    async def serve_revocation(self, request: Request) -> Response:
        """
        Revoke a token (RFC 7009 §2): 200 whatever it was.
        """
        authorization = request.headers.getlist("authorization")
        self.token_states.revoke(await read_parameters(request), authorization=authorization)
        return Response(headers=NO_STORE)

    async def serve_introspection(self, request: Request) -> Response:
        """
        Tell what a token is (RFC 7662 §2.2).
        """
        authorization = request.headers.getlist("authorization")
        answer = self.token_states.introspect(await read_parameters(request), authorization=authorization)
        return JSONResponse(answer, headers=NO_STORE)

    async def serve_consent(self, request: Request) -> Response:
        """
        Show what a client asks for (RFC 6749 §3.1).
        """
        request_id, asked = self.authorization.ask(query_parameters(request))
        content = consent_page(asked, request_id=request_id, users=self.authorization.users)
        return page(content, redirect_uri=asked.redirect_uri)

    async def serve_decision(self, request: Request) -> Response:
        """
        Send the browser back with what the user decided (RFC 6749 §4.1.2).
        """
        location = self.authorization.decide(await read_parameters(request))
        return _redirect(location)

    async def serve_rotation(self, request: Request) -> Response:
        """
        Rotate the signing key, for programs on this machine only.

        The loop waits for the new key, a tenth of a second with RSA: two rotations at once cannot lose one.
        """
        require_local(request)
        parameters = await read_parameters(request)
        keep_previous = _KEEP_PREVIOUS.get(parameters.get("keep_previous", "true"))
        if keep_previous is None:
            raise OAuthError("invalid_request", "keep_previous must be true or false")
        return JSONResponse({"kid": self.keys.rotate(keep_previous=keep_previous)}, headers=NO_STORE)

    async def serve_faults(self, request: Request) -> Response:
        """
        Let the following token requests meet a fault, or none, for programs on this machine only.
        """
        require_local(request)
        fault, times = read_fault(await read_parameters(request))
        if fault is None:
            self.faults.clear()
            return JSONResponse({"fault": "none"}, headers=NO_STORE)
        self.faults.inject(fault, times=times)
        content = {"fault": fault.kind, "seconds": fault.seconds, "times": times}
        return JSONResponse(content, headers=NO_STORE)

    def _refuse_authorization(self, error: OAuthError) -> Response:
        """
        Tell the client through the browser if its redirect URI is known to be good, else the user.
        """
        if not isinstance(error, AuthorizationError):
            return refuse_as_page(error)
        answer = {"error": error.code, "error_description": error.description}
        return _redirect(
            authorization_response(error.redirect_uri, issuer=self.issuer, state=error.state, answer=answer)
        )


def _redirect(location: str) -> Response:
    # RFC 9700 §4.12: 303, so that no browser posts the form on to the client.
    return RedirectResponse(location, status_code=303, headers=NO_STORE)
