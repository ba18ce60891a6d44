#!/usr/bin/env python3
"""Another server, made of a listener and a key, has a user in a room of plexus-standalone: what does it get, in which order,
and what when it was away, or when Plexus is killed?

    tests/federation/fake_peer.py SCRATCH

The environment is that of the start commands in tests/servers; the Python is Synapse's, whose libraries sign events.
"""

import http.server
import json
import signal
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from canonicaljson import encode_canonical_json
from signedjson.key import encode_verify_key_base64, generate_signing_key, get_verify_key
from signedjson.sign import sign_json
from synapse.api.room_versions import RoomVersions
from synapse.crypto.event_signing import add_hashes_and_signatures

from servers import Authority, Server, address, admin, quote, run, wait_for


class Peer:
    """The other server. It keeps what it is sent, unless it is out of order."""

    def __init__(self, at, authority):
        self.name, self.key = f"{at}:18448", generate_signing_key("a")
        self.transactions, self.unexpected, self.is_down, self.refuses, self.sent = [], [], False, None, 0
        self.context = ssl.create_default_context(cafile=authority.file)
        certificate, key = authority.certify(at)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        peer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, status, body):
                text = encode_canonical_json(body)
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def do_GET(self):
                if self.path.startswith("/_matrix/key/v2/server"):
                    return self.answer(200, peer.keys())
                peer.unexpected.append(self.path)
                self.answer(404, {"errcode": "M_UNRECOGNIZED", "error": "no"})

            def do_PUT(self):
                body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
                if peer.is_down:
                    return self.answer(502, {})
                if any(peer.refuses and peer.refuses in json.dumps(pdu) for pdu in body["pdus"]):
                    return self.answer(400, {"errcode": "M_BAD_JSON", "error": "no"})
                peer.transactions.append((time.monotonic(), self.path, body))
                self.answer(200, {"pdus": {}})

        server = http.server.ThreadingHTTPServer((at, 18448), Handler)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def keys(self):
        key = encode_verify_key_base64(get_verify_key(self.key))
        answer = {
            "server_name": self.name,
            "verify_keys": {f"ed25519:{self.key.version}": {"key": key}},
            "old_verify_keys": {},
            "valid_until_ts": int(time.time() * 1000) + 86_400_000,
        }
        return sign_json(answer, self.name, self.key)

    def ask(self, server, method, path, body=None):
        """A signed request."""
        signed = {"method": method, "uri": path, "origin": self.name, "destination": server.name}
        if body is not None:
            signed["content"] = body
        [(key_id, signature)] = sign_json(signed, self.name, self.key)["signatures"][self.name].items()
        claim = f'X-Matrix origin="{self.name}",destination="{server.name}",key="{key_id}",sig="{signature}"'
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": claim, "Content-Type": "application/json"}
        request = urllib.request.Request(f"https://{server.name}{path}", data, headers, method=method)
        with urllib.request.urlopen(request, timeout=30, context=self.context) as answer:
            return json.load(answer)

    def send(self, server, pdu):
        add_hashes_and_signatures(RoomVersions.V11, pdu, self.name, self.key)
        self.sent += 1
        body = {"origin": self.name, "origin_server_ts": 1, "pdus": [pdu], "edus": []}
        answer = self.ask(server, "PUT", f"/_matrix/federation/v1/send/{self.sent}", body)
        assert list(answer["pdus"].values()) == [{}], answer

    def heard(self):
        """What was said, in the order in which it came."""
        pdus = [pdu for _, _, body in self.transactions for pdu in body["pdus"]]
        return [pdu["content"].get("body") for pdu in pdus if pdu["type"] == "m.room.message"]

    def hears(self, *texts):
        wait_for(f"the peer hears {len(texts)} messages, the last of them {texts[-1]!r}",
                 lambda: [text for text in self.heard() if text in texts] == list(texts))


class World:
    """Plexus, the peer, and a room that both are in."""

    def __init__(self, scratch):
        authority = Authority(scratch)
        self.plexus = Server("standalone", address(93), authority)
        self.peer = Peer(address(94), authority)


def join(world):
    """A user of the peer joins; it is sent what comes, at once, and nothing of before."""
    world.alice = world.plexus.user("alice")
    world.room = world.alice.ask("POST", "v3/createRoom", {"preset": "public_chat", "room_version": "11"})["room_id"]
    say(world, "before")
    bob = f"@bob:{world.peer.name}"
    state = world.alice.ask("GET", f"v3/rooms/{quote(world.room)}/state")
    ids = {event["type"]: event["event_id"] for event in state}
    world.peer.send(world.plexus, {
        "type": "m.room.member", "state_key": bob, "sender": bob, "room_id": world.room,
        "content": {"membership": "join"}, "origin_server_ts": int(time.time() * 1000), "depth": 50,
        "prev_events": [say(world, "before, too")],
        "auth_events": [ids[f"m.room.{name}"] for name in ("create", "power_levels", "join_rules")],
    })
    members = f"v3/rooms/{quote(world.room)}/joined_members"
    wait_for("alice sees bob", lambda: bob in world.alice.ask("GET", members)["joined"])
    began = time.monotonic()
    said = [say(world, f"first {number}") and f"first {number}" for number in range(60)]
    world.peer.hears(*said)
    assert world.peer.heard() == said, world.peer.heard()
    assert world.peer.transactions[0][0] - began < 2
    assert all(len(body["pdus"]) <= 50 for _, _, body in world.peer.transactions)


def ephemeral(world):
    """Who types and who has read is told; what is read privately is not."""
    path = f"v3/rooms/{quote(world.room)}"
    event, other = say(world, "read this"), say(world, "read this in private")
    world.peer.hears("read this", "read this in private")
    world.alice.ask("PUT", f"{path}/typing/{quote(world.alice.id)}", {"typing": True, "timeout": 20000})
    world.alice.ask("POST", f"{path}/receipt/m.read.private/{quote(other)}", {})
    world.alice.ask("POST", f"{path}/receipt/m.read/{quote(event)}", {})
    world.alice.ask("PUT", f"{path}/typing/{quote(world.alice.id)}", {"typing": False})

    def told():
        edus = [edu for _, _, body in world.peer.transactions for edu in body.get("edus", [])]
        typing = [edu["content"]["typing"] for edu in edus if edu["edu_type"] == "m.typing"]
        receipts = json.dumps([edu for edu in edus if edu["edu_type"] == "m.receipt"])
        assert other not in receipts, receipts
        return typing[-1:] == [False] and event in receipts

    wait_for("the peer is told", told)


def away(world):
    """What the peer missed comes in order, within two seconds of its first word, also if Plexus was killed meanwhile."""
    world.peer.is_down = True
    missed = [say(world, f"missed {number}") and f"missed {number}" for number in range(120)]
    wait_for("operators are told", lambda: f"{world.peer.name}  failing" in admin(world.plexus, "federation", "destinations")[1])
    is_content, told = admin(world.plexus, "federation", "destination", world.peer.name)
    assert is_content and world.room in told, told
    world.plexus.stop(signal.SIGKILL)
    world.plexus.start()
    world.peer.is_down, count, began = False, len(world.peer.transactions), time.monotonic()
    world.peer.ask(world.plexus, "GET", f"/_matrix/federation/v1/query/profile?user_id={quote(world.alice.id)}")
    world.peer.hears(*missed)
    assert world.peer.transactions[count][0] - began < 2, world.peer.transactions[count][0] - began
    wait_for("operators are told that all is well",
             lambda: "every server takes" in admin(world.plexus, "federation", "destinations")[1])


def killed(world):
    """What was acknowledged just before Plexus was killed comes, some of it twice, in order."""
    said = [say(world, f"said {number}") and f"said {number}" for number in range(40)]
    world.plexus.stop(signal.SIGKILL)
    world.plexus.start()
    wait_for("all came", lambda: list(dict.fromkeys(t for t in world.peer.heard() if t in said)) == said)


def devices(world):
    """Messages to devices, and changes of devices, come in order, across an outage and a kill: none is lost, none is doubled."""
    bob = f"@bob:{world.peer.name}"

    def send(number):
        body = {"messages": {bob: {"DEVICE": {"number": number}}}}
        world.alice.ask("PUT", f"v3/sendToDevice/m.test/to-device-{number}", body)

    def told(edu_type):
        edus = [edu for _, _, body in world.peer.transactions for edu in body.get("edus", [])]
        return [edu["content"] for edu in edus if edu["edu_type"] == edu_type]

    def numbers():
        # A message that comes twice has the same ID.
        messages = {edu["message_id"]: edu["messages"][bob]["DEVICE"]["number"] for edu in told("m.direct_to_device")}
        return list(messages.values())

    for number in range(20):
        send(number)
    wait_for("the peer has 20 messages", lambda: numbers() == list(range(20)))
    world.peer.is_down, changes = True, len(told("m.device_list_update"))
    for number in range(20, 140):
        send(number)
    world.alice.ask("PUT", "v3/devices/" + quote(world.alice.ask("GET", "v3/account/whoami")["device_id"]),
                    {"display_name": "renamed"})
    world.plexus.stop(signal.SIGKILL)
    world.plexus.start()
    # A client that heard nothing asks once more.
    send(139)
    world.peer.is_down = False
    world.peer.ask(world.plexus, "GET", f"/_matrix/federation/v1/query/profile?user_id={quote(world.alice.id)}")
    wait_for("the peer has all messages", lambda: len(numbers()) >= 140)
    assert numbers() == list(range(140)), numbers()
    wait_for("the peer is told of the device", lambda: len(told("m.device_list_update")) > changes)
    world.plexus.stop(signal.SIGKILL)
    world.plexus.start()
    send(140)
    wait_for("the peer has one more", lambda: 140 in numbers())
    assert numbers() == list(range(141)), numbers()


def refused(world):
    """An event that the peer cannot take is set aside; the others come."""
    world.peer.refuses = "poison"
    texts = ["poison" if number == 7 else f"around {number}" for number in range(20)]
    for text in texts:
        say(world, text)
    world.peer.hears(*[text for text in texts if text != "poison"])
    assert "poison" not in world.peer.heard()


def blocked(world):
    """A server that an operator blocks is answered nothing and sent nothing, until the block is lifted."""
    path = f"/_matrix/federation/v1/query/profile?user_id={quote(world.alice.id)}"

    def status():
        try:
            world.peer.ask(world.plexus, "GET", path)
            return 200
        except urllib.error.HTTPError as error:
            return error.code

    assert status() == 200
    is_content, told = admin(world.plexus, "federation", "block", world.peer.name, "--reason", "spam")
    assert is_content, told
    wait_for("the server is refused", lambda: status() == 403)
    said = say(world, "not for you") and "not for you"
    assert world.peer.name in admin(world.plexus, "federation", "blocks")[1]
    time.sleep(2)
    assert said not in world.peer.heard()
    is_content, told = admin(world.plexus, "federation", "unblock", world.peer.name)
    assert is_content, told
    wait_for("the server is answered", lambda: status() == 200)
    world.peer.hears(said)


def nothing_else(world):
    """The peer was asked for nothing but its keys."""
    assert world.peer.unexpected == [], world.peer.unexpected


def say(world, text):
    path = f"v3/rooms/{quote(world.room)}/send/m.room.message/{quote(text)}"
    return world.alice.ask("PUT", path, {"msgtype": "m.text", "body": text})["event_id"]


world = World(Path(sys.argv[1]).resolve())
sys.exit(run([join, ephemeral, away, killed, devices, refused, blocked, nothing_else], world, [world.plexus]))
