"""
A small OAuth 2.0 authorization server for development and tests, as an ASGI application.

It is real (real keys, real signatures, real refusals) and it is **not for production**: nobody has to
prove who they are on its consent page, and its keys, codes and refresh tokens are gone when it stops.
"""

from ._app import EmbeddedIssuer
from ._clients import Client, new_secret
from ._faults import Fault, Faults
from ._keys import SigningKeys
from ._registrations import load_clients

__all__ = ["Client", "EmbeddedIssuer", "Fault", "Faults", "SigningKeys", "load_clients", "new_secret"]
