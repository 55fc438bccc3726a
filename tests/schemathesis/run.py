"""schemathesis over pintle's own OpenAPI: every group version of /openapi/v3, each against a server of its own on loopback.

It fails on an answer of 500 or above that is not upstream's too, on one that has not the form that clients read (`checks.py`), on one that does not come
in time, on a panic in the server's log, on a connection that ends without a word, and on a server that ended. What is asked for is narrowed (`focus.py`)
so that requests get past the checks of names and options. `cargo xtask schemathesis` makes the environment and calls it.

What it leaves out:
- /watch/ paths and the parameter watch, exec, attach, portforward, log: an answer is a stream, and a watch lasts until its time is over;
- proxy: what a made-up Service, pod or node names would be dialled;
- protobuf bodies: for them there are the fuzz targets.
"""

import argparse
import base64
import collections
import json
import os
import pathlib
import re
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request

import yaml

import checks
import focus

STREAMS = re.compile(r"/watch/|/(exec|attach|portforward|proxy|log)(/|$)")
MEDIA_TYPES = re.compile(r"^(\*/\*|application/(json|yaml|.*\+json|.*\+yaml))$")
GENERATED = re.compile(r"(\d[\d,]*) generated")
# A debug build answers in milliseconds; what takes this long hangs.
ANSWER_SECONDS = 20
START_SECONDS = 30
# So that a phase without an end of its own leaves time for the process to end.
GRACE_SECONDS = 120


class Server:
    """`pintle server` with a store of its own, and the administrator's credentials as files."""

    def __init__(self, binary, folder):
        self.folder = folder
        self.log = folder / "server.log"
        kubeconfig = folder / "kubeconfig"
        command = [binary, "server", "--no-plugins", "--data-dir", folder / "data", "--listen", "127.0.0.1:0", "--kubeconfig-out", kubeconfig]
        self.process = subprocess.Popen(command, stdout=self.log.open("wb"), stderr=subprocess.STDOUT)
        end = time.monotonic() + START_SECONDS
        while not self._is_ready(kubeconfig):
            if time.monotonic() > end or self.process.poll() is not None:
                sys.exit(f"the server did not start:\n{self.log.read_text()}")
            time.sleep(0.1)

    def _is_ready(self, kubeconfig):
        if not kubeconfig.exists():
            return False
        config = yaml.safe_load(kubeconfig.read_text())
        if not config:
            return False
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.url = cluster["server"]
        self.ca, self.cert, self.key = (self.folder / name for name in ("ca.pem", "cert.pem", "key.pem"))
        self.ca.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
        self.cert.write_bytes(base64.b64decode(user["client-certificate-data"]))
        self.key.write_bytes(base64.b64decode(user["client-key-data"]))
        self.context = ssl.create_default_context(cafile=self.ca)
        self.context.load_cert_chain(self.cert, self.key)
        try:
            return self.get("/readyz") == b"ok"
        except OSError:
            return False

    def get(self, path):
        return urllib.request.urlopen(self.url + path, context=self.context, timeout=ANSWER_SECONDS).read()

    def faults(self):
        """What it counted and logged itself: schemathesis tells of a failure once for an operation."""
        if self.process.poll() is not None:
            return [f"the server ended with {self.process.returncode}"]
        counted = [line for line in self.get("/metrics").decode().splitlines() if re.match(r'apiserver_request_total\{.*code="5', line)]
        told = self.folder / checks.TOLD
        known = len(told.read_text().splitlines()) if told.exists() else 0
        found = counted if sum(int(line.split()[-1]) for line in counted) > known else []
        return found + [line for line in self.log.read_text(errors="replace").splitlines() if "panicked at" in line]

    def codes(self):
        """How often each code was answered: how far the requests came."""
        counted = collections.Counter()
        for labels, count in re.findall(r"^apiserver_request_total\{(.*)\} (\d+)$", self.get("/metrics").decode(), re.MULTILINE):
            counted[re.search(r'code="(\d+)"', labels)[1]] += int(count)
        return "answers: " + ", ".join(f"{count} x {code}" for code, count in sorted(counted.items()))

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def testable(document):
    """The document without what is no plain question and answer."""
    document["paths"] = {path: item for path, item in document["paths"].items() if not STREAMS.search(path)}
    for item in document["paths"].values():
        operations = [operation for operation in item.values() if isinstance(operation, dict)]
        for holder in [item, *operations]:
            holder["parameters"] = [p for p in holder.get("parameters", []) if p.get("name") != "watch"]
        for operation in operations:
            content = operation.get("requestBody", {}).get("content", {})
            for media in [media for media in content if not MEDIA_TYPES.match(media)]:
                del content[media]
    focus.narrow(document)
    return document


def run_group(options, path, phase):
    """The faults of one group version in one phase."""
    with tempfile.TemporaryDirectory(prefix="pintle-schemathesis-") as name:
        folder = pathlib.Path(name)
        server = Server(options.binary, folder)
        try:
            document = testable(json.loads(server.get(path)))
            if not document["paths"]:
                return [], ""
            schema = folder / "openapi.json"
            schema.write_text(json.dumps(document))
            command = [pathlib.Path(sys.executable).parent / "schemathesis", "run", schema, "--url", server.url, "--phases", phase]
            command += ["--checks", "is_no_fault,has_the_form_that_clients_read", "--request-timeout", ANSWER_SECONDS, "--continue-on-failure", "--warnings", "off"]
            command += ["--tls-verify", server.ca, "--request-cert", server.cert, "--request-cert-key", server.key, "--suppress-health-check", "all"]
            command += ["--seed", options.seed, "--max-time", options.seconds, "--no-color", "--generation-database", "none"]
            environment = {**os.environ, "SCHEMATHESIS_HOOKS": checks.__file__}
            run = subprocess.run(list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, timeout=options.seconds + GRACE_SECONDS)
            faults = server.faults()
            if not GENERATED.search(run.stdout):
                faults.append("nothing was asked")
            elif run.returncode != 0:
                faults.append(f"schemathesis ended with {run.returncode}")
            return faults, run.stdout + run.stderr + (server.codes() if server.process.poll() is None else "")
        finally:
            server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("group", nargs="*", help="api/v1, apis/apps/v1, ...; all without")
    parser.add_argument("--phases", default="coverage,fuzzing")
    parser.add_argument("--seconds", type=int, default=60, help="the most for one phase of one group version")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("target/schemathesis/report"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pintle-schemathesis-") as name:
        server = Server(options.binary, pathlib.Path(name))
        paths = sorted("/openapi/v3/" + group for group in json.loads(server.get("/openapi/v3"))["paths"])
        server.stop()
    wanted = ["/openapi/v3/" + group for group in options.group]
    failed = False
    for phase in options.phases.split(","):
        for path in wanted or paths:
            start = time.monotonic()
            faults, said = run_group(options, path, phase)
            group = path.removeprefix("/openapi/v3/")
            (options.out / f"{phase}-{group.replace('/', '.')}.txt").write_text(said)
            cases = GENERATED.search(said)
            print(f"{phase:9} {group:45} {cases[1] if cases else '?':>8} cases {time.monotonic() - start:6.0f} s  {'; '.join(faults) or 'ok'}", flush=True)
            failed |= bool(faults)
    print(f"seed {options.seed}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
