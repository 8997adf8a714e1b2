"""
The command itself: its commands, its help, its exit status.
"""

import runpy
import subprocess
import sys
from importlib.metadata import entry_points
from typing import NoReturn

import pytest

import guardrail
from guardrail.cli import main

from .commands import CHECKOUT
from .conftest import Run

COMMANDS = ("demo", "issuer", "token", "routes")


def test_version_is_the_packages(run: Run) -> None:
    """
    ``--version`` prints the version of the package, and ends well.
    """
    ran = run("--version")

    assert (ran.status, ran.out, ran.err) == (0, f"guardrail {guardrail.__version__}\n", "")


def test_without_a_command_the_help_says_what_there_is(run: Run) -> None:
    """
    ``guardrail`` alone is wrong usage, and is answered with every command and where to start.
    """
    ran = run()

    assert (ran.status, ran.out) == (2, "")
    assert all(f"    {command} " in ran.err for command in COMMANDS)
    assert "guardrail demo" in ran.err


def test_an_unknown_command_is_refused_with_the_known_ones(run: Run) -> None:
    """
    A misspelt command is wrong usage.
    """
    ran = run("rotes")

    assert ran.status == 2
    assert all(command in ran.err for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(run: Run, command: str) -> None:
    """
    ``--help`` says in a sentence what a command does, and ends well.
    """
    ran = run(command, "--help")

    assert (ran.status, ran.err) == (0, "")
    assert ran.out.startswith(f"usage: guardrail {command} ")
    assert ran.out.split("\n\n")[1].rstrip(".\n")


@pytest.mark.parametrize("arguments", [("demo", "--serv"), ("issuer", "--por", "1"), ("--vers",)])
def test_options_are_not_abbreviated(run: Run, arguments: tuple[str, ...]) -> None:
    """
    A shortened option is refused: the next release could give it another meaning.
    """
    ran = run(*arguments)

    assert ran.status == 2
    assert arguments[-1] in ran.err or arguments[-2] in ran.err


def test_ctrl_c_is_not_success(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A command that was interrupted before it did its work says so by its status, without a traceback.
    """

    class Terminal:
        def read(self) -> NoReturn:
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Terminal())

    ran = run("token", "--client-secret-file", "-")

    assert (ran.status, ran.out, ran.err) == (130, "", "")


def test_the_console_script_is_this_command() -> None:
    """
    The installed ``guardrail`` runs `guardrail.cli.main`.
    """
    scripts = entry_points(group="console_scripts")

    assert scripts["guardrail"].load() is main


def test_the_package_runs_as_a_module() -> None:
    """
    ``python -m guardrail.cli`` is the same command.
    """
    command = [sys.executable, "-m", "guardrail.cli", "--version"]

    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, f"guardrail {guardrail.__version__}\n", "")


def test_the_modules_status_is_the_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The process ends with the status that the command returned.
    """
    monkeypatch.setattr(sys, "argv", ["guardrail", "routes", "nowhere"])

    with pytest.raises(SystemExit) as ended:
        runpy.run_module("guardrail.cli", run_name="__main__")

    assert ended.value.code == 2
    assert "guardrail routes:" in capsys.readouterr().err
