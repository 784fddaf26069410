"""What a page points to: links within the tree and their anchors, and files of the tree named in `code`."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)")
NAMED = re.compile(r"`(\.?/?(?:runtime|plugins|scripts|pipelines|tests|docs|cmake)/[\w./*-]+|\./(?:demo|tests/run))`")


def without_blocks(text):
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


def anchors(text):
    """The anchors that GitHub makes of headings."""
    found = set()
    for heading in re.findall(r"^#+\s+(.*)$", without_blocks(text), re.M):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-"))
    return found


def wrong(path, text):
    """-> what is pointed to and not there."""
    bad, body = [], without_blocks(text)
    for target in LINK.findall(body):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        where = (path.parent / file).resolve() if file else path
        if not where.exists():
            bad.append(f"a link to {target}: there is no such file")
        elif anchor and anchor not in anchors(where.read_text(encoding="utf-8")):
            bad.append(f"a link to {target}: no heading makes the anchor #{anchor}")
    for name in NAMED.findall(body):
        clean = name.removeprefix("./").replace("NAME", "*")
        made = f"file={clean}" in text or f"file={clean.replace('_test.lua', '.lua')}" in text
        if not made and not list(ROOT.glob(clean)) and not (path.parent / clean).exists():
            bad.append(f"`{name}` is not in the tree")
    return bad
