"""
What users write in a profile, checked when they write it. No message has a secret in it.
"""

import inspect
import time
from collections.abc import Callable, Mapping

import httpx

from .._scopes import SCOPE_CHARACTERS, SCOPES_EXAMPLE
from .._settings import names
from .._shapes import is_object, is_strings
from .._urls import require_fetchable
from ..errors import PolicyError
from ._assertion import SigningKey, read_private_jwk
from ._authentication import ClientAuthentication, chosen_method, is_encodable, require_secret
from ._endpoints import Endpoints
from ._grants import ACCESS_TOKEN_TYPE, OUR_PARAMETERS, TokenRequest

__all__ = ["authentication", "endpoints", "hooks", "require_client", "seconds", "token_request"]

MAX_TIMEOUT = 86_400.0  # seconds

Secret = str | Callable[[], object] | None


def endpoints(issuer: object, token_url: object, revocation_url: object) -> Endpoints:
    """
    Where the authorization server is.

    Raises:
        PolicyError: Neither issuer nor token URL, or one that no secret may be sent to.
    """
    if issuer is None and token_url is None:
        raise PolicyError('give issuer, such as "https://login.example.com", or token_url')
    named = {"issuer": issuer, "token_url": token_url, "revocation_url": revocation_url}
    found = {name: None if url is None else _url(name, url) for name, url in named.items()}
    if found["issuer"] is not None and "?" in found["issuer"]:
        raise PolicyError("issuer must have no query (RFC 8414 §2)")
    return Endpoints(**found)


def _url(name: str, url: object) -> str:
    text = str(url)
    if "@" in text:  # what stands before it may be a password, and is not quoted
        raise PolicyError(
            f'{name} must have no user information: write "https://login.example.com", no "@" in it'
        )
    require_fetchable(url, name=name, insecure_allow_http=False)
    if "#" in text:
        raise PolicyError(f"{name} must have no fragment (RFC 6749 §3.2, RFC 8414 §2); got {url!r}")
    return text


def authentication(
    client_id: object, secret: object, key: object, method: str | None
) -> ClientAuthentication:
    """
    How the client authenticates.

    Raises:
        PolicyError: They are not what they should be, or do not go together.
    """
    if not isinstance(client_id, str) or not client_id.isprintable() or not client_id:
        raise PolicyError(f'client_id must be a non-empty string such as "orders-batch"; got {client_id!r}')
    chosen = chosen_method(method, has_secret=secret is not None, has_key=key is not None)
    return ClientAuthentication(
        client_id,
        chosen,
        None if secret is None else _secret("client_secret", secret),
        None if key is None else _key(key),
        wall_clock=time.time,
    )


def _secret(name: str, value: object) -> str | Callable[[], object]:
    if callable(value):
        return _synchronous(name, value)
    return require_secret(name, value)


def _key(value: object) -> SigningKey | Callable[[], object]:
    return _synchronous("client_assertion_key", value) if callable(value) else read_private_jwk(value)


def _synchronous(name: str, function: Callable[..., object]) -> Callable[..., object]:
    if inspect.iscoroutinefunction(function):
        raise PolicyError(f"{name} must be a plain callable, not an async one: it is called in a thread")
    return function


def token_request(
    *,
    scopes: object,
    audience: object,
    resource: object,
    extra_params: object,
    subject_token: object,
    subject_token_type: object,
) -> TokenRequest:
    """
    What every token request says.

    Raises:
        PolicyError: An argument is not what it should be.
    """
    if audience is not None:
        _require_text("audience", audience)
    if subject_token_type is not None and subject_token is None:
        raise PolicyError("subject_token_type goes with subject_token")
    return TokenRequest(
        scopes=_scopes(scopes),
        audience=None if audience is None else str(audience),
        resources=_resources(resource),
        extra=_extra(extra_params),
        subject_token=None if subject_token is None else _secret("subject_token", subject_token),
        subject_token_type=_require_text(
            "subject_token_type", ACCESS_TOKEN_TYPE if subject_token_type is None else subject_token_type
        ),
    )


def _require_text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not value:
        raise PolicyError(f"{name} must be a non-empty string; got {value!r}")
    return value


def _scopes(values: object) -> tuple[str, ...]:
    found = names(values, what="scopes", example=SCOPES_EXAMPLE)
    for scope in found:
        if not SCOPE_CHARACTERS.issuperset(scope):
            raise PolicyError(
                f"{scope!r} is not one scope: no spaces, quotes or backslashes (RFC 6749 §3.3); "
                'write scopes=["orders:read", "orders:write"]'
            )
    return found


def _resources(value: object) -> tuple[str, ...]:
    several = (value,) if isinstance(value, str) else () if value is None else value
    found = names(several, what="resource", example='["https://api.example.com/orders"]')
    for one in found:
        # RFC 8707 §2: an absolute URI without a fragment.
        if "#" in one or ":" not in one or not one.isprintable():
            raise PolicyError(
                f"resource must be an absolute URI without a fragment (RFC 8707 §2); got {one!r}"
            )
    return found


def _extra(values: object) -> Mapping[str, str]:
    example = 'extra_params must map names to strings, such as {"tenant": "acme"}'
    if values is None:
        return {}
    if not is_object(values) or not is_strings([*values, *values.values()]) or "" in values:
        raise PolicyError(f"{example}; got {type(values).__name__}")  # its values may be secrets
    found = {name: str(value) for name, value in values.items()}
    for name, value in found.items():
        if not is_encodable(name + value):
            raise PolicyError(f"{example}; extra_params[{name!r}] has half of a surrogate pair")
    ours = sorted(OUR_PARAMETERS & set(values))
    if ours:
        raise PolicyError(f"extra_params must not name what the profile sends itself: {', '.join(ours)}")
    return found


def hooks(refresh_token: object, on_refresh_token: object, subject_token: object) -> None:
    """
    Refuse grants that exclude each other, and a callable that nobody would call.

    Raises:
        PolicyError: They do not go together.
    """
    if refresh_token is not None and subject_token is not None:
        raise PolicyError("give refresh_token or subject_token, not both: each is a grant of its own")
    if refresh_token is not None:
        _require_refresh_token(refresh_token)
    if on_refresh_token is None:
        return
    if refresh_token is None:
        raise PolicyError("on_refresh_token goes with refresh_token")
    if not callable(on_refresh_token):
        raise PolicyError("on_refresh_token must be callable, with the new refresh token as its one argument")
    _synchronous("on_refresh_token", on_refresh_token)


def _require_refresh_token(value: object) -> None:
    # Not a callable: the authorization server's next one replaces it.
    if not isinstance(value, str) or not value or not is_encodable(value):
        raise PolicyError(f"refresh_token must be a non-empty string; got {type(value).__name__}")


def seconds(value: object) -> float:
    """
    A timeout.

    Raises:
        PolicyError: Not a number of seconds, more than zero.
    """
    # bool is an int in Python, and a mistake here; NaN compares false with everything.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= MAX_TIMEOUT:
        raise PolicyError(
            f"timeout must be a number of seconds, more than zero, a day at most; got {value!r}"
        )
    return float(value)


def require_client(value: object) -> None:
    """
    Refuse what cannot be used from a thread, such as an `httpx.AsyncClient`.

    Raises:
        PolicyError: It is no `httpx.Client`.
    """
    if value is not None and not isinstance(value, httpx.Client):
        raise PolicyError(f"http_client must be an httpx.Client, not an asynchronous one; got {type(value)}")
