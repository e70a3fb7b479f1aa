"""The programs and jars the stack is made of: found, fetched once, or named in a clear error."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
POM = HERE / "pom.xml"

# Kafka 4 and Debezium 3 are compiled for Java 17.
OLDEST_JAVA = 17
# 92 jars took 10 to 25 s; a slow network must not be taken for a hang.
FETCH_SECONDS = 900


class StackError(Exception):
    """The real stack cannot be started, reached or stopped; the text says what to do next."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Where each part lies on this machine."""

    java: str
    postgres_bin: Path
    jars: Path


def find_parts() -> Parts:
    """Every part of the stack, the jars fetched if this machine has none yet.

    Raises:
        StackError: Something is missing; all of it is named at once, with its Debian package.
    """
    java, postgres_bin, home = find_java(), _postgres_bin(), _jars_home(POM)
    absent: list[str] = []
    if not Path("/proc/self/stat").exists():
        absent.append("Linux (processes are known by /proc)")
    if java is None:
        absent.append(f"java {OLDEST_JAVA} or newer (package default-jre-headless)")
    if postgres_bin is None:
        absent.append("the postgres server and pgbench (package postgresql)")
    if not home.is_dir() and shutil.which("mvn") is None:
        absent.append("mvn (package maven)")
    if absent or java is None or postgres_bin is None:
        raise StackError(
            f"The real stack lacks {', '.join(absent)}.\n"
            "  Hint: apt-get install default-jre-headless maven postgresql"
        )
    if not home.is_dir():
        _fetch_jars(POM, home)
    return Parts(java, postgres_bin, home)


def find_java() -> str | None:
    """A Java that is new enough, or None."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin") if home else None
    java = java or shutil.which("java")
    if java is None:
        return None
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    return java if version and int(version[1]) >= OLDEST_JAVA else None


def _postgres_bin() -> Path | None:
    """The folder of the server's programs, which Debian keeps off the PATH; the newest wins."""
    on_path = shutil.which("postgres")
    candidates = [Path(on_path).resolve().parent] if on_path else []
    installed = Path("/usr/lib/postgresql").glob("*/bin")
    candidates += sorted(installed, key=lambda bin_: float(bin_.parent.name), reverse=True)
    needed = ("initdb", "postgres", "pgbench")
    return next((c for c in candidates if all((c / p).exists() for p in needed)), None)


def cache_root() -> Path:
    """Where what is fetched once a machine lies, outside the repository."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medallion-stack"
    return Path(os.environ.get("MEDALLION_STACK_CACHE") or default)


def fetched(pom: Path) -> Path:
    """The folder of a pom's jars, fetched if this machine has none yet.

    Raises:
        StackError: when they are not there and cannot be had.
    """
    home = _jars_home(pom)
    if not home.is_dir():
        if shutil.which("mvn") is None:
            raise StackError(f"The jars of {pom} need mvn (package maven).")
        _fetch_jars(pom, home)
    return home


def _jars_home(pom: Path) -> Path:
    """Named by the pom, so another pom is another folder."""
    return cache_root() / hashlib.sha256(pom.read_bytes()).hexdigest()[:12]


def _fetch_jars(pom: Path, home: Path) -> None:
    """Fills a folder beside `home` and renames it, so that a broken fetch is never taken for whole."""
    home.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{home.name}.", dir=home.parent))
    goal = ["process-resources", f"-Dstack.home={partial}"]
    try:
        run = subprocess.run(
            ["mvn", "-B", "-ntp", "-q", "-f", str(pom), *goal],
            capture_output=True,
            text=True,
            check=False,
            timeout=FETCH_SECONDS,
            stdin=subprocess.DEVNULL,
        )
        if run.returncode != 0:
            raise StackError(
                f"Maven could not fetch the jars of {pom}:\n{run.stdout[-2000:]}{run.stderr[-2000:]}\n"
                "  Hint: check the network and Maven's settings.xml, then start again."
            )
        partial.chmod(0o755)
        if not home.is_dir():
            partial.rename(home)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
