"""
Commands as processes, and what came of a command.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

CHECKOUT: Final = Path(__file__).parents[2]
AUDIENCE: Final = "https://api.example.com/orders"
SECRET: Final = "it's a: secret/with+every%kind&of=character"
PATIENCE: Final = 20.0  # seconds, for a process to say something or to end


@dataclass(frozen=True, slots=True)
class Ran:
    """
    How a command ended, and what it printed.
    """

    status: object
    out: str
    err: str

    @property
    def only_line(self) -> str:
        """
        The one line on standard error, where there must be one and nothing on standard output.
        """
        assert self.out == ""
        assert self.err.endswith("\n")
        assert self.err.count("\n") == 1, self.err
        return self.err.rstrip("\n")


class Process:
    """
    A command in a process of its own, whose standard output is a pipe.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def text(self) -> str:
        """
        What has been read so far.
        """
        return "\n".join(self.lines)

    def read_until(self, start: str) -> str:
        """
        Read lines until one starts with *start*, and return that one.
        """
        while True:
            line = self._queue.get(timeout=PATIENCE)
            assert line is not None, f"the process ended before it said {start!r}:\n{self.text}"
            self.lines.append(line)
            if line.startswith(start):
                return line

    def interrupt(self) -> Ran:
        """
        Press Ctrl-C, and wait for the end.
        """
        self.process.send_signal(signal.SIGINT)
        return self.ended()

    def ended(self) -> Ran:
        """
        Wait for the end.
        """
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        while (line := self._queue.get(timeout=PATIENCE)) is not None:
            self.lines.append(line)
        assert self.process.stderr is not None
        return Ran(status, self.text, self.process.stderr.read())

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(line.rstrip("\n"))
        self._queue.put(None)


@contextmanager
def started(*arguments: str) -> Iterator[Process]:
    """
    A running ``guardrail`` command, its output buffered as in a pipe; killed when the context ends.
    """
    command = [sys.executable, "-m", "guardrail.cli", *arguments]
    with subprocess.Popen(
        command,
        cwd=CHECKOUT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Process(process)
        finally:
            process.kill()


def claims_of(token: str) -> dict[str, Any]:
    """
    The claims set of a token, not verified.
    """
    return part_of(token, 1)


def part_of(token: str, index: int) -> dict[str, Any]:
    """
    The header (0) or the claims set (1) of a token, not verified.
    """
    part = token.split(".")[index]
    decoded: dict[str, Any] = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return decoded
