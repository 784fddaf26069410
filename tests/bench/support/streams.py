"""The Kafka Streams peer: its libraries from Maven Central, our own program compiled once by the JDK at hand."""

import fcntl
import hashlib
import shutil

from .context import BENCH, cache_dir, run
from .measure import BenchError

SOURCE = BENCH / "peers" / "kafka-streams"
# Bounded as the others are; the collector and the rest is the JVM's own choice.
_JAVA = ["-Xms256m", "-Xmx512m", "-XX:+IgnoreUnrecognizedVMOptions", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]


def kafka_streams(ctx, subject):
    """The command line that runs KafkaLuaKafka.java; it takes the variables of kafka_lua_kafka.yaml. None where it can't be
    had, with a line."""
    for program, package in (("javac", "a JDK"), ("mvn", "Maven")):
        if not shutil.which(program):
            ctx.skip(subject, f"{package} is not installed")
            return None
    parts = [SOURCE / "pom.xml", SOURCE / "KafkaLuaKafka.java"]
    home = cache_dir() / f"kafka-streams-{hashlib.sha256(b''.join(p.read_bytes() for p in parts)).hexdigest()[:8]}"
    home.mkdir(parents=True, exist_ok=True)
    with open(home / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "whole").exists():
            ctx.say("fetching Kafka Streams from Maven Central (once)")
            try:
                run(["mvn", "-q", "-B", "-f", parts[0], "dependency:copy-dependencies", f"-DoutputDirectory={home / 'libs'}"],
                    "fetching Kafka Streams", 600)
                run(["javac", "-cp", f"{home / 'libs'}/*", "-d", home / "classes", parts[1]], "compiling KafkaLuaKafka.java",
                    120)
            except BenchError as error:
                ctx.skip(subject, str(error).splitlines()[0])
                return None
            (home / "whole").touch()
    return ["java", *_JAVA, "-cp", f"{home / 'classes'}:{home / 'libs'}/*", "KafkaLuaKafka"]
