#!/usr/bin/env python3
"""Writes document_vectors.txt: JSON texts, edits, and what decoding, editing and encoding them with Python's json gives.

Usage: make_document_vectors.py > document_vectors.txt
Each case is a block of lines, ended by an empty one:
  doc TEXT            one line; "exact" instead of "doc": the result's bytes are to be exactly as given
  set PATH JSON       PATH as a JSON string, as record/path.h writes it
  remove PATH
  get PATH JSON       before the edits; "get PATH" alone: absent
  out JSON            compact, key order and number lexemes as they are
Numbers stay lexemes and duplicate keys keep the last value at the last place, so that order can be compared too.
"""
import json
import random

rng = random.Random(4)
KEYS = ["pair", "price", "a", "b", "c", "quotes", "USD", "a.b", "", "ü", "x\"y", "back\\slash", "tab\t", "\U0001F600", "[0]"]


class Number(str):
    pass


def pairs(items):
    out = {}
    for key, value in items:
        out.pop(key, None)
        out[key] = value
    return out


def decode(text):
    return json.loads(text, parse_int=Number, parse_float=Number, object_pairs_hook=pairs)


def number():
    return rng.choice([
        lambda: str(rng.randrange(-(10**rng.randrange(1, 20)), 10**rng.randrange(1, 20))),
        lambda: f"{rng.randrange(10**6)}.{rng.randrange(10**12):012d}",
        lambda: rng.choice(["1.0", "0.10", "-0", "1e5", "1.5E-7", "-0.0", "9223372036854775807", "9223372036854775808"]),
        lambda: str(rng.randrange(10**77, 10**78)),
    ])()


def string():
    return "".join(rng.choice(["a", "b", "Z", " ", "\"", "\\", "/", "\n", "\x01", "é", "漢", "\U0001F680", "{", "]", ",", ":"])
                   for _ in range(rng.randrange(0, 8)))


def value(depth):
    kind = rng.random()
    if depth > 0 and kind < 0.25:
        return {k: value(depth - 1) for k in rng.sample(KEYS, rng.randrange(0, 5))}
    if depth > 0 and kind < 0.4:
        return [value(depth - 1) for _ in range(rng.randrange(0, 4))]
    if kind < 0.65:
        return Number(number())
    return string() if kind < 0.9 else rng.choice([True, False, None])


def quote(text, plain):
    """A string as somebody else may have escaped it."""
    out = '"'
    for c in text:
        if c in '"\\' or c < " ":
            out += {"\n": "\\n", "\t": "\\t"}.get(c, "\\u%04x" % ord(c)) if c < " " else "\\" + c
        elif not plain and rng.random() < 0.15:
            code = c.encode("utf-16-be")
            out += "".join("\\u" + code[i:i + 2].hex() for i in range(0, len(code), 2))
        elif not plain and c == "/" and rng.random() < 0.5:
            out += "\\/"
        else:
            out += c
    return out + '"'


def write(v, plain):
    space = (lambda: "") if plain else (lambda: rng.choice(["", "", " ", "  ", "\t"]))
    if isinstance(v, Number):
        return str(v)
    if isinstance(v, str):
        return quote(v, plain)
    if isinstance(v, list):
        return "[" + space() + (space() + "," + space()).join(write(x, plain) for x in v) + space() + "]"
    if isinstance(v, dict):
        items = list(v.items())
        if not plain and items and rng.random() < 0.3:
            items.insert(rng.randrange(len(items)), (rng.choice(items)[0], value(1)))  # a double, overruled later
        members = [quote(k, plain) + space() + ":" + space() + write(x, plain) for k, x in items]
        return "{" + space() + (space() + "," + space()).join(members) + space() + "}"
    return {True: "true", False: "false", None: "null"}[v]


def compact(v):
    return write(v, True)


def path_text(path):
    out = ""
    for step in path:
        if isinstance(step, int):
            out += f"[{step}]"
        elif step and not any(c in '.[]"\x7f' or c < " " for c in step):
            out += ("." if out else "") + step
        else:
            out += '["' + step.replace("\\", "\\\\").replace('"', '\\"') + '"]'
    return out


def find(root, path):
    for step in path:
        if isinstance(step, int):
            if not isinstance(root, list) or step >= len(root):
                return False, None
        elif not isinstance(root, dict) or step not in root:
            return False, None
        root = root[step]
    return True, root


def some_path(root):
    path = []
    while isinstance(root, (dict, list)) and (not path or rng.random() < 0.6):
        if isinstance(root, list):
            step = rng.randrange(0, len(root) + 1)
            inside = step < len(root)
        else:
            step = rng.choice(list(root)) if root and rng.random() < 0.7 else rng.choice(KEYS)
            inside = step in root
        path.append(step)
        if not inside:
            break
        root = root[step]
    return path


def edit(root):
    path = some_path(root)
    if not path:
        return None
    there, _ = find(root, path)
    _, parent = find(root, path[:-1])
    if there and rng.random() < 0.4:
        del parent[path[-1]]
        return f"remove {json.dumps(path_text(path))}"
    new = value(2)
    if isinstance(path[-1], int) and path[-1] == len(parent):
        parent.append(new)
    else:
        parent[path[-1]] = new
    return f"set {json.dumps(path_text(path))} {compact(new)}"


def main():
    for case in range(260):
        plain = case % 2 == 0
        root = {k: value(3) for k in rng.sample(KEYS, rng.randrange(0, 8))}
        if case % 10 == 0:
            root = {f"k{i}": value(0) for i in range(rng.randrange(17, 30))}
        text = write(root, plain)
        model = decode(text)
        print("exact" if plain else "doc", text)
        for _ in range(3):
            path = some_path(model)
            there, found = find(model, path)
            print(f"get {json.dumps(path_text(path))}" + (f" {compact(found)}" if there else ""))
        for _ in range(rng.randrange(1, 7)):
            line = edit(model)
            if line:
                print(line)
        print("out", compact(model))
        print()


main()
