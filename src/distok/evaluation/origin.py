"""Where a suite's figures come from: what was asked, of which commit, with which libraries; and whether they are here already."""

import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from distok.evaluation.report import Table

LIBRARIES = ("torch", "diffusers", "transformers", "numpy")
EXTRAS = ("peft", "skia-python", "matplotlib")  # whether they are here decides who takes part


@dataclass(frozen=True)
class Origin:
    """Stored beside a suite's figures.

    Attributes:
        suite: its name.
        asked: every argument that decides its figures.
        command: what a person typed, if anything.
        commit: of the code, with ``+`` where files were changed since; empty outside a checkout.
        versions: of this package and the libraries below it.
        code: a hash of the package's files where no commit is known.
    """

    suite: str
    asked: Mapping[str, Any]
    command: str
    commit: str
    versions: Mapping[str, str]
    code: str = ""

    @classmethod
    def of(cls, suite: str, asked: Mapping[str, Any], command: str = "") -> "Origin":
        """For this installation."""
        found = {"python": platform.python_version(), "machine": platform.machine()}
        for name in ("distok", *LIBRARIES, *EXTRAS):
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                found[name] = "not installed"
        known = commit()
        return cls(suite, json.loads(json.dumps(dict(asked), default=str)), command, known, found, "" if known else code())

    @property
    def fingerprint(self) -> str:
        """The same for figures that would come out the same; what a person typed is no part of it."""
        text = json.dumps([self.suite, self.asked, self.commit or self.code, self.versions], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def record(self) -> dict[str, Any]:
        """As stored."""
        return {
            "suite": self.suite, "command": self.command, "commit": self.commit, "versions": dict(self.versions),
            "asked": dict(self.asked), "fingerprint": self.fingerprint,
        }  # fmt: skip

    def told(self) -> str:
        """The same in a line for people."""
        made = self.command or f"distok.evaluation.run({self.suite!r})"
        libraries = ", ".join(f"{name} {number}" for name, number in self.versions.items() if name not in EXTRAS)
        seeds, cases = self.asked.get("seeds"), self.asked.get("cases") or "as the suite has them"
        return f"Made by: {made}; commit {self.commit or 'unknown'}; seeds {seeds}, cases {cases}; {libraries}."

    def held(self, out: Path) -> tuple[Table, ...] | None:
        """The tables of this very suite where ``out`` holds them.

        Never of code that was changed since its commit, nor of a suite that could not be had.
        """
        if self.commit.endswith("+"):
            return None
        try:
            stored = json.loads((out / f"{self.suite}.json").read_text(encoding="utf-8"))
            if stored["origin"]["fingerprint"] != self.fingerprint or self.suite in stored.get("absent", {}):
                return None
            if not all((out / name).is_file() for name in stored["origin"]["files"]):
                return None
            return tuple(
                Table(each["title"], tuple(each["columns"]), tuple(map(tuple, each["rows"])), each["note"])
                for each in stored["tables"]
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not here, not whole, or of an older layout: it is run


def code() -> str:
    """A hash of the package's own files."""
    folder, state = Path(__file__).resolve().parents[1], hashlib.blake2b(digest_size=8)
    for path in sorted(folder.rglob("*.py")):
        state.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return state.hexdigest()


def commit() -> str:
    """The commit of this package's checkout, ``+`` added where its code differs from it; empty where there is none."""
    folder = Path(__file__).resolve().parents[1]

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=False, timeout=20)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        # Only where the checkout is ours: an installed copy may lie inside somebody else's repository.
        if not git("ls-files", "--error-unmatch", "errors.py"):
            return ""
        return git("rev-parse", "--short=10", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.TimeoutExpired):
        return ""
