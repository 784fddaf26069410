"""The examples of a page: its fenced blocks, and what the comments before them say about them."""

import re
import shlex

LANGUAGES = ("yaml", "lua", "lua test", "lua when", "c", "cpp", "sh", "sql", "json", "text")
DIRECTIVE = re.compile(r"<!--\s*example:\s*(.*?)\s*-->", re.S)
FENCE = re.compile(r"^(\s*)```\s*([\w+-]*(?: \w+)?)\s*$")
KEYS = {"file", "exit", "output", "quote", "run", "sqlite", "postgresql", "empty-ok", "elsewhere", "half", "skip", "env"}


class PageError(Exception):
    """A page that cannot be read as one."""


class Block:
    """One fenced block. `how` is what the comment before it says: {key: value or True}."""

    def __init__(self, page, line, language, text, how):
        self.page, self.line, self.language, self.text, self.how = page, line, language, text, how
        self.output = None          # of a sh block: what it printed

    def __str__(self):
        return f"{self.page}:{self.line} {self.language}"


def directive(text, where):
    """`file=a.lua exit=2` -> {"file": "a.lua", "exit": "2"}; `skip because ...` -> {"skip": "because ..."}."""
    if text.startswith("skip"):
        reason = text[len("skip"):].strip()
        if not reason.startswith("because "):
            raise PageError(f"{where}: a skipped example says why: skip because ...")
        return {"skip": reason}
    how = {"env": []}
    for word in shlex.split(text):
        key, _, value = word.partition("=")
        if key not in KEYS:
            raise PageError(f"{where}: example: no word '{key}'; there are {', '.join(sorted(KEYS))}")
        if key == "env":
            how["env"].append(value)
        else:
            how[key] = value or True
    return how


def read(page, text):
    """-> the blocks of a page, in order. A fence without a language is an error: nothing goes untested by accident."""
    blocks, how, lines = [], None, text.split("\n")
    i = 0
    while i < len(lines):
        fence = FENCE.match(lines[i])
        if not fence:
            comment = ""
            if "<!-- example:" in lines[i]:
                comment = lines[i]
                while "-->" not in comment and i + 1 < len(lines):
                    i += 1
                    comment += " " + lines[i].strip()
                found = DIRECTIVE.search(comment)
                if not found:
                    raise PageError(f"{page}:{i + 1}: a comment that begins with 'example:' and does not end")
                how = directive(found.group(1), f"{page}:{i + 1}")
            elif lines[i].strip():
                if how is not None:
                    raise PageError(f"{page}:{i + 1}: 'example:' belongs right before a block")
            i += 1
            continue
        begun, indent, language = i, len(fence.group(1)), fence.group(2)
        if language not in LANGUAGES:
            raise PageError(f"{page}:{i + 1}: a block is one of {', '.join(LANGUAGES)}, not '{language}'")
        i += 1
        body = []
        while i < len(lines) and lines[i].strip() != "```":
            body.append(lines[i][indent:] if not lines[i][:indent].strip() else lines[i])
            i += 1
        if i == len(lines):
            raise PageError(f"{page}:{begun + 1}: a block that does not end")
        blocks.append(Block(page, begun + 1, language, "\n".join(body) + "\n", how or {"env": []}))
        how = None
        i += 1
    return blocks


# ---- pipeline files that are only a part ------------------------------------------------------------------------------

TOP = ("pipeline", "include", "defaults", "data_dir", "memory", "delivery", "commit_every", "dead_letter", "shutdown_deadline", "scheduler",
       "seed", "sources", "transforms", "sinks", "tests", "alerts")


def top_keys(text):
    return re.findall(r"^([A-Za-z_]+):", text, re.M)


def section(text, name):
    """The text below a key at the top: the rest of its line and the indented lines that follow."""
    found = re.search(rf"^{name}:(.*(?:\n(?:[ \t].*|#.*|[ \t]*))*)", text, re.M)
    return found.group(1) if found else ""


def names_in(text, part):
    """The components of a section, in block or flow style."""
    body = section(text, part)
    if body.lstrip().startswith("{"):
        names, depth, i = [], 0, 0
        for piece in re.finditer(r"[{}\[\]]|([\w-]+)\s*:(?=\s)", body):
            token = piece.group(0)
            if token in "{[":
                depth += 1
            elif token in "}]":
                depth -= 1
            elif depth == 1:
                names.append(piece.group(1))
        return names
    lines = [line for line in body.split("\n")[1:] if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        return []
    indent = len(lines[0]) - len(lines[0].lstrip())
    found = (re.match(rf"^ {{{indent}}}([\w-]+):", line) for line in lines)
    return [one.group(1) for one in found if one]


def inputs_in(text):
    """What the transforms and sinks read, without the ports."""
    found = []
    for part in ("transforms", "sinks"):
        body = "\n".join(line for line in section(text, part).split("\n") if "name:" not in line)
        for value in re.findall(r"\bfrom:\s*(\[[^\]]*\]|[\w.-]+)", body):
            found += [word.split(".")[0] for word in re.findall(r"[\w.-]+", value)]
    return list(dict.fromkeys(found))


def rest_of(text, included):
    """The pipeline file that includes a part and adds what it lacks: sources for what it reads, a sink for what nothing
    reads. "" when the part is whole."""
    sources, transforms = names_in(text, "sources"), names_in(text, "transforms")
    read_ones = inputs_in(text)
    dead_letter = re.search(r"^dead_letter:\s*([\w-]+)", text, re.M)
    missing = [name for name in read_ones if name not in sources + transforms]
    unread = [name for name in sources + transforms if name not in read_ones]
    lines = [f"include: [{included}]"]
    if missing:
        lines += ["sources:"] + [f"  {name}: {{ plugin: generate, with: {{ count: 1 }} }}" for name in missing]
    if unread:
        lines += ["sinks:", f"  rest: {{ from: [{', '.join(unread)}], plugin: file, with: {{ path: rest.jsonl }} }}"]
    if dead_letter and dead_letter.group(1) not in names_in(text, "sinks"):
        lines += ["" if unread else "sinks:", f"  {dead_letter.group(1)}: {{ plugin: file, with: {{ path: dead.jsonl }} }}"]
    return "\n".join(line for line in lines if line) + "\n" if len(lines) > 1 else ""
