#!/usr/bin/env python3
"""Prints signed events of each room version from 3 to 12, made by Synapse's functions, as JSON lines.

Their event IDs, hashes, signatures and redacted forms are vectors that our own code has no part in; the key is that of
the specification's appendix "Cryptographic Test Vectors". `crates/events/tests/vectors.jsonl` is the output.
"""

import copy
import json

from signedjson.key import decode_signing_key_base64
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.crypto.event_signing import add_hashes_and_signatures, compute_event_reference_hash
from synapse.events import make_event_from_dict
from synapse.events.utils import prune_event
from unpaddedbase64 import encode_base64

KEY = decode_signing_key_base64("ed25519", "1", "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")

USER = "@alice:domain"


def events(version):
    levels = {"ban": 50, "events": {"m.room.name": 60}, "invite": 1, "notifications": {"room": 20}, "users": {}}
    redacts = "$" + "r" * 43
    create = {"room_version": version, "m.federate": True, "other": "日本語 \u0001\"\\/"}
    if int(version) < 11:
        create["creator"] = USER
    yield "m.room.create", "", create, {}
    yield "m.room.member", USER, {
        "membership": "join",
        "displayname": "Alice \U0001f600",
        "join_authorised_via_users_server": "@bob:domain",
    }, {}
    yield "m.room.member", "@carol:other", {
        "membership": "invite",
        "third_party_invite": {"display_name": "c", "signed": {"mxid": "@carol:other", "token": "t", "signatures": {}}},
    }, {}
    yield "m.room.power_levels", "", levels, {}
    yield "m.room.join_rules", "", {"join_rule": "restricted", "allow": [], "extra": None}, {}
    yield "m.room.history_visibility", "", {"history_visibility": "joined", "extra": [True, -1, 9007199254740991]}, {}
    yield "m.room.aliases", "domain", {"aliases": ["#a:domain"]}, {}
    if int(version) < 11:
        yield "m.room.redaction", None, {"reason": "spam"}, {"redacts": redacts}
    else:
        yield "m.room.redaction", None, {"reason": "spam", "redacts": redacts}, {}
    yield "m.room.message", None, {"body": "hello", "msgtype": "m.text"}, {"origin": "domain", "unknown": {"a": 1}}
    yield "X", None, {}, {"unsigned": {"age_ts": 1000000}}


def main():
    for number in range(3, 13):
        version = KNOWN_ROOM_VERSIONS[str(number)]
        for event_type, state_key, content, more in events(str(number)):
            event = {
                "auth_events": ["$" + "a" * 43] if event_type != "m.room.create" else [],
                "content": content,
                "depth": 3,
                "hashes": {},
                "origin_server_ts": 1000000,
                "prev_events": ["$" + "p" * 43] if event_type != "m.room.create" else [],
                "room_id": "!x:domain" if number < 12 else "!" + "x" * 43,
                "sender": USER,
                "signatures": {},
                "type": event_type,
                **more,
            }
            if state_key is not None:
                event["state_key"] = state_key
            if event_type == "m.room.create" and number == 12:
                del event["room_id"]
            add_hashes_and_signatures(version, event, "domain", KEY)
            made = make_event_from_dict(copy.deepcopy(event), version)
            redacted = prune_event(made).get_pdu_json()
            redacted.pop("unsigned", None)
            event_id = "$" + encode_base64(compute_event_reference_hash(made)[1], urlsafe=number > 3)
            vector = {"version": str(number), "id": event_id, "event": event, "redacted": redacted}
            print(json.dumps(vector, sort_keys=True, separators=(",", ":"), ensure_ascii=False))


main()
