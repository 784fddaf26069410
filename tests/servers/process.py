"""Start, watch and end the processes of the servers, and leave none behind.

Every server runs as the leader of its own session, so that a Ctrl-C on the terminal reaches only us and we end
the servers in order. Three nets, each for what the one before can't catch: `with` blocks, atexit (which SIGTERM is
made to reach), and a guard process which ends the groups we started when we ourselves are gone, kill -9 included.
"""

import atexit
import contextlib
import os
import pathlib
import random
import signal
import socket
import subprocess
import sys
import threading
import time


class ServerError(Exception):
    """A server did not start, did not answer, or ended by itself. The text says which, and shows its last log lines."""


# Reads "+PGID" and "-PGID" lines. At end of file, which comes when our side of the pipe closes for whatever reason,
# it ends the groups that were not taken back.
_GUARD = r"""
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)
groups = set()
for line in sys.stdin:
    (groups.add if line[0] == '+' else groups.discard)(int(line[1:]))
for sig in (signal.SIGCONT, signal.SIGTERM, signal.SIGKILL):
    for group in groups:
        try: os.killpg(group, sig)
        except OSError: pass
    if groups and sig == signal.SIGTERM: time.sleep(2)
"""


class _Guard:
    def __init__(self):
        self._lock = threading.Lock()
        self._owner = 0
        self._pipe = None

    def tell(self, sign, group):
        with self._lock:
            if self._owner != os.getpid():
                guard = subprocess.Popen([sys.executable, "-S", "-E", "-c", _GUARD], stdin=subprocess.PIPE,
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                         start_new_session=True, text=True)
                self._pipe, self._owner = guard.stdin, os.getpid()
                # The guard outlives this object on purpose; its exit status interests nobody.
                guard.returncode = 0
            with contextlib.suppress(BrokenPipeError):
                self._pipe.write(f"{sign}{group}\n")
                self._pipe.flush()


_guard = _Guard()
_running = []
_signals_set = False


def _stop_all():
    # All are told first: the brokers of a cluster need each other to end in order.
    for server in _running:
        server.signal_group(server.stop_signal)
        server.signal_group(signal.SIGCONT)
    for server in list(reversed(_running)):
        with contextlib.suppress(Exception):
            server.stop()


def _end_on_sigterm(number, _frame):
    sys.exit(128 + number)


def _prepare_once():
    """Make SIGTERM and SIGHUP run atexit, unless the program has handlers of its own."""
    global _signals_set
    if _signals_set:
        return
    _signals_set = True
    atexit.register(_stop_all)
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, _end_on_sigterm)


# A free port stays ours while this process lives: an abstract Unix socket of that name is the lock between several
# test runs on one machine. The range lies below Linux's ephemeral ports (32768 and up), so that no outgoing
# connection can take the port between a server's stop and its restart.
_port_locks = {}


def free_port():
    """A TCP port on 127.0.0.1 that nobody listens on, and that no other run of these scripts will be given."""
    for _ in range(500):
        port = random.SystemRandom().randrange(15000, 32000)
        lock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            lock.bind(f"\0plumbline-test-port-{port}")
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _port_locks[port] = lock
        return port
    raise ServerError("no free TCP port found on 127.0.0.1 between 15000 and 31999 in 500 tries")


def wait_until(check, seconds, what, alive=lambda: None):
    """Call check() until it returns something true, which is returned; raise ServerError after `seconds`.

    `alive` is called in between and raises when waiting is pointless."""
    deadline = time.monotonic() + seconds
    pause = 0.02
    while True:
        result = check()
        if result:
            return result
        alive()
        if time.monotonic() > deadline:
            raise ServerError(f"{what}: not so after {seconds:g} s")
        time.sleep(pause)
        pause = min(pause * 1.3, 0.2)


def port_answers(port):
    """True when something accepts connections on 127.0.0.1:port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def group_members(group):
    """The pids of a process group that are alive (zombies are not)."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                stat = pathlib.Path("/proc", entry, "stat").read_text().rsplit(")", 1)[1].split()
                if stat[0] not in "ZX" and int(stat[2]) == group:
                    found.append(int(entry))
    return found


def stopped(pid):
    """True when each thread of the process has stopped; or is gone."""
    for stat in pathlib.Path("/proc", str(pid), "task").glob("*/stat"):
        with contextlib.suppress(OSError, IndexError):
            if stat.read_text().rsplit(")", 1)[1].split()[0] not in "TtZX":
                return False
    return True


class Process:
    """One server process with its group, its log file and its signals. A subclass gives `argv()` and `ready()`."""

    name = "server"
    start_seconds = 60       # how long ready() may take
    stop_seconds = 15        # between stop_signal and SIGKILL
    stop_signal = signal.SIGTERM

    def __init__(self, directory):
        self.directory = pathlib.Path(directory).absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log_path = self.directory / f"{self.name}.log"
        self._child = None

    # What a subclass says about itself.
    def argv(self):
        raise NotImplementedError

    def environment(self):
        return dict(os.environ)

    def popen_options(self):
        return {}

    def ready(self):
        """True once the server answers a real request."""
        raise NotImplementedError

    # What its user does with it.
    @property
    def pid(self):
        """The process id, or None when it isn't running."""
        return self._child.pid if self.running() else None

    def running(self):
        return self._child is not None and self._child.poll() is None

    def start(self):
        """Start and wait until it is ready. Starting twice does nothing. Returns self."""
        if self.running():
            return self
        self.launch()
        try:
            self.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def launch(self):
        """Start without waiting; wait_ready() does the rest."""
        _prepare_once()
        with open(self.log_path, "ab") as log:
            self._child = subprocess.Popen(self.argv(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           cwd=self.directory, env=self.environment(), start_new_session=True,
                                           **self.popen_options())
        _guard.tell("+", self._child.pid)
        _running.append(self)

    def wait_ready(self):
        wait_until(self.ready, self.start_seconds, f"{self.name} is ready", self._check_alive)

    def _check_alive(self):
        if not self.running():
            status = self._child.returncode if self._child else "never started"
            raise ServerError(f"{self.name} ended by itself (status {status}); its last log lines:\n{self.log_tail()}")

    def log_tail(self, lines=15):
        """The last lines of the server's own log."""
        try:
            text = self.log_path.read_text(errors="replace")
        except OSError as error:
            return f"(no log: {error})"
        return "\n".join(text.splitlines()[-lines:])

    def signal_group(self, number):
        """Send a signal to every process of the server's group, and only to those."""
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)

    def pause(self):
        """SIGSTOP: the server keeps its sockets and answers nothing, from when this returns."""
        self.signal_group(signal.SIGSTOP)
        if self.running():      # a busy machine may let a thread go on for a moment
            wait_until(lambda: all(map(stopped, group_members(self._child.pid))), 10, f"{self.name} has stopped")

    def resume(self):
        """SIGCONT."""
        self.signal_group(signal.SIGCONT)

    def kill(self):
        """kill -9 of the whole group; nothing is flushed. start() brings it back with its data and address."""
        self._end(signal.SIGKILL, 0)

    def stop(self):
        """Orderly end; SIGKILL when that takes too long. Stopping twice does nothing."""
        self._end(self.stop_signal, self.stop_seconds)

    def restart(self):
        """Orderly stop, then start with the same data and the same address."""
        self.stop()
        return self.start()

    def _end(self, first, patience):
        if self._child is None:
            return
        group = self._child.pid
        self.signal_group(first)
        self.signal_group(signal.SIGCONT)   # a stopped process acts on SIGTERM only once it goes on
        if first != signal.SIGKILL:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(patience)
            self._wait_group_gone(group, 2)
        self.signal_group(signal.SIGKILL)
        self._child.wait(10)
        self._wait_group_gone(group, 5)
        _guard.tell("-", group)
        self._child = None
        with contextlib.suppress(ValueError):
            _running.remove(self)

    @staticmethod
    def _wait_group_gone(group, seconds):
        deadline = time.monotonic() + seconds
        while group_members(group) and time.monotonic() < deadline:
            time.sleep(0.02)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        self.close()

    def close(self):
        """Remove what lies outside the given directory; called after the last stop."""
