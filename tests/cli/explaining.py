"""
``guardrail explain`` on a token in a file, offline.
"""

import json
from pathlib import Path

import pytest

from guardrail.cli import main
from guardrail.testing import FakeIssuer


class Explain:
    """
    Runs the command on a token in a file, offline.
    """

    def __init__(self, fake: FakeIssuer, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.jwks = directory / "jwks.json"
        self.jwks.write_text(json.dumps(fake.keys.jwks()))
        self.token = directory / "token"
        self.capsys = capsys
        self.options = [f"--issuer={fake.url}", f"--audience={fake.audience}", f"--jwks={self.jwks}"]

    def __call__(self, token: str, *options: str) -> tuple[int, str, str]:
        """
        Exit status, standard output, standard error.
        """
        self.token.write_text(token + "\n")
        status = main(["explain", str(self.token), *self.options, *options])
        captured = self.capsys.readouterr()
        return status, captured.out, captured.err
