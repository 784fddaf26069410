"""Where the downloaded parts of the servers are kept: outside the tree, filled once, used without a network after."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from .process import ServerError

HERE = pathlib.Path(__file__).resolve().parent
KAFKA_VERSIONS = ("4.1.0", "3.9.0")


def cache_dir():
    """$PLUMBLINE_CACHE, or plumbline/ in the user's cache directory (XDG)."""
    chosen = os.environ.get("PLUMBLINE_CACHE")
    if chosen:
        return pathlib.Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base).absolute() / "plumbline"


@contextlib.contextmanager
def _filling(target):
    """Yield a directory to fill, or None when `target` is already there; renamed into place only when whole."""
    if target.is_dir():
        yield None
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(target.parent / f".{target.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)   # two test runs may come here at once
        if target.is_dir():
            yield None
            return
        fresh = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            yield fresh
            fresh.rename(target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)


def _run(argv, what, **options):
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace", timeout=600, **options)
    except FileNotFoundError:
        raise ServerError(f"{what}: {argv[0]} is not installed; tests/servers/install.sh installs it") from None
    except subprocess.TimeoutExpired:
        raise ServerError(f"{what}: {argv[0]} did not end within 600 s") from None
    if done.returncode:
        raise ServerError(f"{what}: {argv[0]} failed (status {done.returncode}):\n{done.stdout[:1500]}")


def kafka_jars(version):
    """The directory with the jars of one Kafka version; fetched from Maven Central on first use."""
    if version not in KAFKA_VERSIONS:
        raise ServerError(f"Kafka {version}: expected one of {', '.join(KAFKA_VERSIONS)}")
    pom = HERE / "kafka" / "pom.xml"
    key = hashlib.sha256(pom.read_bytes()).hexdigest()[:8]
    target = cache_dir() / f"kafka-{version}-{key}"
    with _filling(target) as fresh:
        if fresh:
            print(f"fetching Kafka {version} from Maven Central (once, 54 MB)", file=sys.stderr)
            _run(["mvn", "-q", "-B", "-f", str(pom), f"-Dkafka.version={version}", "dependency:copy-dependencies",
                  f"-DoutputDirectory={fresh}"], f"fetching Kafka {version} from Maven Central")
    return target


def npm_packages(folder):
    """The directory whose node_modules holds what `folder`'s lock file names; fetched from npm on first use."""
    folder = pathlib.Path(folder)
    parts = ("package.json", "package-lock.json", ".npmrc")
    key = hashlib.sha256(b"".join((folder / part).read_bytes() for part in parts)).hexdigest()[:8]
    target = cache_dir() / f"npm-{key}"
    with _filling(target) as fresh:
        if fresh:
            print("fetching packages from npm (once)", file=sys.stderr)
            for part in parts:
                shutil.copy(folder / part, fresh / part)
            _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], "fetching packages from npm", cwd=fresh)
    return target


def fill(servers=("kafka", "timescale", "anvil")):
    """Fetch all that these servers need and have not got."""
    if "kafka" in servers:
        for version in KAFKA_VERSIONS:
            kafka_jars(version)
    if "timescale" in servers or "anvil" in servers:
        npm_packages(HERE / "npm")
