"""
Testing support: an issuer in this process, an operator out of thin air, a check that a whole app is guarded.

Its pytest fixtures load by an entry point; ``-p no:guardrail`` leaves them out.
"""

from ._assume import as_operator
from ._fake_issuer import FakeIssuer
from ._guarded import assert_guarded

__all__ = ["FakeIssuer", "as_operator", "assert_guarded"]
