"""
A PostgreSQL server of our own, thrown away afterwards, from what the system has installed.
"""

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

UNPRIVILEGED = "postgres"  # who runs it where we are root, whom it refuses


def find_binaries() -> Path | None:
    """
    Where the newest installed version has its programs, as Debian lays them out.
    """
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(found, key=lambda path: float(path.parent.name), default=None)


class Cluster:
    """
    A server on a free loopback port.
    """

    def __init__(self, binaries: Path, directory: Path) -> None:
        self._binaries = binaries
        self._directory = directory
        self._password = secrets.token_urlsafe(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self.url = f"postgresql+asyncpg://guardrail:{self._password}@127.0.0.1:{self._port}/postgres"

    def create(self) -> None:
        """
        Make its files.
        """
        file = self._directory / "password"
        file.write_text(self._password)
        if os.geteuid() == 0:
            user = pwd.getpwnam(UNPRIVILEGED)
            for path in (self._directory, file):
                os.chown(path, user.pw_uid, user.pw_gid)
        self._run("initdb", "--username=guardrail", f"--pwfile={file}", "--auth=scram-sha-256", "--no-sync")

    def start(self) -> None:
        """
        Start it, and wait until it answers.
        """
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -c fsync=off -k {self._directory}"
        self._run("pg_ctl", "start", "--wait", f"--log={self._directory / 'log'}", f"--options={options}")

    def stop(self) -> None:
        """
        Stop it at once, as a machine that fails does.
        """
        self._run("pg_ctl", "stop", "--wait", "--mode=immediate")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), f"--pgdata={self._directory / 'files'}", *arguments]
        somebody: dict[str, Any] = {"user": UNPRIVILEGED, "group": UNPRIVILEGED, "extra_groups": []}
        whose = somebody if os.geteuid() == 0 else {}
        subprocess.run(
            command, stdout=subprocess.DEVNULL, check=True, timeout=60, cwd=self._directory, **whose
        )


@contextmanager
def run_cluster(binaries: Path) -> Iterator[Cluster]:
    """
    A running server, of which nothing is left.
    """
    directory = Path(tempfile.mkdtemp(prefix="guardrail-postgres-"))  # a test's own is for its user alone
    cluster = Cluster(binaries, directory)
    try:
        cluster.create()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(directory)
