"""compose.yaml as Compose reads it: variables put in, merge keys resolved."""

import os
import re

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VARIABLE = re.compile(r"\$(?:\$|\{(\w+)(?:(:?[-?])([^}]*))?\})")


class Missing(Exception):
    """A variable that compose.yaml insists on."""


def interpolate(text, env):
    def put(match):
        name, how, other = match.groups()
        if name is None:
            return "$"
        value = env.get(name, "")
        if value or how is None or (name in env and how in ("-", "?")):
            return value
        if how.endswith("?"):
            raise Missing(f"{name}: {other}")
        return other
    return VARIABLE.sub(put, text)


def resolved(node, env):
    if isinstance(node, dict):
        return {key: resolved(value, env) for key, value in node.items()}
    if isinstance(node, list):
        return [resolved(value, env) for value in node]
    return interpolate(node, env) if isinstance(node, str) else node


def load(env):
    """The whole file with `env` in place of the environment and .env."""
    with open(os.path.join(ROOT, "compose.yaml"), encoding="utf-8") as file:
        return resolved(yaml.safe_load(file), env)


def dockerfile():
    """-> {stage: [(instruction, text)]}, continuation lines joined, comments dropped; FROM is the first of each."""
    stages, current = {}, None
    with open(os.path.join(ROOT, "Dockerfile"), encoding="utf-8") as file:
        text = "\n".join(line for line in file.read().splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if not line.strip():
            continue
        word, rest = line.split(None, 1)
        if word == "FROM":
            _, _, name = rest.partition(" AS ")
            current = stages.setdefault(name, [])
        current.append((word, rest))
    return stages
