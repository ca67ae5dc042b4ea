"""Score a study: read the participants' files, drop who failed the attention checks, and sum up the choices."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from distok.errors import DistokError
from distok.evaluation.statistics import wilson
from distok.judge import preference
from distok.judge.findings import Findings
from distok.judge.preference import Vote
from distok.study.build import FORMAT, VERSION

VOTES = "picture-study-votes"
LONGEST = 1e12  # milliseconds of a choice, 30 years
THRESHOLD = 0.75
_CODE = re.compile(r"[A-Z0-9-]{1,24}")


@dataclass(frozen=True)
class Ballot:
    """One participant's file, checked against the key.

    Attributes:
        code: the participant's.
        votes: as in the file: trial, left, right, choice, ms.
        passed, checks: attention checks answered right, and all of them.
    """

    code: str
    votes: tuple[dict[str, Any], ...]
    passed: int
    checks: int

    def kept(self, threshold: float) -> bool:
        """Whether enough of the attention checks were passed; also where there were none."""
        return self.passed >= threshold * self.checks - 1e-9  # 0.7 of 10 is 7

    @property
    def seconds(self) -> float:
        """The median time for a choice."""
        return float(median(vote["ms"] for vote in self.votes)) / 1000


def score_study(
    key: str | Path, votes: Sequence[str | Path], threshold: float = THRESHOLD, skip_refused: bool = False, seed: int = 0
) -> Findings:
    """Read votes and sum them up.

    Args:
        key: the file written beside the page.
        votes: files of participants, or folders of them.
        threshold: least share of attention checks to pass, 0 to 1; who passes fewer is left out whole.
        skip_refused: leave out files that cannot be used, and say so, instead of refusing them.
        seed: of the bootstrap over participants.

    Raises:
        DistokError: no key, or a file that is not of this study, not complete, given twice, or not a votes file at all; or
            nobody is left.
    """
    if not 0 <= threshold <= 1:
        raise DistokError(f"the threshold is {threshold}, but a share from 0 to 1 is expected; correct it")
    opened = read_key(key)
    ballots, refused = _collect(opened, _files(votes), skip_refused)
    kept = [ballot for ballot in ballots if ballot.kept(threshold)]
    dropped = [ballot for ballot in ballots if not ballot.kept(threshold)]
    if not kept:
        raise DistokError(
            f"none of {len(ballots)} participants passed {threshold:.0%} of the attention checks; lower --threshold or ask others"
        )
    records = [record for ballot in kept for record in _records(opened, ballot)]
    cast = [Vote(r["method"], r["against"], {"method": 1, "tie": 0, "against": -1}[r["won"]], r["participant"]) for r in records]
    met = preference.pairs(cast, opened["methods"])
    seen = [method for method in opened["methods"] if any(method in (vote.first, vote.second) for vote in cast)]
    ranked = preference.strengths(cast, seen, seed)
    figures = {
        "study": opened["study"],
        "question": opened["question"],
        "participants": len(kept),
        "votes": len(cast),
        "threshold": threshold,
        "dropped": [{"participant": b.code, "passed": b.passed, "checks": b.checks} for b in dropped],
        "refused": refused,
        "pairs": met,
        "strengths": ranked,
        "left_side": _left(kept, opened),
        "kept": [{"participant": b.code, "passed": b.passed, "checks": b.checks, "median_seconds": b.seconds} for b in kept],
    }
    return Findings(figures, preference.tables(met, ranked, opened["question"], f"participants. {_note(figures)}"), records)


def read_key(path: str | Path) -> dict[str, Any]:
    """Read a study's key.

    Raises:
        DistokError: it is something else.
    """
    key = _object(Path(path), "give the .key.json that was written beside the page")
    wanted = {"study": str, "question": str, "ties": bool, "methods": list, "blocks": list, "trials": dict}
    if (
        key.get("format") != FORMAT
        or key.get("version") != VERSION
        or not all(isinstance(key.get(n), k) for n, k in wanted.items())
    ):
        raise DistokError(f"{path} is not the key of a study; give the .key.json that was written beside the page")
    if not _is_whole(key):
        raise DistokError(f"{path} is damaged, or was changed by hand; build the study again with the same settings")
    return key


def read_ballot(path: Path, key: dict[str, Any]) -> Ballot:
    """Read one participant's file.

    Raises:
        DistokError: it is damaged, of another study, or not complete.
    """
    said = _object(path, "give the files that participants saved")
    if said.get("format") != VOTES or said.get("version") != VERSION:
        raise DistokError(f"{path} is not a votes file; give the files that participants saved")
    if said.get("study") != key["study"]:
        raise DistokError(f"{path} is of another study ({str(said.get('study'))[:20]}, not {key['study']}); leave it out")
    code, block, votes = said.get("participant"), said.get("block"), said.get("votes")
    if not isinstance(code, str) or not _CODE.fullmatch(code) or not isinstance(votes, list):
        raise DistokError(f"{path} names no participant or holds no votes; ask for the file again")
    if isinstance(block, bool) or not isinstance(block, int) or not 0 <= block < len(key["blocks"]):
        raise DistokError(f"{path} is of a block that this study does not have; ask for the file again")
    wanted = set(key["blocks"][block])
    seen = [vote.get("trial") if isinstance(vote, dict) else None for vote in votes]
    if len(seen) < len(wanted) and all(isinstance(trial, str) and trial in wanted for trial in seen):
        raise DistokError(f"{path} is not complete ({len(seen)} of {len(wanted)} answers); let {code} finish, or leave it out")
    if len(seen) != len(wanted) or not all(isinstance(trial, str) for trial in seen) or set(seen) != wanted:
        raise DistokError(f"{path} answers other pairs than {code} was shown; ask for the file again")
    for vote in votes:
        _check_vote(vote, key, path)
    checks = [vote for vote in votes if key["trials"][vote["trial"]]["kind"] == "check"]
    passed = sum(_picked(vote) == key["trials"][vote["trial"]]["answer"] for vote in checks)
    return Ballot(code, tuple(votes), passed, len(checks))


def _is_whole(key: dict[str, Any]) -> bool:
    """Whether a key says of every pair in its blocks what scoring needs."""
    try:
        trials = [key["trials"][name] for block in key["blocks"] for name in block]
        votes = [trial for trial in trials if trial["kind"] == "vote"]
        whole = all(len(trial["pictures"]) == 2 and trial["case"] is not None for trial in trials)
        known = all(len(trial["methods"]) == 2 and set(trial["methods"]) <= set(key["methods"]) for trial in votes)
        checks = all(trial["answer"] in (*trial["pictures"], "tie") for trial in trials if trial["kind"] != "vote")
    except (KeyError, TypeError):
        return False
    return bool(votes) and whole and known and checks


def _check_vote(vote: dict[str, Any], key: dict[str, Any], path: Path) -> None:
    trial, ms = key["trials"][vote["trial"]], vote.get("ms")
    sides = [vote.get("left"), vote.get("right")]
    if sides != trial["pictures"] and sides != trial["pictures"][::-1]:
        raise DistokError(f"{path}: pair {vote['trial']} shows other pictures than the study's; ask for the file again")
    if vote.get("choice") not in (("left", "right", "tie") if key["ties"] else ("left", "right")):
        raise DistokError(f"{path}: pair {vote['trial']} has no choice that the study allows; ask for the file again")
    if isinstance(ms, bool) or not isinstance(ms, int | float) or not 0 <= ms <= LONGEST:
        raise DistokError(f"{path}: pair {vote['trial']} has no time; ask for the file again")


def _collect(key: dict[str, Any], files: Sequence[Path], skip: bool) -> tuple[list[Ballot], list[str]]:
    ballots: dict[str, tuple[Ballot, Path]] = {}
    refused = []
    for path in files:
        try:
            ballot = read_ballot(path, key)
            if ballot.code in ballots:
                raise DistokError(f"{path} is a second file of {ballot.code}, after {ballots[ballot.code][1]}; leave one out")
        except DistokError as error:
            if not skip:
                raise DistokError(f"{error} (or add --skip-refused)") from None
            refused.append(str(error))
            continue
        ballots[ballot.code] = ballot, path
    if not ballots:
        raise DistokError(f"none of the {len(files)} files can be used: {refused[0]}")
    return [ballot for ballot, _ in ballots.values()], refused


def _files(given: Sequence[str | Path]) -> list[Path]:
    files = [file for path in map(Path, given) for file in (sorted(path.glob("*.json")) if path.is_dir() else [path])]
    if not files:
        raise DistokError("there are no votes; give the files that participants saved, or the folder that holds them")
    return files


def _object(path: Path, remedy: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DistokError(f"{path} cannot be read ({error.strerror}); {remedy}") from None
    except (ValueError, RecursionError):
        raise DistokError(f"{path} is not JSON; {remedy}") from None
    if not isinstance(value, dict):
        raise DistokError(f"{path} holds {type(value).__name__}, not a JSON object; {remedy}")
    return value


def _picked(vote: dict[str, Any]) -> str:
    return "tie" if vote["choice"] == "tie" else str(vote[vote["choice"]])


def _records(key: dict[str, Any], ballot: Ballot) -> list[dict[str, Any]]:
    """One row a vote, attention checks aside."""
    rows = []
    for number, vote in enumerate(ballot.votes, 1):
        trial = key["trials"][vote["trial"]]
        if trial["kind"] != "vote":
            continue
        picked = _picked(vote)
        won = "tie" if picked == "tie" else ("method", "against")[trial["pictures"].index(picked)]
        rows.append(
            {"participant": ballot.code, "number": number, "case": trial["case"], "method": trial["methods"][0],
             "against": trial["methods"][1], "won": won, "choice": vote["choice"], "ms": vote["ms"]}
        )  # fmt: skip
    return rows


def _left(ballots: Sequence[Ballot], key: dict[str, Any]) -> dict[str, Any]:
    """How often the left picture was chosen, of decided votes: far from a half means that people did not look."""
    choices = [vote["choice"] for ballot in ballots for vote in ballot.votes if key["trials"][vote["trial"]]["kind"] == "vote"]
    left, decided = choices.count("left"), len(choices) - choices.count("tie")
    low, high = wilson(left, decided)
    return {"share": left / decided if decided else None, "low": low, "high": high}


def _note(figures: dict[str, Any]) -> str:
    text = f"{figures['votes']} votes of {figures['participants']} participants; {len(figures['dropped'])} dropped"
    text += f" (fewer than {figures['threshold']:.0%} of their attention checks)"
    if figures["refused"]:
        text += f"; {len(figures['refused'])} files refused"
    side = figures["left_side"]
    return text + (
        "." if side["share"] is None else f". Left chosen: {side['share']:.0%} [{side['low']:.0%}, {side['high']:.0%}]."
    )
