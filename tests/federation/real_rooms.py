#!/usr/bin/env python3
"""plexus-standalone and Synapse share rooms, those of the one and those of the other: whatever is done in one must be so on
both, whoever is stopped or killed meanwhile.

    tests/federation/real_rooms.py SCRATCH

The environment is that of the start commands in tests/servers (PGHOST, PGUSER, PLEXUS_BIN_DIR, SYNAPSE_PYTHON), and
FEDERATION_HISTORY, the length of the longest history (200). Standard library only. Prints each step; the exit code tells whether all held.
"""

import os
import signal
import sys
import time
from pathlib import Path

from people import Person, agree
from servers import Authority, Server, address, quote, run, wait_for

BEFORE = 130
LONG = int(os.environ.get("FEDERATION_HISTORY", "200"))


class Way:
    """One direction: a room of the host's server, in which a guest of the other server is."""

    def __init__(self, name, host, guest):
        self.name, self.home, self.away = name, host, guest


class World:
    """Both servers, who is there, and the rooms in which all that happens is compared in the end."""

    def __init__(self, scratch):
        authority = Authority(scratch)
        self.plexus = Server("standalone", address(95), authority)
        self.synapse = Server("synapse", address(96), authority)
        self.ways, self.compared = [Way("plexus", self.plexus, self.synapse), Way("synapse", self.synapse, self.plexus)], []


def join(world):
    """Each side creates a room, in which much is said; then the other side joins, and both hear each other."""
    for way in world.ways:
        way.host, way.guest = Person(way.home, f"host_{way.name}"), Person(way.away, f"guest_{way.name}")
        way.room = way.host.creates(preset="public_chat", name=f"Room of {way.name}", topic="a")
        way.before = [way.host.says(way.room, f"before {number}") for number in range(BEFORE)]
        way.host.syncs()
        way.guest.syncs()
        assert way.guest.joins(way.room, way.home)["room_id"] == way.room
        way.guest.becomes(way.room, "join")
        way.host.sees(way.room, way.guest, "join")
        way.host.hears_events(way.room, way.guest.says(way.room, "I am in"))
        way.guest.hears_events(way.room, way.host.says(way.room, "so you are"))
        world.compared.append((way.room, [way.host, way.guest]))


def history(world):
    """What was said before the guest came is there for it, in order, down to the room's creation."""
    for way in world.ways:
        events = way.guest.history(way.room)
        ids = [event["event_id"] for event in reversed(events)]
        assert [event_id for event_id in ids if event_id in way.before] == way.before, (way.name, len(ids))
        assert events[-1]["type"] == "m.room.create", (way.name, events[-1])


def long_history(world):
    """A guest of Plexus pages back through a long history of a room of Synapse; all come, once, in order."""
    (way,) = (way for way in world.ways if way.home is world.synapse)
    room = way.host.creates(preset="public_chat", name="Long")
    said = [way.host.says(room, f"long ago {number}") for number in range(LONG)]
    way.guest.joins(room, way.home)
    way.host.sees(room, way.guest, "join")
    began, known = time.monotonic(), set(said)
    ids = [event["event_id"] for event in reversed(way.guest.history(room))]
    print(f"      {len(ids)} events came in {time.monotonic() - began:.1f} s", flush=True)
    assert [event_id for event_id in ids if event_id in known] == said, (len(ids), len(said))
    world.compared.append((room, [way.host, way.guest]))


def talk(world):
    """Both talk at once; nothing is lost, doubled, or out of order."""
    for way in world.ways:
        said = {person: [person.says(way.room, f"talk {number}") for number in range(20)] for person in (way.host, way.guest)}
        for person in (way.host, way.guest):
            for ids in said.values():
                person.hears_events(way.room, *ids)


def ephemeral(world):
    """Who types and who has read is told; who has read in private is not."""
    for way in world.ways:
        for one, other in ((way.host, way.guest), (way.guest, way.host)):
            path = f"v3/rooms/{quote(way.room)}"
            read, private = one.says(way.room, "read"), one.says(way.room, "read in private")
            other.hears_events(way.room, read, private)
            other.ask("PUT", f"{path}/typing/{quote(other.id)}", {"typing": True, "timeout": 30000})
            one.hears("typing", lambda: other.id in one.typing.get(way.room, []))
            other.ask("PUT", f"{path}/typing/{quote(other.id)}", {"typing": False})
            one.hears("no typing", lambda: one.typing.get(way.room) == [])
            other.ask("POST", f"{path}/receipt/m.read.private/{quote(private)}", {})
            other.ask("POST", f"{path}/receipt/m.read/{quote(read)}", {})
            one.hears("a receipt", lambda: other.id in one.receipts.get(way.room, {}).get(read, {}).get("m.read", {}))
            assert private not in one.receipts[way.room], one.receipts


def redaction(world):
    """What one redacts is redacted for the other, own events and, with power, those of others."""
    for way in world.ways:
        own, others = way.guest.says(way.room, "a slip"), way.guest.says(way.room, "an insult")
        way.host.hears_events(way.room, own, others)
        for person, event in ((way.guest, own), (way.host, others)):
            person.ask("PUT", f"v3/rooms/{quote(way.room)}/redact/{quote(event)}/{event[-8:]}", {"reason": "why"})
        for person in (way.host, way.guest):
            for event in (own, others):
                path = f"v3/rooms/{quote(way.room)}/event/{quote(event)}"
                wait_for(f"{person.id} sees {event} redacted", lambda: person.ask("GET", path)["content"] == {})


def power(world):
    """Who is given power on the other side uses it, and has it no more when it is taken."""
    for way in world.ways:
        kind = "m.room.power_levels"
        levels = way.host.content(way.room, kind)
        way.guest.sets(way.room, "m.room.topic", {"topic": "no"}, expect=403)
        way.host.sets(way.room, kind, {**levels, "users": {**levels["users"], way.guest.id: 50}})
        wait_for("the guest has power", lambda: way.guest.content(way.room, kind)["users"].get(way.guest.id) == 50)
        way.guest.sets(way.room, "m.room.topic", {"topic": "by the guest"})
        wait_for("the host sees the topic", lambda: way.host.content(way.room, "m.room.topic")["topic"] == "by the guest")
        way.host.sets(way.room, kind, levels)
        wait_for("the guest has none", lambda: way.guest.id not in way.guest.content(way.room, kind)["users"])
        way.guest.sets(way.room, "m.room.topic", {"topic": "no"}, expect=403)


def ban(world):
    """Who is banned is out on both sides and cannot come back; who is pardoned can."""
    for way in world.ways:
        way.third = third = Person(way.away, f"third_{way.name}")
        third.joins(way.room, way.home)
        way.host.sees(way.room, third, "join")
        way.host.does("ban", way.room, third, reason="spam")
        way.guest.sees(way.room, third, "ban")
        third.becomes(way.room, "leave")
        third.joins(way.room, way.home, expect=403)
        way.host.does("unban", way.room, third)
        way.guest.sees(way.room, third, "leave")
        third.joins(way.room, way.home)
        way.host.sees(way.room, third, "join")
        third.becomes(way.room, "join")
        way.host.does("kick", way.room, third)
        third.becomes(way.room, "leave")


def invite(world):
    """Invites reach the other side with what they tell of the room; they are accepted, rejected, and taken back."""
    for way in world.ways:
        way.private = room = way.host.creates(preset="private_chat", name="Private")
        other, unwilling = (Person(way.away, f"{name}_{way.name}") for name in ("invited", "unwilling"))
        for person in (way.guest, other, unwilling):
            person.syncs()
            way.host.does("invite", room, person, reason="come")
            person.becomes(room, "invite", "m.room.name")
            assert person.stripped[room]["m.room.name"]["name"] == "Private"
        unwilling.leaves(room)
        unwilling.becomes(room, "leave")
        way.host.sees(room, unwilling, "leave")
        way.host.does("kick", room, other)
        other.becomes(room, "leave")
        other.joins(room, way.home, expect=403)
        way.guest.joins(room, way.home)
        way.guest.becomes(room, "join")
        way.host.sees(room, way.guest, "join")
        # A server that is in the room already signs and hears of it, too.
        way.host.does("invite", room, way.third)
        way.third.becomes(room, "invite")
        way.third.joins(room, way.home)
        way.host.sees(room, way.third, "join")
        way.host.hears_events(room, way.third.says(room, "here I am"))
        world.compared.append((room, [way.host, way.guest, way.third]))


def knock(world):
    """A knock is heard; who knocks is let in, or turned away, or thinks better of it."""
    for way in world.ways:
        room = way.host.creates(
            preset="private_chat", name="Door",
            initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}],
        )
        way.guest.joins(room, way.home, expect=403)
        for person in (way.guest, way.third):
            person.syncs()
            person.knocks(room, way.home, "please")
            person.becomes(room, "knock", "m.room.name")
            way.host.sees(room, person, "knock")
        # Synapse withdraws a knock for itself alone; and it neither tells another server nor hears that one is turned away.
        if way.away is world.plexus:
            way.third.leaves(room)
            way.third.becomes(room, "leave")
            way.host.sees(room, way.third, "leave")
            way.third.knocks(room, way.home, "again")
            way.third.becomes(room, "knock")
            way.host.sees(room, way.third, "knock")
        way.host.does("kick", room, way.third)
        way.host.does("invite", room, way.guest)
        way.guest.becomes(room, "invite")
        way.guest.joins(room, way.home)
        way.host.sees(room, way.guest, "join")
        world.compared.append((room, [way.host, way.guest]))


def restricted(world):
    """Who is in a room may join what is open to its members; who is not may not."""
    for way in world.ways:
        rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": way.private}]}
        room = way.host.creates(
            preset="private_chat", initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": rule}]
        )
        outsider = Person(way.away, f"outsider_{way.name}")
        outsider.joins(room, way.home, expect=403)
        way.guest.joins(room, way.home)
        way.host.sees(room, way.guest, "join")
        member = way.host.state(room)["m.room.member", way.guest.id]["content"]
        assert member["join_authorised_via_users_server"] == way.host.id, member
        # The server of the guest is in the room now, yet nobody there can let others in.
        way.third.joins(room, way.home)
        way.host.sees(room, way.third, "join")
        outsider.joins(room, way.home, expect=403)
        world.compared.append((room, [way.host, way.guest, way.third]))


def restarts(world):
    """Each side is stopped and killed while the other speaks, and while it speaks itself; all is heard, in order."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        for down in (world.plexus, world.synapse):
            # Of each room: who is at the server that goes, and who is not.
            pairs = [(way.room, *((way.host, way.guest) if way.home is down else (way.guest, way.host))) for way in world.ways]
            own = [[here.says(room, f"last words {number}") for number in range(10)] for room, here, _ in pairs]
            last = [[there.says(room, "as it goes")] for room, _, there in pairs]
            down.stop(how)
            missed = [[there.says(room, f"missed {number}") for number in range(30)] for room, _, there in pairs]
            down.start()
            for (room, here, there), said, heard in zip(pairs, own, [one + more for one, more in zip(last, missed)]):
                # A word of the one that was away tells the other that it is back.
                there.hears_events(room, *said, here.says(room, "back"))
                here.hears_events(room, *heard)


def upgrade(world):
    """A room is upgraded; the other side is told where it goes on, and joins there."""
    for way in world.ways:
        old = way.host.creates(preset="public_chat", room_version="10", name="Old")
        way.guest.joins(old, way.home)
        way.host.sees(old, way.guest, "join")
        new = way.host.ask("POST", f"v3/rooms/{quote(old)}/upgrade", {"new_version": "11"})["replacement_room"]
        wait_for("the guest sees the tombstone",
                 lambda: (way.guest.content(old, "m.room.tombstone") or {}).get("replacement_room") == new)
        way.guest.joins(new, way.home)
        way.host.sees(new, way.guest, "join")
        assert way.guest.content(new, "m.room.create")["predecessor"]["room_id"] == old
        way.guest.says(new, "in the new one")
        world.compared += [(old, [way.host, way.guest]), (new, [way.host, way.guest])]


def leave(world):
    """Who leaves is out on both sides; who comes back, the last of its server, sees the state as it is now."""
    for way in world.ways:
        room = way.host.creates(preset="public_chat", topic="first")
        way.guest.joins(room, way.home)
        way.host.sees(room, way.guest, "join")
        way.guest.says(room, "goodbye")
        way.guest.leaves(room)
        way.guest.becomes(room, "leave")
        way.host.sees(room, way.guest, "leave")
        missed = [way.host.says(room, f"alone {number}") for number in range(30)]
        missed.append(way.host.sets(room, "m.room.topic", {"topic": "second"}))
        way.guest.joins(room, way.home)
        way.host.sees(room, way.guest, "join")
        assert way.guest.content(room, "m.room.topic") == {"topic": "second"}
        way.guest.hears_events(room, way.host.says(room, "welcome back"))
        way.host.hears_events(room, way.guest.says(room, "thank you"))
        # Plexus tells that there is a gap, and does not fill it: decision 42.
        world.compared.append((room, [way.host, way.guest], missed if way.away is world.plexus else ()))


def versions(world):
    """Rooms of every version that both serve work both ways."""
    for way in world.ways:
        for version in ("3", "6", "9", "12"):
            room = way.host.creates(preset="public_chat", room_version=version)
            way.guest.joins(room, way.home)
            way.host.hears_events(room, way.guest.says(room, "hello"))
            way.guest.hears_events(room, way.host.says(room, "hello to you"))
            world.compared.append((room, [way.host, way.guest]))


def agreement(world):
    """Both sides agree on the state and on the timeline of every room, event by event."""
    for room, people, *gap in world.compared:
        agree(room, people, *gap)


STEPS = [join, history, long_history, talk, ephemeral, redaction, power, ban, invite, knock, restricted, restarts, upgrade,
         leave, versions, agreement]
world = World(Path(sys.argv[1]).resolve())
sys.exit(run(STEPS, world, [world.plexus, world.synapse]))
