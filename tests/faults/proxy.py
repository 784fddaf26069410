"""A TCP proxy on loopback that misbehaves when told to. It stands between plumbline and a real server.

    with Proxy(server.port) as proxy:              # plumbline is given proxy.port
        proxy.cut()                                # all connections, now; new ones are taken
        proxy.refuse(); proxy.accept()             # take none, then take some again
        proxy.stall(); proxy.go_on()               # connections stay, nothing passes
        proxy.delay(0.2)                           # every answer comes so much later
        proxy.lose_answers("produce", every=20, times=10)   # the server did it, and its client never hears of it

What an answer is, and of which kind, a protocol says: Plain, Kafka, Postgres, Http. proxy.answers holds (time, kind) of
every answer that passed, and proxy.requests the times at which something was asked; times are time.monotonic()'s.
"""

import collections
import contextlib
import re
import socket
import struct
import threading
import time

_CHUNK = 1 << 16


class Plain:
    """Whatever comes at once is one answer, of kind ""."""

    def requests(self, data):
        """Bytes on their way to the server."""

    def answers(self, data):
        """Bytes on their way back, as (kind, bytes) pairs; what is not complete yet waits."""
        return [("", data)]

    def rest(self):
        """What waits for its end when the server closes."""
        return b""


class Kafka(Plain):
    """Frames of a 4-byte length. An answer is of the kind of its request: "produce" or the API's number."""

    _NAMES = {0: "produce", 1: "fetch", 8: "commit"}

    def __init__(self):
        self._asked, self._out, self._back = {}, b"", b""

    @staticmethod
    def _frames(data):
        frames = []
        while len(data) >= 4 and len(data) >= 4 + (size := struct.unpack_from(">i", data)[0]):
            frames.append(data[:4 + size])
            data = data[4 + size:]
        return frames, data

    def requests(self, data):
        frames, self._out = self._frames(self._out + data)
        for frame in frames:
            api, _, correlation = struct.unpack_from(">hhi", frame, 4)
            self._asked[correlation] = self._NAMES.get(api, str(api))

    def answers(self, data):
        frames, self._back = self._frames(self._back + data)
        return [(self._asked.pop(struct.unpack_from(">i", frame, 4)[0], ""), frame) for frame in frames]


class Postgres(Plain):
    """Messages of a type and a 4-byte length. What comes up to ReadyForQuery is one answer, its kind the first word of
    the commands that were completed in it, with a space between: "INSERT", "INSERT COMMIT"."""

    def __init__(self):
        self._back, self._held, self._done = b"", b"", []

    def answers(self, data):
        whole = []
        self._back += data
        while len(self._back) >= 5 and len(self._back) > (size := struct.unpack_from(">i", self._back, 1)[0]):
            kind, message, self._back = self._back[:1], self._back[:size + 1], self._back[size + 1:]
            self._held += message
            if kind == b"C":
                self._done.append(message[5:-1].split(b" ")[0].decode())
            # Its client has the next word: R authentication, G a COPY.
            if kind in b"ZRG":
                whole.append((" ".join(self._done), self._held))
                self._held = b""
            if kind == b"Z":
                self._done = []
        return whole

    def rest(self):
        return self._held + self._back


class Http(Plain):
    """What comes at once is one answer; its kind is the status, or "" for the rest of a body."""

    def answers(self, data):
        status = data[9:12].decode(errors="replace") if data.startswith(b"HTTP/1.") else ""
        return [(status, data)]


class _Link:
    """One client's connection and the one to the server behind it."""

    def __init__(self, proxy, client):
        self._proxy, self._client = proxy, client
        self._server = socket.create_connection(("127.0.0.1", proxy.target), timeout=10)
        self._server.settimeout(None)
        self._protocol = proxy.protocol()
        for end in (self._client, self._server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pumping, self._lock = 2, threading.Lock()

    def start(self):
        for pump in (self._there, self._back):
            threading.Thread(target=self._pump, args=(pump,), daemon=True).start()

    def _pump(self, pump):
        with contextlib.suppress(OSError):
            pump()
        self.cut()
        with self._lock:
            self._pumping -= 1
            last = self._pumping == 0
        if last:
            self._client.close()
            self._server.close()

    def _there(self):
        while data := self._client.recv(_CHUNK):
            self._proxy.requests.append(time.monotonic())
            self._protocol.requests(data)
            self._proxy.flowing.wait()
            self._server.sendall(data)

    def _back(self):
        while data := self._server.recv(_CHUNK):
            for kind, answer in self._protocol.answers(data):
                self._proxy.flowing.wait()
                if self._proxy.loses(kind):
                    return
                time.sleep(self._proxy.late_s)
                self._client.sendall(answer)
        self._client.sendall(self._protocol.rest())

    def cut(self):
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._proxy.forget(self)


class Proxy:

    def __init__(self, target, protocol=Plain):
        self.target, self.protocol = target, protocol
        self._lock = threading.Lock()
        self._links = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.flowing = threading.Event()
        self.flowing.set()
        self._accepting, self._closed = True, False
        self.late_s = 0
        self._losing = None
        self.lost = 0
        self.answers, self.requests = collections.deque(maxlen=100_000), collections.deque(maxlen=100_000)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if not self._accepting:
                    raise ConnectionError
                link = _Link(self, client)
            except OSError:   # the server is down: so are we
                client.close()
                continue
            # Before anything passes, so that no cut misses it.
            with self._lock:
                self._links.add(link)
            link.start()
            if not self._accepting:
                link.cut()

    def forget(self, link):
        with self._lock:
            self._links.discard(link)

    def loses(self, kind):
        """Whether this answer is to be lost; asked once an answer."""
        self.answers.append((time.monotonic(), kind))
        with self._lock:
            if self._losing is None or not re.search(self._losing["kind"], kind):
                return False
            self._losing["count"] += 1
            if self._losing["count"] % self._losing["every"] or self._losing["times"] <= 0:
                return False
            self._losing["times"] -= 1
            self.lost += 1
            return True

    # What a test does with it.
    def cut(self):
        with self._lock:
            links = list(self._links)
        for link in links:
            link.cut()

    def refuse(self):
        self._accepting = False
        self.cut()

    def accept(self):
        self._accepting = True

    def stall(self):
        self.flowing.clear()

    def go_on(self):
        self.flowing.set()

    def delay(self, seconds):
        self.late_s = seconds

    def lose_answers(self, kind="", every=1, times=1):
        """Of the answers whose kind matches (a regular expression) every so many-th is thrown away and its connection cut, so
        many times."""
        with self._lock:
            self._losing = {"kind": kind, "every": every, "times": times, "count": 0}

    def close(self):
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.flowing.set()
        self.refuse()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
