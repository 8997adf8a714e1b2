"""
The refusals of the embedded issuer.

* ``OAuthError``
    * ``AuthorizationError``: the browser may be sent back with it
"""


class OAuthError(Exception):
    """
    Raised when a request is refused (RFC 6749 §5.2).

    The description goes to the network: it is fixed text without quotation marks or backslashes, and never
    repeats what was sent.

    Attributes:
        code: The error code, such as ``invalid_grant``.
        description: A sentence for the developer.
        status: The HTTP status.
        is_basic: Whether the client used ``Authorization: Basic`` and so gets that challenge back.
    """

    def __init__(self, code: str, description: str, *, status: int = 400, is_basic: bool = False) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description
        self.status = status
        self.is_basic = is_basic


class AuthorizationError(OAuthError):
    """
    Raised when an authorization request is refused and its redirect URI was found good (RFC 6749 §4.1.2.1).

    Attributes:
        redirect_uri: Where the browser is sent; registered for this client.
        state: The client's *state*, to be returned unchanged.
    """

    def __init__(self, code: str, description: str, *, redirect_uri: str, state: str | None) -> None:
        super().__init__(code, description)
        self.redirect_uri = redirect_uri
        self.state = state
