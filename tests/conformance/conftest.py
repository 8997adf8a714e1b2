"""
Let failed assertions of the shared modules speak as those of the tests do.
"""

import pytest

pytest.register_assert_rewrite("conformance.api", "conformance.challenges")
