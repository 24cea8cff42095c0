"""``python -m benchmarks [NAME ...] [--quick] [--json FILE]``: measure, and say what it means."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import report
from benchmarks.harness import Plan
from benchmarks.rows import NAMES, QUICK, Row, row
from benchmarks.verdict import Answer, Finding

__all__: list[str] = []

_HERE = Path(__file__).parent


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="only guard against regressions")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="multiply all sizes, to try something out"
    )
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(NAMES):
        parser.error(f"no row {', '.join(sorted(unknown))}: there are {', '.join(NAMES)}")
    return asked


async def _measure(name: str, plan: Plan) -> tuple[Row, Answer]:
    one = row(name)
    try:
        return one, await one.measure(plan)
    except Exception as error:  # noqa: BLE001  # the other rows go on, and this one is told
        traceback.print_exc()
        missing = f"{type(error).__name__}: {error}"
        return one, Answer(findings=[Finding(one.TITLE, missing=missing)])


async def _main() -> int:
    asked = _arguments()
    plan = Plan(quick=asked.quick, scale=asked.scale)
    names = asked.names or (QUICK if asked.quick else NAMES)
    began = time.monotonic()
    date = datetime.now(UTC).date().isoformat()
    answers: dict[str, tuple[Row, Answer]] = {}
    for name in names:
        answers[name] = await _measure(name, plan)
        print(f"\n{row(name).TITLE}", *report.table(answers[name][1]), sep="\n", flush=True)
    minutes = (time.monotonic() - began) / 60
    if asked.json is not None:
        text = json.dumps(report.as_json(answers, date=date), indent=1)
        asked.json.write_text(text + "\n", encoding="utf-8")
    if asked.quick:
        return _guard(answers)
    if not asked.names:
        _write(answers, date, minutes)
    return int(any(not one.values for _, answer in answers.values() for one in answer.findings))


def _guard(answers: dict[str, tuple[Row, Answer]]) -> int:
    alarms = [one.alarm for _, answer in answers.values() for one in answer.findings]
    # A row that broke has no guarded finding to complain.
    alarms += [
        f"{one.text}: {one.missing}"
        for _, answer in answers.values()
        for one in answer.findings
        if not one.guarded and not one.values
    ]
    told = [alarm for alarm in alarms if alarm is not None]
    for alarm in told:
        print(f"*** SLOWER THAN IT WAS: {alarm} ***", file=sys.stderr)
    return int(bool(told))


def _write(answers: dict[str, tuple[Row, Answer]], date: str, minutes: float) -> None:
    from benchmarks.pictures import draw

    for name, (one, answer) in answers.items():
        draw(answer, one.TITLE, _HERE / "pictures" / f"{name}.png")
    text = report.page(answers, date=date, minutes=minutes)
    (_HERE / "results.md").write_text(text, encoding="utf-8")
    print(f"\nwritten: {_HERE / 'results.md'}")


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
