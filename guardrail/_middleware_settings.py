"""
The settings of `guardrail.GuardrailMiddleware` as types, for what passes them on.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Literal, TypedDict

from ._asgi import AnyASGIApp
from ._refusal import Refusal, RefusalBody
from .directory import OperatorDirectory
from .events import Listener

if TYPE_CHECKING:
    import httpx

__all__ = ["GuardSettings", "MiddlewareSettings"]


class GuardSettings(TypedDict, total=False):
    """
    The settings of `guardrail.GuardrailMiddleware` that fit any application.
    """

    public_paths: Iterable[str]
    on_event: Iterable[Listener]
    http_client: "httpx.AsyncClient | None"
    not_found: AnyASGIApp | None
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    directory: OperatorDirectory | None
    token_cache_size: int
    enforce: bool
    refusal_body: Callable[[Refusal], RefusalBody] | None
    stream_expiry: Literal["allow", "cut"]


class MiddlewareSettings(GuardSettings, total=False):
    """
    All settings of `guardrail.GuardrailMiddleware`.
    """

    prefixes: Mapping[str, object] | None
    resource_metadata: bool
    websocket_expiry: Literal["close", "allow"]
    websocket_token_protocol: str | None
