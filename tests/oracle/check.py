#!/usr/bin/env python3
"""Checks our verdicts on random rooms with Synapse's own functions.

Reads JSON lines that `oracle` of tests/dags writes: rooms with their events, resolutions, verdicts, hashes and redacted
forms. Recomputes each with Synapse: event IDs, content hashes, redaction, authorization, state resolution. Prints
counts, and every difference with the seed that makes it again; fails if there is one that is not explained.

Two are explained, where the specification decides for us (and ruma); they count as such only if Synapse with that rule
as the specification has it comes to our result:

- In a state without `m.room.join_rules` (which only a resolution can bring about, once a room has them) Synapse takes the
  join rule to be `invite`. The specification knows no such default: of its rules for a join, none that allows applies,
  so "Otherwise, reject."
- Where power levels do not hold a property such as `state_default`, Synapse lets anybody who may send them add it, or
  remove it, whatever its default. "Power levels are inferred from defaults when not explicitly supplied", and "If the
  current value is higher than the sender's current power level, reject."
"""

import asyncio
import collections
import contextlib
import hashlib
import json
import logging
import sys

from synapse import event_auth
from synapse.api.errors import AuthError, SynapseError
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.crypto.event_signing import compute_content_hash, compute_event_reference_hash
from synapse.event_auth import check_state_independent_auth_rules
from synapse.events import make_event_from_dict
from synapse.events.utils import prune_event
from synapse.state.v2 import resolve_events_with_store
from synapse.storage.databases.main.event_federation import StateDifference
from unpaddedbase64 import encode_base64


JOIN_RULES = ("m.room.join_rules", "")

DEFAULTS = {
    "users_default": 0,
    "events_default": 0,
    "state_default": 50,
    "ban": 50,
    "redact": 50,
    "kick": 50,
    "invite": 0,
}


@contextlib.contextmanager
def by_the_specification():
    """Synapse with the two rules that it has otherwise."""
    membership, levels = event_auth._is_membership_change_allowed, event_auth._check_power_levels

    def strict_membership(room_version, event, auth_events):
        membership(room_version, event, auth_events)
        create = auth_events[("m.room.create", "")]
        creator = create.sender if room_version.implicit_room_creator else create.content["creator"]
        is_first = list(event.prev_event_ids()) == [create.event_id] and event.state_key == creator
        if event.content["membership"] == "join" and JOIN_RULES not in auth_events and not is_first:
            raise AuthError(403, "there are no join rules")

    def strict_levels(room_version, event, auth_events):
        levels(room_version, event, auth_events)
        current = auth_events.get(("m.room.power_levels", ""))
        if not current:
            return
        has = event_auth.get_user_power_level(event.sender, auth_events)
        for field, default in DEFAULTS.items():
            old, new = current.content.get(field), event.content.get(field)
            if old is None and new is None or None not in (old, new) and int(old) == int(new):
                continue
            if any(int(default if value is None else value) > has for value in (old, new)):
                raise AuthError(403, f"{field} is above the sender")

    event_auth._is_membership_change_allowed = strict_membership
    event_auth._check_power_levels = strict_levels
    try:
        yield
    finally:
        event_auth._is_membership_change_allowed, event_auth._check_power_levels = membership, levels


class Clock:
    """Resolution yields to others now and then; nobody else is here."""

    async def sleep(self, _duration):
        return None


class Store:
    """Gives events. The graph is none of its business: all events are handed to Synapse as not yet stored, so that it
    walks their auth chains itself."""

    def __init__(self, events):
        self.events = events

    async def get_events(self, event_ids, *_args, **_kwargs):
        return {event_id: self.events[event_id] for event_id in event_ids if event_id in self.events}

    async def get_auth_chain_difference(self, _room_id, state_sets, conflicted_state, _more):
        assert not any(state_sets), "all events are in flight"
        subgraph = set() if conflicted_state is not None else None
        return StateDifference(auth_difference=set(), conflicted_subgraph=subgraph)


class Checker:
    def __init__(self):
        self.counts = collections.Counter()
        self.differences = 0

    def differs(self, room, what, **facts):
        self.differences += 1
        print(f"seed {room['seed']}, version {room['version']}: {what}: {json.dumps(facts, ensure_ascii=False)}")

    async def room(self, room):
        version = KNOWN_ROOM_VERSIONS[room["version"]]
        events = {}
        for held in room["events"]:
            reason = "rejected" if held["rejected"] else None
            event = make_event_from_dict(held["json"], version, rejected_reason=reason)
            if event.event_id != held["id"]:
                self.differs(room, "event ID", ours=held["id"], theirs=event.event_id)
            events[held["id"]] = event
        self.counts["rooms"] += 1
        self.counts["events"] += len(events)
        store = Store(events)
        for event in events.values():
            try:
                await check_state_independent_auth_rules(store, event)
            except AuthError as error:
                self.differs(room, "auth events", event=event.event_id, theirs=str(error))
        for resolution in room["resolutions"]:
            await self.resolution(room, version, events, store, resolution)
        for verdict in room["verdicts"]:
            self.verdict(room, version, events, verdict)
        for hashes in room["hashes"]:
            self.hashes(room, version, hashes)

    async def resolution(self, room, version, events, store, resolution):
        self.counts["resolutions"] += 1
        states = [
            {(events[i].type, events[i].state_key): i for i in state} for state in resolution["states"]
        ]
        async def resolve():
            resolved = await resolve_events_with_store(
                Clock(), room["room_id"], version, states, dict(events), store
            )
            return sorted(resolved.values())

        ours, theirs = sorted(resolution["result"]), await resolve()
        if ours != theirs:
            with by_the_specification():
                explained = ours == await resolve()
            if explained:
                self.counts["explained"] += 1
                return
            self.differs(
                room,
                "resolution",
                only_ours=[describe(events[i]) for i in ours if i not in theirs],
                only_theirs=[describe(events[i]) for i in theirs if i not in ours],
            )

    def verdict(self, room, version, events, verdict):
        self.counts["verdicts"] += 1
        self.counts["refused"] += not verdict["allowed"]
        event = make_event_from_dict(verdict["event"], version)
        state = [events[i] for i in verdict["state"]]
        def check():
            try:
                event_auth.check_state_dependent_auth_rules(event, state)
                return None
            except (AuthError, SynapseError) as error:
                return str(error)

        why = check()
        if (why is None) != verdict["allowed"]:
            with by_the_specification():
                if (check() is None) == verdict["allowed"]:
                    self.counts["explained"] += 1
                    return
            self.differs(
                room,
                "verdict",
                event=verdict["event"],
                ours=verdict["why"] or "allowed",
                theirs=why or "allowed",
                state=[describe(event) for event in state],
            )

    def hashes(self, room, version, hashes):
        self.counts["hashes"] += 1
        event = make_event_from_dict(hashes["event"], version)
        theirs = encode_base64(compute_content_hash(hashes["event"], hashlib.sha256)[1])
        if theirs != hashes["content_hash"]:
            self.differs(room, "content hash", event=hashes["event"], theirs=theirs)
        theirs = compute_event_reference_hash(event)[1]
        theirs = "$" + encode_base64(theirs, urlsafe=version.identifier not in ("1", "2", "3"))
        if theirs != hashes["id"]:
            self.differs(room, "reference hash", event=hashes["event"], ours=hashes["id"], theirs=theirs)
        theirs = prune_event(event).get_pdu_json()
        ours = hashes["redacted"]
        # Synapse keeps what it knows to be harmless of `unsigned`; that is not part of redaction.
        theirs.pop("unsigned", None)
        ours.pop("unsigned", None)
        if theirs != ours:
            self.differs(room, "redaction", event=hashes["event"], ours=ours, theirs=theirs)


def describe(event):
    content = dict(event.get_dict()["content"])
    return f"{event.event_id} {event.type} {event.get_state_key()!r} by {event.sender}: {json.dumps(content)}"


async def main():
    logging.disable(logging.CRITICAL)
    checker = Checker()
    for line in sys.stdin:
        await checker.room(json.loads(line))
    counts = ", ".join(f"{count} {name}" for name, count in checker.counts.items())
    print(f"{counts}: {checker.differences} differences")
    if checker.differences or not checker.counts["resolutions"]:
        sys.exit(1)


asyncio.run(main())
