#!/usr/bin/env python3
"""plexus-standalone and Synapse on one machine, each by its documented configuration, with certificates of an authority
that exists for this run: they must find and believe each other.

    tests/federation/real_peers.py SCRATCH

The environment is that of the start commands in tests/servers (PGHOST, PGUSER, PLEXUS_BIN_DIR, SYNAPSE_PYTHON). Standard
library only. Prints each step; the exit code tells whether all held.
"""

import json
import os
import secrets
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = Path(sys.argv[1]).resolve()
PATIENCE = 60
RUN = f"{os.getpid():x}"


def sh(*command, **options):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)


class Authority:
    """Signs certificates for addresses."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "authority.pem"
        sh("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority of a test",
           "-keyout", folder / "authority.key", "-out", self.file)

    def certify(self, address):
        key, request, certificate = (self.folder / f"{address}.{kind}" for kind in ("key", "csr", "pem"))
        names = self.folder / f"{address}.names"
        names.write_text(f"subjectAltName=IP:{address}\n")
        sh("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={address}", "-keyout", key, "-out", request)
        sh("openssl", "x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.folder / "authority.key",
           "-CAcreateserial", "-days", "2", "-extfile", names, "-out", certificate)
        return certificate, key


class Server:
    """A homeserver as a process, which may be stopped, killed and started again."""

    def __init__(self, kind, address, authority):
        self.kind, self.address, self.authority = kind, address, authority
        self.name = f"{address}:18448"
        self.url = f"http://{address}:18008"
        self.state = SCRATCH / kind
        self.state.mkdir()
        certificate, key = authority.certify(address)
        self.environment = dict(
            os.environ,
            SERVER_NAME=self.name,
            STATE_DIR=str(self.state),
            INSTANCE=f"peers_{kind}_{RUN}",
            CLIENT_ADDRESS=f"{address}:18008",
            REGISTRATION_SHARED_SECRET="secret",
            FEDERATION_CA=str(authority.file),
            FEDERATION_CERTIFICATE=str(certificate),
            FEDERATION_KEY=str(key),
        )
        self.process = None

    def start(self):
        log = open(self.state / "server.log", "ab")
        self.process = subprocess.Popen(
            [ROOT / "tests/servers" / self.kind], env=self.environment, stdout=log, stderr=log, start_new_session=True
        )
        wait_for(f"{self.kind} answers", lambda: ask(f"{self.url}/_matrix/client/versions")[0] == 200)
        return self

    def stop(self, how=signal.SIGTERM):
        if self.process is None:
            return
        os.killpg(self.process.pid, how)
        self.process.wait(40)
        self.process = None

    def user(self, name):
        body = {"username": name, "password": secrets.token_hex(8), "auth": {"type": "m.login.dummy"}}
        status, answer = ask(f"{self.url}/_matrix/client/v3/register", "POST", body)
        assert status == 200, f"{self.kind} registers {name}: {status} {answer}"
        return User(self, answer["user_id"], answer["access_token"])


class User:
    """Somebody at one of the servers."""

    def __init__(self, server, user_id, token):
        self.server, self.id, self.token = server, user_id, token

    def ask(self, method, path, body=None, expect=200):
        status, answer = ask(f"{self.server.url}/_matrix/client/{path}", method, body, self.token)
        assert status == expect, f"{self.id}: {method} {path}: {status} {answer}"
        return answer


def quote(text):
    return urllib.parse.quote(text, safe="")


def ask(url, method="GET", body=None, token=None, context=None):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=130, context=context) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read()
        try:
            return error.code, json.loads(text)
        except ValueError:
            return error.code, {"error": text.decode(errors="replace")}
    except (OSError, ValueError) as error:
        return 0, {"error": str(error)}


def wait_for(what, condition):
    end, seen = time.monotonic() + PATIENCE, None
    while time.monotonic() < end:
        try:
            seen = condition()
        except AssertionError as error:
            seen = error
        if seen and not isinstance(seen, AssertionError):
            return
        time.sleep(0.1)
    raise AssertionError(f"not in {PATIENCE} s: {what}; last: {seen}")


STEPS = []


def step(function):
    STEPS.append(function)
    return function


class World:
    """Both servers, and who is there."""


@step
def keys(world):
    """Each server tells its keys over TLS, to whoever trusts the authority."""
    context = ssl.create_default_context(cafile=world.plexus.authority.file)
    for server in (world.plexus, world.synapse):
        status, answer = ask(f"https://{server.name}/_matrix/key/v2/server", context=context)
        assert status == 200 and answer["server_name"] == server.name and answer["verify_keys"], answer


@step
def check(world):
    """The operator's command finds the other server, step by step."""
    command = [Path(os.environ["PLEXUS_BIN_DIR"]) / "plexus-admin", "--config", world.plexus.state / "plexus.toml"]
    checked = subprocess.run([*command, "federation", "check", world.synapse.name], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    for line in ("delegation  none", "TLS", "version", "key         ed25519:", "signature   accepted"):
        assert line in checked.stdout, checked.stdout
    none = subprocess.run([*command, "federation", "destinations"], capture_output=True, text=True)
    assert "every server takes what it is sent" in none.stdout, none.stdout + none.stderr


@step
def queries(world):
    """A signed question each way: each believes the other's signature."""
    world.alice.ask("PUT", f"v3/profile/{quote(world.alice.id)}/displayname", {"displayname": "Alice"})
    answer = world.bob.ask("GET", f"v3/profile/{quote(world.alice.id)}")
    assert answer.get("displayname") == "Alice", answer


def main():
    authority = Authority(SCRATCH)
    world = World()
    # Addresses that belong to this run alone.
    address = f"127.{1 + os.getpid() // 250 % 250}.{1 + os.getpid() % 250}"
    world.plexus = Server("standalone", f"{address}.91", authority)
    world.synapse = Server("synapse", f"{address}.92", authority)
    failed = None
    try:
        for server in (world.plexus, world.synapse):
            server.start()
        world.alice, world.bob = world.plexus.user("alice"), world.synapse.user("bob")
        for function in STEPS:
            began = time.monotonic()
            function(world)
            print(f"ok    {function.__name__}  {time.monotonic() - began:.1f} s  {function.__doc__}", flush=True)
    except AssertionError as error:
        failed = error
        print(f"FAILED  {error}", flush=True)
        for server in (world.plexus, world.synapse):
            log = (server.state / "server.log").read_text(errors="replace").splitlines()
            print(f"--- the last lines of {server.kind}", *log[-30:], sep="\n", flush=True)
    finally:
        for server in (world.plexus, world.synapse):
            server.stop()
    sys.exit(1 if failed else 0)


main()
