"""Homeservers as processes, with certificates of an authority that exists for one run, and people who use them."""

import json
import os
import secrets
import signal
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
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
        self.state = authority.folder / kind
        self.state.mkdir()
        certificate, key = authority.certify(address)
        self.environment = dict(
            os.environ,
            SERVER_NAME=self.name,
            STATE_DIR=str(self.state),
            INSTANCE=f"peers_{kind}_{RUN}",
            CLIENT_ADDRESS=f"{address}:18008",
            REGISTRATION_SHARED_SECRET="secret",
            CA_CERT=str(authority.file),
            TLS_CERT=str(certificate),
            TLS_KEY=str(key),
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


def admin(server, *command):
    """What plexus-admin prints, and whether it was content."""
    program = [Path(os.environ["PLEXUS_BIN_DIR"]) / "plexus-admin", "--config", server.state / "plexus.toml"]
    ran = subprocess.run([*program, *command], capture_output=True, text=True)
    return ran.returncode == 0, ran.stdout + ran.stderr


def address(number):
    """An address that belongs to this run alone."""
    return f"127.{1 + os.getpid() // 250 % 250}.{1 + os.getpid() % 250}.{number}"


def run(steps, world, servers):
    """Goes through the steps until one fails; stops the servers. The exit code tells whether all held."""
    try:
        for server in servers:
            server.start()
        for step in steps:
            began = time.monotonic()
            step(world)
            print(f"ok    {step.__name__}  {time.monotonic() - began:.1f} s  {step.__doc__}", flush=True)
        return 0
    except AssertionError as error:
        print(f"FAILED  {error}", flush=True)
        for server in servers:
            log = server.state / "server.log"
            log = log.read_text(errors="replace").splitlines() if log.exists() else []
            print(f"--- the last lines of {server.kind}", *log[-30:], sep="\n", flush=True)
        return 1
    finally:
        for server in servers:
            server.stop()
