"""The Dockerfile's own steps in Debian chroots: a very small stand-in for `docker build`. Needs root and debootstrap.

Knows the instructions that our Dockerfile uses, and refuses any other. What it shows: the packages exist, the commands
work on a bare Debian, and the result runs. What it does not: layers, the images' own isolation.
"""

import json
import os
import shlex
import shutil
import subprocess

import model

BASES = {"debian:12": "bookworm", "debian:12-slim": "bookworm"}     # slim differs by documentation only


class Failed(Exception):
    """A step that did not work, with the end of its output."""


def base(release, cache):
    """A tarball of a minimal Debian, made once."""
    kept = os.path.join(cache, f"debian-{release}.tar")
    if not os.path.exists(kept):
        os.makedirs(cache, exist_ok=True)
        folder = f"{kept}.new"
        shutil.rmtree(folder, ignore_errors=True)
        run(["debootstrap", "--variant=minbase", release, folder], 900)
        run(["tar", "-C", folder, "-cf", f"{kept}.part", "."], 300)
        os.rename(f"{kept}.part", kept)
        shutil.rmtree(folder)
    return kept


def run(argv, seconds, **options):
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", timeout=seconds, **options)
    if done.returncode:
        raise Failed(f"{' '.join(argv)[:200]}: status {done.returncode}\n{done.stdout[-3000:]}")
    return done.stdout


class Stage:
    """One stage: a root directory, and what ENV, USER and WORKDIR said so far."""

    def __init__(self, name, work, cache, others):
        self.name, self.root, self._others = name, os.path.join(work, name), others
        self.env, self.user, self.folder = {}, None, "/"
        self.entry, self.command = [], []
        first, *self._steps = model.dockerfile()[name]
        image = first[1].split()[0]
        os.makedirs(self.root)
        if image in others:
            run(["cp", "-a", f"{others[image].root}/.", self.root], 300)
            self.env, self.folder = dict(others[image].env), others[image].folder
        else:
            run(["tar", "-C", self.root, "-xf", base(BASES[image], cache)], 300)
        shutil.copy("/etc/resolv.conf", os.path.join(self.root, "etc/resolv.conf"))
        self._registries()

    def _registries(self):
        """The package sources of this machine, when it is the same Debian."""
        for name in ("sources.list", "sources.list.d/debian.sources"):
            source = os.path.join("/etc/apt", name)
            if os.path.exists(source):
                os.makedirs(os.path.dirname(os.path.join(self.root, "etc/apt", name)), exist_ok=True)
                shutil.copy(source, os.path.join(self.root, "etc/apt", name))

    def build(self):
        for word, rest in self._steps:
            getattr(self, f"_{word.lower()}")(rest)
        return self

    def inside(self, argv, seconds=1200, user=None):
        """Runs a command in the stage, in mount and pid namespaces that end with it. -> its output."""
        enter = ["chroot", *(["--userspec", f"{user}:{user}"] if user else []), self.root, "/bin/sh", "-c",
                 f"cd {shlex.quote(self.folder)} && exec \"$@\"", "sh", *argv]
        mounts = f"mount -t proc proc {self.root}/proc && mount --rbind /dev {self.root}/dev && exec \"$@\""
        env = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "LC_ALL": "C.UTF-8",
               "DEBIAN_FRONTEND": "noninteractive", **self.env}
        env |= {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy")}
        return run(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", mounts, "sh", *enter], seconds, env=env)

    def _run(self, rest):
        self.inside(["/bin/sh", "-c", rest], user=self.user)

    def _workdir(self, rest):
        self.folder = rest
        os.makedirs(self.root + rest, exist_ok=True)

    def _env(self, rest):
        key, _, value = rest.partition("=")
        self.env[key] = value

    def _user(self, rest):
        self.user = rest

    def _copy(self, rest):
        words = rest.split()
        if words[0].startswith("--from="):
            source, target = self._others[words[0][7:]].root + words[1], self.root + words[2]
            os.makedirs(target, exist_ok=True)
            run(["cp", "-a", f"{source}/.", target], 300)
        elif words[0] == ".":
            self._copy_tree(self.root + os.path.join(self.folder, words[1]))
        else:
            shutil.copy(os.path.join(model.ROOT, words[0]), self.root + words[1])

    @staticmethod
    def _copy_tree(target):
        """The files that git knows: what .dockerignore leaves, without what happens to lie about."""
        listed = run(["git", "-c", f"safe.directory={model.ROOT}", "-C", model.ROOT, "ls-files", "-z"], 60)
        for name in filter(None, listed.split("\0")):
            path = os.path.join(target, name)
            if os.path.exists(os.path.join(model.ROOT, name)):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                shutil.copy(os.path.join(model.ROOT, name), path)

    def _entrypoint(self, rest):
        self.entry = json.loads(rest)

    def _cmd(self, rest):
        self.command = json.loads(rest)
