"""
The surface of ``guardrail.issuer``.
"""

import guardrail.issuer


def test_exported_names_are_sorted_and_exist() -> None:
    """``__all__`` is sorted and names only what the module has."""
    exported = guardrail.issuer.__all__

    assert exported == sorted(exported)
    assert all(hasattr(guardrail.issuer, name) for name in exported)


def test_exported_names_are_all_public_names() -> None:
    """Nothing public of the module is missing from ``__all__``."""
    public = {name for name in vars(guardrail.issuer) if not name.startswith("_")}

    assert public == set(guardrail.issuer.__all__)
