"""
The authorization server as a profile sees it: ask for a token, revoke one; each within one deadline.

Everything that can go wrong comes out as a `Failure`, which holds no secret. What was raised on the way,
with its frames and the request that it knows, ends here.
"""

import errno
import ssl
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Final, TypeVar
from urllib.parse import quote_plus

import httpx

from .._discovery import ClientEndpoints
from ..errors import PolicyError
from ._answers import Grant, Reply, read_answer
from ._authentication import ClientAuthentication
from ._deadline import Deadline
from ._endpoints import Endpoints
from ._exchange import Connection, http_client, send
from ._failures import TIMEOUT, AttemptError, Failure
from ._grants import SECRET_PARAMETERS, TokenRequest

__all__ = ["AuthorizationServer"]

MAX_CAUSES: Final = 8  # looked at of a chain of exceptions

Form = tuple[tuple[str, str], ...]
Result = TypeVar("Result")


class AuthorizationServer:
    """
    One authorization server, for one client.

    Attributes:
        endpoints: Where it is.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        authentication: ClientAuthentication,
        token_request: TokenRequest,
        *,
        timeout: float,
        http_client: httpx.Client | None,
    ) -> None:
        """
        Args:
            timeout: Seconds for a token request or a revocation, discovery included.
            http_client: What to send with; None makes one each time around one shared TLS context.
        """
        self.endpoints = endpoints
        self._authentication = authentication
        self._token_request = token_request
        self._timeout = timeout
        self._http_client = http_client
        self._deadline = Deadline()

    def request_token(self, refresh_token: str | None) -> Grant | Failure:
        """
        Ask for a token. Blocks, for *timeout* at most.
        """

        def ask(conversation: "_Conversation") -> Grant | Failure:
            url = self._find(conversation).token
            # Made at every request, so that a rotated secret is seen, a new assertion sent.
            reply = conversation.post(url, lambda: self._token_request.form(refresh_token))
            return read_answer(reply, wall_clock=self._authentication.wall_clock)

        return self._converse(ask)

    def find_revocation(self) -> str | Failure | None:
        """
        The revocation endpoint, or None if there is none. Blocks, for *timeout* at most, if it must be asked
        for.
        """
        return self._converse(lambda conversation: self._find(conversation).revocation)

    def revoke(self, url: str, tokens: Form) -> bool:
        """
        Revoke *tokens*, each with its type hint (RFC 7009 §2.1). Blocks, for *timeout* at most.

        Returns:
            Whether the server confirmed all of them.
        """

        def ask(conversation: "_Conversation") -> bool:
            forms = [(("token", token), ("token_type_hint", hint)) for hint, token in tokens]
            replies = [conversation.post(url, partial(tuple[tuple[str, str], ...], form)) for form in forms]
            # RFC 7009 §2.2: 200 also for a token the server does not know.
            return all(reply.status == HTTPStatus.OK for reply in replies)

        return self._converse(ask) is True

    def _find(self, conversation: "_Conversation") -> ClientEndpoints:
        return self.endpoints.find(conversation.get, wall_clock=self._authentication.wall_clock)

    def _converse(self, ask: Callable[["_Conversation"], Result]) -> Result | Failure:
        connection, until = Connection(), time.monotonic() + self._timeout

        def work() -> Result | Failure:
            try:
                with http_client(self._http_client) as client:
                    return ask(_Conversation(client, self._authentication, self.endpoints, until, connection))
            except AttemptError as exc:
                return exc.failure
            except (httpx.TimeoutException, TimeoutError):
                return TIMEOUT
            except Exception as exc:  # noqa: BLE001 - whatever a given client, its transport and its hooks raise
                return Failure("connect", _words_for(exc))

        try:
            return self._deadline.run(work, seconds=self._timeout, give_up=connection.cut)
        except TimeoutError:
            return TIMEOUT
        except RuntimeError:
            return Failure("connect", "no thread can be started")


class _Conversation:
    """
    Requests with one client, until one time.
    """

    def __init__(
        self,
        client: httpx.Client,
        authentication: ClientAuthentication,
        endpoints: Endpoints,
        until: float,
        connection: Connection,
    ) -> None:
        self._client = client
        self._authentication = authentication
        self._endpoints = endpoints
        self._until = until
        self._connection = connection

    def get(self, url: str) -> Reply:
        """
        GET metadata.
        """
        return send(self._client, url, until=self._until, connection=self._connection)

    def post(self, url: str, form: Callable[[], Form]) -> Reply:
        """
        POST a form, and the client's credentials with it.

        Raises:
            AttemptError: A callable of the application's did not give what goes into it.
        """
        try:
            credentials = self._authentication.credentials(self._endpoints.audience)
            grant = form()
        except PolicyError as exc:
            raise AttemptError(
                Failure(
                    "credentials", "a callable returned what cannot be used", permanent=True, policy=str(exc)
                )
            ) from None
        except Exception as exc:  # noqa: BLE001 - the application's callable; what it says may hold a secret
            detail = f"a callable of the profile raised {type(exc).__name__}"
            raise AttemptError(Failure("credentials", detail)) from None
        reply = send(
            self._client,
            url,
            form=(*grant, *credentials.form),
            headers=credentials.headers,
            until=self._until,
            connection=self._connection,
        )
        sent = (*credentials.secrets, *(value for name, value in grant if name in SECRET_PARAMETERS))
        return replace(reply, secrets=(*sent, *map(quote_plus, sent)))  # a server may quote the form, too


def _words_for(exc: Exception) -> str:
    """
    An exception in words that are not its own: it may quote what was sent. Names of classes and numbers are
    safe.
    """
    words = type(exc).__name__
    cause: BaseException | None = exc
    for _ in range(MAX_CAUSES):
        if isinstance(cause, ssl.SSLError) and cause.reason:
            return f"{words}: {cause.reason}"
        number = cause.errno if isinstance(cause, OSError) else None
        if number is not None and number in errno.errorcode:
            return f"{words}: {errno.errorcode[number]}"
        cause = cause and (cause.__cause__ or cause.__context__)
    return words
