"""Servers shared by all tests of one run: started on first use, stopped at the end."""

import pathlib
import shutil
import tempfile

from servers import Kafka

_started = {}
_dir = None


def shared_dir():
    """A directory for the shared servers of this run."""
    global _dir
    if _dir is None:
        _dir = pathlib.Path(tempfile.mkdtemp(prefix="plumbline-servers-"))
    return _dir


def shared(name, make):
    """The server called `name`; the first call makes it with make(directory), where it is an unstarted server."""
    if name not in _started:
        server = make(shared_dir() / name)
        server.start()
        _started[name] = server
    server = _started[name]
    return server


def kafka():
    """One Kafka 4.1 broker. A test that stops or kills it brings it back; use topics and groups from Case.name."""
    return shared("kafka", Kafka)


def stop_shared():
    """Stop all of them and remove their data."""
    global _dir
    for server in reversed(_started.values()):
        server.stop()
        if hasattr(server, "close"):
            server.close()
    _started.clear()
    if _dir is not None:
        shutil.rmtree(_dir, ignore_errors=True)
        _dir = None
