"""compose.yaml and Dockerfile as texts: the published schema, what the services must have, the packages named."""

import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import unittest

import jsonschema
import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import model
from servers import cache_dir

SCHEMA = "dclint@3.1.0"       # npm; a linter that carries the Compose specification's own JSON schema
ENV = {"ETH_RPC_URL": "https://node.example"}
OURS = ("api_producer", "producer", "api_consumer", "consumer", "accuracy")


def published_schema():
    """The Compose specification's JSON schema, fetched once from the registry and kept in the cache."""
    kept = cache_dir() / (SCHEMA.replace("@", "-") + ".json")
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            packed = subprocess.run(["npm", "pack", "--silent", SCHEMA], cwd=folder, capture_output=True, text=True,
                                    check=True, timeout=120).stdout.split()[-1]
            with tarfile.open(os.path.join(folder, packed)) as archive:
                text = archive.extractfile("package/schemas/compose.schema.json").read()
        fresh = kept.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(text)
        fresh.rename(kept)
    return json.loads(kept.read_text())


class Compose(unittest.TestCase):
    def setUp(self):
        self.file = model.load(ENV)
        self.services = self.file["services"]

    def test_the_published_schema(self):
        schema = jsonschema.Draft7Validator(published_schema())
        schema.validate(self.file)
        spoilt = json.loads(json.dumps(self.file))
        spoilt["services"]["kafka"]["heathcheck"] = spoilt["services"]["kafka"].pop("healthcheck")
        with self.assertRaises(jsonschema.ValidationError):
            schema.validate(spoilt)

    def test_the_services_of_the_job_are_there(self):
        wanted = {"kafka", "store", "api_producer", "producer", "api_consumer", "consumer", "accuracy", "admin", "tester"}
        self.assertLessEqual(wanted, set(self.services))

    def test_every_service_that_stays_has_a_health_check(self):
        for name, service in self.services.items():
            if service.get("restart") == "unless-stopped":
                self.assertIn("test", service.get("healthcheck", {}), name)

    def test_what_a_service_waits_for_exists_and_can_say_so(self):
        for name, service in self.services.items():
            for other, how in service.get("depends_on", {}).items():
                self.assertIn(other, self.services, name)
                if how["condition"] == "service_healthy":
                    self.assertIn("test", self.services[other]["healthcheck"], other)

    def test_profiles(self):
        profiles = {name: service.get("profiles") for name, service in self.services.items() if "profiles" in service}
        self.assertEqual(profiles, {"admin": ["dev"], "tester": ["dev"], "zookeeper": ["zookeeper"],
                                    "kafka-zookeeper": ["zookeeper"]})

    def test_our_services_run_with_little_power(self):
        for name in OURS:
            service = self.services[name]
            self.assertEqual((service["read_only"], service["cap_drop"]), (True, ["ALL"]), name)
            pipeline = service["command"][1].replace("/usr/local/share/plumbline", model.ROOT)
            self.assertTrue(os.path.exists(pipeline), pipeline)

    def test_named_volumes_are_declared(self):
        for name, service in self.services.items():
            for volume in service.get("volumes", []):
                self.assertIn(volume.split(":")[0], self.file["volumes"], name)

    def test_a_node_is_asked_for(self):
        with self.assertRaisesRegex(model.Missing, "ETH_RPC_URL"):
            model.load({})

    def test_every_variable_is_in_the_example_or_has_a_default(self):
        with open(os.path.join(model.ROOT, ".env.example"), encoding="utf-8") as file:
            known = set(re.findall(r"^(\w+)=", file.read(), re.M))
        with open(os.path.join(model.ROOT, "compose.yaml"), encoding="utf-8") as file:
            used = set(re.findall(r"(?<!\$)\$\{(\w+)", file.read()))
        self.assertEqual(used - known, {"KAFKA_BROKERS"})


class Docker(unittest.TestCase):
    def setUp(self):
        self.stages = model.dockerfile()

    def packages(self, stage):
        text = next(rest for word, rest in self.stages[stage] if word == "RUN" and "apt-get install" in rest)
        words = text.split("apt-get install", 1)[1].split("&&")[0].split()
        return {word for word in words if not word.startswith("-")}

    def test_stages_that_compose_builds_exist(self):
        for service in model.load(ENV)["services"].values():
            if "build" in service:
                self.assertIn(service["build"]["target"], self.stages)

    def test_it_builds_with_the_packages_that_the_demo_installs(self):
        listed = subprocess.run(["bash", "-c", ". tests/install/common.sh; printf '%s\\n' \"${build_packages[@]}\""],
                                cwd=model.ROOT, capture_output=True, text=True, check=True).stdout.split()
        self.assertEqual(self.packages("build"), set(listed) | {"ca-certificates"})

    def test_it_ends_as_an_ordinary_user(self):
        words = [word for word, _ in self.stages["runtime"]]
        self.assertLess(words.index("USER"), words.index("ENTRYPOINT"))
        self.assertNotIn(dict(self.stages["runtime"])["USER"], ("root", "0"))

    def test_every_library_that_is_linked_is_installed(self):
        """On the Dockerfile's own Debian the packages of what the binary and its plugins need are those it names."""
        build = os.environ.get("PLUMBLINE_BUILD", os.path.join(model.ROOT, "build"))
        plugins = os.path.join(build, "plugins")
        files = [os.path.join(build, "plumbline"), *(os.path.join(plugins, f) for f in os.listdir(plugins) if f.endswith(".so"))]
        needed = set()
        for path in files:
            said = subprocess.run(["objdump", "-p", path], capture_output=True, text=True, check=True).stdout
            needed |= set(re.findall(r"NEEDED\s+(\S+)", said))
        with open("/etc/os-release", encoding="utf-8") as file:
            bookworm = 'VERSION_CODENAME=bookworm' in file.read()
        owners = set()
        for library in needed:
            found = subprocess.run(["dpkg-query", "--search", f"*/{library}"], capture_output=True, text=True).stdout
            owners |= {line.split(":")[0] for line in found.splitlines()}
        self.assertTrue(owners)
        if bookworm:       # elsewhere the packages have other names
            base = {"libc6", "libgcc-s1", "libstdc++6"}
            extra = {o for o in owners if o.startswith(("libc6-", "lib32", "libx32", "libn32"))}
            self.assertEqual(owners - base - extra - self.packages("runtime"), set())


class Ignored(unittest.TestCase):
    def test_what_is_secret_or_built_stays_out_of_the_image(self):
        with open(os.path.join(model.ROOT, ".dockerignore"), encoding="utf-8") as file:
            self.assertLessEqual({".env", ".git", "build"}, set(file.read().split()))

    def test_the_yaml_has_no_duplicate_keys(self):
        class Strict(yaml.SafeLoader):
            pass

        def once(loader, node):
            names = [key.value for key, _ in node.value if key.value != "<<"]
            self.assertEqual(len(names), len(set(names)), names)
            loader.flatten_mapping(node)
            return {loader.construct_object(k): loader.construct_object(v, deep=True) for k, v in node.value}

        Strict.add_constructor("tag:yaml.org,2002:map", once)
        with open(os.path.join(model.ROOT, "compose.yaml"), encoding="utf-8") as file:
            yaml.load(file, Strict)


if __name__ == "__main__":
    unittest.main()
