"""Prints the lowest version of every package that pyproject.toml names, as pip constraints.

Run as ``python tests/floors.py [NAME ...]``; packages named there are left out. Read from pyproject.toml each time, so that
there is no second list to keep.
"""

import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
FLOOR = re.compile(r"(?P<name>[\w.-]+)(\[[^\]]*\])?\s*>=\s*(?P<version>\d[\w.]*)")


def floors(pyproject: Path = PYPROJECT, leave_out: tuple[str, ...] = ()) -> list[str]:
    """One ``name==version`` a requirement, the extras' included; SystemExit with one line where a requirement has no floor."""
    project = tomllib.loads(pyproject.read_text())["project"]
    extras = project.get("optional-dependencies", {}).values()
    pins = {}
    for requirement in [*project["dependencies"], *(each for extra in extras for each in extra)]:
        if requirement.startswith(f"{project['name']}["):
            continue  # an extra made of the others
        found = FLOOR.match(requirement)
        if not found:
            raise SystemExit(f"{pyproject.name}: {requirement!r} has no floor; write it as 'name>=version'")
        pins[found["name"]] = found["version"]
    unknown = sorted(set(leave_out) - set(pins))
    if unknown:
        raise SystemExit(f"{pyproject.name} does not name {', '.join(unknown)}; it names {', '.join(pins)}")
    return [f"{name}=={version}" for name, version in pins.items() if name not in leave_out]


if __name__ == "__main__":
    print("\n".join(floors(leave_out=tuple(sys.argv[1:]))))
