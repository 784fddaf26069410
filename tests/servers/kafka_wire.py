"""The few Kafka requests that the tests need and kcat has no command for: metadata, create and grow topics,
and the offsets that a group has committed.

Request and response layouts follow https://kafka.apache.org/protocol, at versions that both Kafka 3.9 and 4.1 speak
and that precede the compact ("flexible") encodings. An independent client is also a witness: it shares no code with
the librdkafka that is under test.
"""

import socket
import struct

METADATA, OFFSET_FETCH, FIND_COORDINATOR, CREATE_TOPICS, DELETE_TOPICS, CREATE_PARTITIONS = 3, 9, 10, 19, 20, 37
_MAX_RESPONSE = 16 << 20


class KafkaError(Exception):
    """The broker answered with an error code; .code holds it."""

    def __init__(self, what, code):
        super().__init__(f"{what}: the broker answered error {code}")
        self.code = code


def _string(text):
    if text is None:
        return struct.pack(">h", -1)
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def _array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


class _Reader:
    def __init__(self, data):
        self._data, self._at = data, 0

    def number(self, form):
        (value,) = struct.unpack_from(">" + form, self._data, self._at)
        self._at += struct.calcsize(form)
        return value

    def string(self):
        size = self.number("h")
        if size < 0:
            return None
        self._at += size
        return self._data[self._at - size:self._at].decode()

    def array(self, item):
        return [item() for _ in range(self.number("i"))]


def request(address, api, version, body, timeout=10.0):
    """Send one request to (host, port) and return a reader of the response's body."""
    message = struct.pack(">hhi", api, version, 1) + _string("plumbline-tests") + body
    with socket.create_connection(address, timeout=timeout) as link:
        link.sendall(struct.pack(">i", len(message)) + message)
        size, _ = struct.unpack(">ii", _exactly(link, 8))
        if not 4 <= size <= _MAX_RESPONSE:
            raise OSError(f"a Kafka response of {size} bytes from {address}")
        return _Reader(_exactly(link, size - 4))


def _exactly(link, size):
    data = b""
    while len(data) < size:
        part = link.recv(size - len(data))
        if not part:
            raise ConnectionError("the broker closed the connection")
        data += part
    return data


def metadata(address, timeout=10.0):
    """{"brokers": {id: (host, port)}, "controller": id, "topics": {name: {partition: leader id}}}"""
    reader = request(address, METADATA, 1, struct.pack(">i", -1), timeout)

    def broker():
        node, host, port = reader.number("i"), reader.string(), reader.number("i")
        reader.string()   # rack
        return node, (host, port)

    def partition():
        reader.number("h")
        index, leader = reader.number("i"), reader.number("i")
        reader.array(lambda: reader.number("i"))   # replicas
        reader.array(lambda: reader.number("i"))   # in sync
        return index, leader

    def topic():
        reader.number("h")
        name, _internal = reader.string(), reader.number("b")
        return name, dict(reader.array(partition))

    brokers = dict(reader.array(broker))
    controller = reader.number("i")
    return {"brokers": brokers, "controller": controller, "topics": dict(reader.array(topic))}


def _controller(address):
    found = metadata(address)
    return found["brokers"].get(found["controller"], address)


def create_topic(address, name, partitions, replication, config=None, timeout_ms=15000):
    """Create one topic; KafkaError 36 when it exists."""
    settings = [_string(key) + _string(str(value)) for key, value in (config or {}).items()]
    topic = _string(name) + struct.pack(">ih", partitions, replication) + _array([]) + _array(settings)
    reader = request(_controller(address), CREATE_TOPICS, 2, _array([topic]) + struct.pack(">ib", timeout_ms, 0),
                     timeout_ms / 1000 + 5)
    reader.number("i")   # throttle time

    def result():
        reader.string()
        code, text = reader.number("h"), reader.string()
        return code, text

    for code, text in reader.array(result):
        if code:
            raise KafkaError(f"creating topic {name} ({text or 'no text'})", code)


def grow_topic(address, name, partitions, timeout_ms=15000):
    """Raise a topic's number of partitions to `partitions`."""
    topic = _string(name) + struct.pack(">i", partitions) + struct.pack(">i", -1)
    reader = request(_controller(address), CREATE_PARTITIONS, 0, _array([topic]) + struct.pack(">ib", timeout_ms, 0),
                     timeout_ms / 1000 + 5)
    reader.number("i")

    def result():
        reader.string()
        code, text = reader.number("h"), reader.string()
        return code, text

    for code, text in reader.array(result):
        if code:
            raise KafkaError(f"growing topic {name} ({text or 'no text'})", code)


def delete_topic(address, name, timeout_ms=15000):
    """Delete one topic."""
    reader = request(_controller(address), DELETE_TOPICS, 1, _array([_string(name)]) + struct.pack(">i", timeout_ms),
                     timeout_ms / 1000 + 5)
    reader.number("i")
    for _, code in reader.array(lambda: (reader.string(), reader.number("h"))):
        if code:
            raise KafkaError(f"deleting topic {name}", code)


def group_offsets(address, group, topic, partitions):
    """{partition: committed offset} of one group; a partition without a commit is left out."""
    reader = request(address, FIND_COORDINATOR, 0, _string(group))
    code, _node, host, port = reader.number("h"), reader.number("i"), reader.string(), reader.number("i")
    if code:
        raise KafkaError(f"finding the coordinator of group {group}", code)
    wanted = _string(topic) + _array([struct.pack(">i", index) for index in range(partitions)])
    reader = request((host, port), OFFSET_FETCH, 1, _string(group) + _array([wanted]))

    def partition():
        index, offset = reader.number("i"), reader.number("q")
        reader.string()   # the committer's own note
        return index, offset, reader.number("h")

    found = {}
    for _, rows in reader.array(lambda: (reader.string(), reader.array(partition))):
        for index, offset, code in rows:
            if code:
                raise KafkaError(f"reading the offsets of group {group}, {topic}[{index}]", code)
            if offset >= 0:
                found[index] = offset
    return found
