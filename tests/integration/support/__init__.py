"""What every integration test needs: the built plumbline, a directory of its own, shared servers.

    import support

    class RoundTrip(support.Case):
        def test_it(self):
            kafka = support.kafka()                       # one broker for the whole run, started on first use
            topic = self.name("in")                       # unique in the run, so that tests may share the broker
            kafka.create_topic(topic, partitions=3)
            self.write("in.jsonl", '{"n":1}\n')           # into self.dir
            self.pipeline("p.yaml", '''
                sources: { in:  { plugin: file,  with: { path: in.jsonl } } }
                sinks:   { out: { from: in, plugin: kafka, with: { brokers: "${BROKERS}", topic: "${TOPIC}" } } }
            ''')
            done = self.plumbline("run", "p.yaml", env={"BROKERS": kafka.bootstrap, "TOPIC": topic})   # exit 0, or fails
            self.assertEqual(done.components["out"]["delivered"], 1)

A run in the background, to be watched, signalled or killed:

            run = self.start("run", "p.yaml", env=...)
            run.wait_log("reconnected", seconds=20)       # regular expression over stderr
            run.kill()                                    # SIGKILL; run.stop() is SIGTERM and exit 0
"""

from .case import BUILD, PLUMBLINE, REPO, Case, Run, sanitized, wait_until
from .servers import kafka, shared, shared_dir, stop_shared

__all__ = ["BUILD", "PLUMBLINE", "REPO", "Case", "Run", "kafka", "sanitized", "shared", "shared_dir", "stop_shared", "wait_until"]
