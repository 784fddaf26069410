"""Puts results into docs/benchmarks.md, between <!-- bench: NAME --> and <!-- end -->."""

import re

from .context import REPO
from .measure import BenchError
from .table import markdown

PAGE = REPO / "docs" / "benchmarks.md"


def lines_below(result):
    """What stands below a table: promises kept or not, what failed, and what was not at hand."""
    found = [f"- {'kept' if p['kept'] else '**not kept**'}: {p['promise']}: {p['measured']}" for p in result["promises"]]
    found += [f"- failed: {f['subject']}: {f['reason']}" for f in result.get("failed", [])]
    return found + [f"- not measured: {s['subject']} ({s['reason']})" for s in result["skipped"]]


def place(name, text):
    """Put text where the page says so."""
    page = PAGE.read_text()
    block = re.compile(rf"(<!-- bench: {name} -->\n).*?(<!-- end -->)", re.S)
    if not block.search(page):
        raise BenchError(f"{PAGE}: there is no place marked <!-- bench: {name} -->")
    PAGE.write_text(block.sub(lambda m: m[1] + text.rstrip() + "\n" + m[2], page))


def machine_text(machine):
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    return (f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_mb'] / 1024:.0f} GB; Linux "
            f"{machine['kernel']}, {machine['system']}; {machine['compiler']}, RelWithDebInfo; {libraries}; "
            f"{machine['date'][:10]}.")


def into_docs(result):
    machine = result["machine"]
    text = [f"{machine['date']}, revision `{machine['revision']}`; {result['records']:,} records, median of "
            f"{result['pairs']}; load when it began: {machine['load']:.1f}.", "", markdown(result), "",
            *lines_below(result)]
    place(result["work"], "\n".join(text))
    place("machine", machine_text(machine))
