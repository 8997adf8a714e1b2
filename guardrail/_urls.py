"""
URLs that users write: of issuers, keys and resources.
"""

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

from .errors import PolicyError

__all__ = ["first_segment", "is_loopback", "require_fetchable", "require_resource"]

_URL: Final = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")  # RFC 3986 §2, and nothing of a template


def first_segment(url: str) -> str:
    """
    The first segment of a URL's path, as it is written; "" if it has none.
    """
    path = urlsplit(url).path
    return path.split("/")[1] if path.startswith("/") else ""


def require_fetchable(url: object, *, name: str, insecure_allow_http: bool) -> None:
    """
    Refuse a URL that we would not fetch keys from.

    Raises:
        PolicyError: Not an absolute ``https`` URL without user information, or a plain ``http`` one whose
            host is not loopback.
    """
    example = f'{name} must be an https URL such as "https://login.example.com"'
    if not isinstance(url, str) or not _URL.fullmatch(url):
        raise PolicyError(f"{example}; got {url!r}")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as exc:
        raise PolicyError(f"{example}; got {url!r}") from exc
    if parts.scheme not in {"https", "http"} or not host or set(parts.netloc) & {"@", "*"}:
        raise PolicyError(f"{example}; got {url!r}")
    if parts.scheme == "http" and not insecure_allow_http and not is_loopback(host):
        exceptions = "plain http is for loopback hosts, or with insecure_allow_http=True"
        raise PolicyError(f"{example}; {exceptions}; got {url!r}")


def require_resource(url: object) -> None:
    """
    Refuse what is not a resource identifier on the web (RFC 9728 §1.2, RFC 8707 §2).

    Raises:
        PolicyError: Not an absolute ``https`` URL without a fragment; loopback hosts may have ``http``.
    """
    require_fetchable(url, name="resource", insecure_allow_http=False)
    if "#" in str(url):
        raise PolicyError(f"a resource has no fragment (RFC 9728 §1.2); got {url!r}")


def is_loopback(host: str) -> bool:
    """
    Whether *host* names this machine: ``localhost``, 127.0.0.0/8 or ::1.
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
