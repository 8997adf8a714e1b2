"""
One request to an API through a profile: its token, its 401, its one retry. Without I/O, so that it serves
both flows.
"""

import httpx

from ..errors import PolicyError, TokenUnavailableError
from ..events import Listener, TokenRejected
from ._life import AccessToken, Next
from ._requests import authorize, copied, is_rejection, is_replayable, origin_of, require_protected
from ._source import Landing, TokenSource

__all__ = ["Call"]


class Call:
    """
    What happens to one request, step by step: `begin`, `sent`, and, while that gives something, `renewed`.
    """

    __slots__ = (
        "_client_id",
        "_emit",
        "_is_new",
        "_is_replayable",
        "_may_repeat",
        "_request",
        "_source",
        "_token",
    )

    def __init__(
        self, request: httpx.Request, source: TokenSource, *, client_id: str, emit: Listener
    ) -> None:
        self._request = request
        self._source = source
        self._client_id = client_id
        self._emit = emit
        self._token: AccessToken | None = None
        self._is_new = False
        # Asked now: a transport may have read a stream into memory when it is sent.
        self._is_replayable = self._may_repeat = is_replayable(request)

    def begin(self) -> Landing | None:
        """
        See that there is a token. Returns the fetch to wait for, if there is none yet.

        Raises:
            PolicyError: The request would carry the token in the clear.
            TokenUnavailableError: There is no token, and it is not time to ask for one.
        """
        require_protected(self._request)
        return self._take(self._source.obtain())

    def landed(self, outcome: Next) -> None:
        """
        A fetch that `begin` gave has ended.

        Raises:
            TokenUnavailableError: Without a token.
        """
        self._token, self._is_new = self._source.landed(outcome), True

    def authorized(self) -> httpx.Request:
        """
        The request with its token.
        """
        if self._token is None:
            raise AssertionError("a request is never sent without its token")
        return authorize(self._request, self._token)

    def authorized_again(self) -> httpx.Request:
        """
        A copy of the request with its other token.
        """
        self._request = copied(self._request)
        return self.authorized()

    def sent(self, response: httpx.Response) -> Landing | bool:
        """
        Judge the answer.

        Returns:
            The fetch to wait for, then tell `renewed`; or whether to send the request again, at once.
        """
        token = self._token
        if token is None or not is_rejection(response, self._request, token):
            return False
        # RFC 9110 §15.4.4: a POST that a redirect made a GET has been done, and would be done twice.
        self._may_repeat = self._is_replayable and response.request.method == self._request.method
        reason = self._source.reject(token, origin_of(self._request.url), is_new=self._is_new)
        if reason is not None:
            return self._tell(reason, is_retried=False)
        try:
            landing = self._take(self._source.obtain())
        except (TokenUnavailableError, PolicyError):  # the 401 says more to the caller than that
            return self._tell("invalid_token", is_retried=False)
        return landing or self._tell("invalid_token", is_retried=True)

    def renewed(self, outcome: Next) -> bool:
        """
        The fetch that `sent` gave has ended. Returns whether to send the request again.
        """
        if outcome.token is None:
            return self._tell("invalid_token", is_retried=False)
        self._token, self._is_new = outcome.token, True
        return self._tell("invalid_token", is_retried=True)

    def sent_again(self, response: httpx.Response) -> None:
        """
        Judge the second answer, which is the last one: a token that is new is not blamed.
        """
        if self._token is not None and is_rejection(response, self._request, self._token):
            self._tell("fresh_token", is_retried=False)

    def _take(self, found: AccessToken | Landing) -> Landing | None:
        if isinstance(found, AccessToken):
            self._token = found
            return None
        return found

    def _tell(self, reason: str, *, is_retried: bool) -> bool:
        if reason == "invalid_token" and not self._is_replayable:
            reason = "streamed_body"
        is_retried = is_retried and self._may_repeat
        self._emit(
            TokenRejected(
                client_id=self._client_id,
                token_host=self._source.token_host,
                host=self._request.url.host,
                retried=is_retried,
                reason=reason,
            )
        )
        return is_retried
