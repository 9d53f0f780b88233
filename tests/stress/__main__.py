"""`nox -s stress`: attack the program with hostile files, kills and faults, count what breaks, and keep what broke it."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path

from bench.core.machine import this_machine
from bench.core.version import this_version
from tests.stress import coverage, page, timing, until
from tests.stress.attack import Count, Each, chosen, generator, indices, names, subject

#: What is no attack: simulations, with the texts a row that each makes, and a measurement, with its passes a row.
SIMULATIONS = {"coverage": 1000, "until": 500, "timing": 24}


def main() -> int:
    about = "\n".join(f"  {name:<12} {subject(name).ABOUT}" for name in names())
    parser = argparse.ArgumentParser(
        "nox -s stress --",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"subjects:\n{about}\n  coverage     how often intervals hold, and verdicts of a table together (alone, with --tries)\n  until        how often the interval holds at which a run stops by --until (alone, with --tries)\n  timing       how often intervals of time ratios hold on this machine (alone, with --tries for its passes)",
    )
    parser.add_argument("subjects", nargs="*", metavar="SUBJECT", help="what to attack (default: all)")
    parser.add_argument("--without", nargs="+", default=[], metavar="SUBJECT", help="what not to attack")
    parser.add_argument("--minutes", type=float, help="share this time evenly (default: until every goal is met)")
    parser.add_argument("--tries", type=int, help="so many of each subject (default: its goal)")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers (default: 1)")
    parser.add_argument(
        "--first",
        type=int,
        default=0,
        help="number of the first try: to repeat one (with --tries 1), or to go on with --publish",
    )
    parser.add_argument("--keep", type=Path, help="folder for what broke the program (default: a new one)")
    parser.add_argument("--publish", action="store_true", help="put the counts into results/stress and docs/stress.md")
    given = parser.parse_args()
    if len(given.subjects) == 1 and given.subjects[0] in SIMULATIONS:
        return simulate(given.subjects[0], given.tries, given.seed, publish=given.publish)
    wanted = chosen(given.subjects, given.without)
    keep = (given.keep or Path(tempfile.gettempdir()) / f"stress-{datetime.now(UTC):%Y%m%dT%H%M%S}").absolute()
    counts = {}
    for done, name in enumerate(wanted):
        seconds = given.minutes * 60 / len(wanted) if given.minutes else None
        counts[name] = attack(name, seconds, given.tries, given.seed, given.first, keep)
        print(f"{done + 1}/{len(wanted)} {name}: {told(counts[name], subject(name).UNIT)}", flush=True)
        if given.publish:
            publish(name, counts[name], given.seed, given.first)
    broken = sum(count.faults.total() for count in counts.values())
    if broken:
        print(f"{broken} faults; what led to them is in {keep}")
    return int(broken > 0)


def attack(name: str, seconds: float | None, tries: int | None, seed: int, first: int, keep: Path) -> Count:
    """Try until the time or the number of tries is up. What led to a fault is kept."""
    module, count = subject(name), Count()
    goal = tries if tries is not None else None if seconds else module.GOAL
    began = said = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f"stress-{name}-") as folder:
        shared, scratch = Path(folder, "shared"), Path(folder, "try")
        shared.mkdir()
        attacks = module.prepare(shared)
        each = attacks.in_order_of(seed, name) if isinstance(attacks, Each) else None
        for index in indices(first, goal if each is None else min(goal or len(each), len(each) - first)):
            scratch.mkdir()
            one = attacks if each is None else each[index]
            tried = one(generator(seed, name, index), scratch)
            count.add(tried)
            if tried.all_faults:
                kept = keep / f"{name}-{seed}-{index}"
                shutil.copytree(scratch, kept, dirs_exist_ok=True, symlinks=True)
                text = "\n\n".join(f"{f.kind}\n{f.detail}" for f in tried.all_faults)
                (kept / "FAULTS.txt").write_text(text, encoding="utf-8")
                print(f"  {name} {index}: {', '.join(sorted({f.kind for f in tried.all_faults}))}", flush=True)
            shutil.rmtree(scratch, ignore_errors=True)
            count.seconds = time.monotonic() - began
            if seconds and count.seconds > seconds:
                break
            if time.monotonic() - said > 30:
                said = time.monotonic()
                print(f"  {name}: {told(count, module.UNIT)}", file=sys.stderr, flush=True)
    return count


def told(count: Count, unit: str) -> str:
    faults = ", ".join(f"{n} {kind}" for kind, n in count.faults.most_common()) or "no fault"
    return f"{count.tries} {unit}, {count.commands} commands ({count.worked} worked, {count.told} told what is wrong), {faults}; {count.seconds:.0f} s"


def simulate(name: str, tries: int | None, seed: int, *, publish: bool) -> int:
    """How often intervals hold, and verdicts together: coverage.py, until.py, timing.py."""
    tries = tries or SIMULATIONS[name]
    if name == "coverage":
        found = coverage.measure(tries, seed) | _when(seed)
        print(f"{page.coverage(found)}\n\n{page.families(found)}")
    elif name == "until":
        found = until.measure(tries, seed) | _when(seed)
        print(page.until(found))
    else:
        found = timing.measure(tries, seed) | _when(seed)
        print(page.timing(found))
    if publish:
        page.write({"coverage": page.COVERAGE, "until": page.UNTIL, "timing": page.TIMING}[name], found)
        page.update()
    return 0


def _when(seed: int) -> dict[str, object]:
    return {
        "seed": seed,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "version": this_version().version,
        "cpu": this_machine().cpu,
    }


def publish(name: str, count: Count, seed: int, first: int) -> None:
    """Put a subject's counts beside those of the others, and into the page. first: the tries go on where published ones ended, and
    are counted with them."""
    found = page.read(page.ATTACKS)
    before = found.get(name)
    if first and before and (before["seed"], before["tries"]) == (seed, first):
        count += Count(**{f.name: before[f.name] for f in fields(Count)} | {"faults": Counter(before["faults"])})
    found[name] = vars(count) | {"seconds": round(count.seconds)} | _when(seed)
    page.write(page.ATTACKS, dict(sorted(found.items())))
    page.update()


if __name__ == "__main__":
    raise SystemExit(main())
