"""
What must not outlive ``os.fork`` in a child: locks another thread may have held, tasks of the parent's loop.
"""

import os
import weakref
from typing import Final, Protocol

__all__ = ["renew_after_fork"]


class Renewable(Protocol):
    """
    Something that can start over in a forked child.
    """

    def renew(self) -> None:
        """
        Let go of what belongs to the parent's threads and event loops.
        """
        ...


_renewables: Final[weakref.WeakSet[Renewable]] = weakref.WeakSet()


def renew_after_fork(renewable: Renewable) -> None:
    """
    Have *renewable* renewed in every child forked from here on, for as long as it lives.
    """
    _renewables.add(renewable)


def _renew_all() -> None:
    for renewable in list(_renewables):
        renewable.renew()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_renew_all)
