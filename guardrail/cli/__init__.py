"""
The ``guardrail`` command.

Exit status: 0 as wanted, 1 not as wanted, 2 wrong usage or something missing, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Final

from .. import __version__
from . import demo, explain, issuer, routes, token
from ._errors import UsageError

__all__ = ["main"]

INTERRUPTED: Final = 130  # 128 and the number of SIGINT, as shells have it
_COMMANDS: Final = (demo, issuer, token, explain, routes)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run one command and return its exit status.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        status: int = options.run(options)
    except UsageError as exc:
        print(f"guardrail {options.command}: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # those who serve until interrupted catch it themselves
        return INTERRUPTED
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="guardrail",
        description="OAuth 2.0 resource-server middleware for ASGI.",
        epilog='Start with "guardrail demo"; "guardrail COMMAND --help" has the options.',
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"guardrail {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser
