"""People who are in rooms: what they do there, and what their clients hear by /sync."""

import itertools

from servers import PATIENCE, ask, quote, wait_for

FILTER = quote('{"room":{"timeline":{"limit":500}},"presence":{"not_types":["*"]}}')


class Person:
    """A user of one of the servers, with a client that remembers what it heard."""

    counter = itertools.count()

    def __init__(self, server, name):
        self.user = server.user(name)
        self.server, self.id, self.since = server, self.user.id, None
        self.timelines, self.typing, self.receipts, self.memberships, self.stripped = {}, {}, {}, {}, {}
        # Rooms that one has left are told to who has synced before.
        self.syncs()

    def ask(self, method, path, body=None, expect=200):
        return self.user.ask(method, path, body, expect)

    def tries(self, method, path, body=None):
        """The status and the answer, whatever they are."""
        return ask(f"{self.server.url}/_matrix/client/{path}", method, body, self.user.token)

    # What they do.

    def creates(self, **options):
        return self.ask("POST", "v3/createRoom", {"room_version": "11", **options})["room_id"]

    def joins(self, room, via, expect=200):
        return self.ask("POST", f"v3/join/{quote(room)}?via={quote(via.name)}&server_name={quote(via.name)}", {}, expect)

    def knocks(self, room, via, reason):
        return self.ask("POST", f"v3/knock/{quote(room)}?via={quote(via.name)}&server_name={quote(via.name)}", {"reason": reason})

    def leaves(self, room):
        self.ask("POST", f"v3/rooms/{quote(room)}/leave", {})

    def does(self, what, room, other, expect=200, **body):
        """`invite`, `kick`, `ban` or `unban`."""
        return self.ask("POST", f"v3/rooms/{quote(room)}/{what}", {"user_id": other.id, **body}, expect)

    def says(self, room, text, **content):
        path = f"v3/rooms/{quote(room)}/send/m.room.message/t{next(self.counter)}"
        return self.ask("PUT", path, {"msgtype": "m.text", "body": text, **content})["event_id"]

    def sets(self, room, kind, content, key="", expect=200):
        return self.ask("PUT", f"v3/rooms/{quote(room)}/state/{quote(kind)}/{quote(key)}", content, expect).get("event_id")

    # What they see.

    def state(self, room):
        return {(event["type"], event["state_key"]): event for event in self.ask("GET", f"v3/rooms/{quote(room)}/state")}

    def content(self, room, kind, key=""):
        return self.state(room).get((kind, key), {}).get("content")

    def membership(self, room, other):
        return (self.content(room, "m.room.member", other.id) or {}).get("membership")

    def history(self, room):
        """The whole timeline that there is for them, newest first, asked until there is no more."""
        events, begin = [], ""
        for _ in range(400):
            page = self.ask("GET", f"v3/rooms/{quote(room)}/messages?dir=b&limit=50{begin}")
            events += page["chunk"]
            if "end" not in page:
                return events
            begin = f"&from={quote(page['end'])}"
        raise AssertionError(f"{self.id}: the timeline of {room} has no end")

    def syncs(self, timeout=0):
        since = "" if self.since is None else f"&since={quote(self.since)}"
        answer = self.ask("GET", f"v3/sync?filter={FILTER}&timeout={timeout}{since}")
        self.since = answer["next_batch"]
        for kind, rooms in answer.get("rooms", {}).items():
            for room, told in rooms.items():
                self.memberships[room] = kind
                stripped = told.get("invite_state") or told.get("knock_state")
                if stripped:
                    self.stripped[room] = {event["type"]: event["content"] for event in stripped["events"]}
                self.timelines.setdefault(room, []).extend(told.get("timeline", {}).get("events", []))
                for event in told.get("ephemeral", {}).get("events", []):
                    if event["type"] == "m.typing":
                        self.typing[room] = event["content"]["user_ids"]
                    if event["type"] == "m.receipt":
                        self.receipts.setdefault(room, {}).update(event["content"])

    def hears(self, what, condition):
        """Syncs until the condition holds."""

        def attempt():
            self.syncs()
            return condition()

        wait_for(f"{self.id} hears {what}", attempt)

    def hears_events(self, room, *ids):
        """Each of them once, in this order."""
        ids = list(ids)

        def heard():
            return [event["event_id"] for event in self.timelines.get(room, []) if event["event_id"] in ids]

        self.hears(f"{len(ids)} events of {room}", lambda: len(heard()) >= len(ids))
        assert heard() == ids, f"{self.id} heard {heard()} for {ids}"

    def becomes(self, room, section, kind=None):
        """The room stands in this section of /sync."""
        self.hears(f"of {room} by {section}",
                   lambda: self.memberships.get(room) == section and (not kind or kind in self.stripped.get(room, {})))

    def sees(self, room, other, membership):
        wait_for(f"{self.id} sees that {other.id} is {membership!r} in {room}",
                 lambda: self.membership(room, other) == membership)


def seen(event):
    """What all who see an event must see alike."""
    kept = {key: event.get(key) for key in ("event_id", "type", "sender", "state_key", "content", "origin_server_ts")}
    because = event.get("unsigned", {}).get("redacted_because")
    return {**kept, "redacted_because": because and because.get("event_id")}


def agree(room, people, gap=()):
    """Their states are the same, event by event; so are their timelines, and everyone's own events stand in one order.

    `gap`: events that are not there for everybody."""

    def differences():
        first, *others = [
            (
                {key: seen(event) for key, event in person.state(room).items()},
                [event for event in person.history(room) if event["event_id"] not in gap],
            )
            for person in people
        ]
        found = []
        for person, (state, timeline) in zip(people[1:], others):
            for key in first[0].keys() | state.keys():
                if first[0].get(key) != state.get(key):
                    found.append(f"state {key}: {people[0].id} has {first[0].get(key)}, {person.id} {state.get(key)}")
            one, other = ({event["event_id"]: seen(event) for event in events} for events in (first[1], timeline))
            for event_id in one.keys() | other.keys():
                if one.get(event_id) != other.get(event_id):
                    found.append(f"timeline: {people[0].id} has {one.get(event_id)}, {person.id} {other.get(event_id)}")
            for events, who in ((first[1], people[0]), (timeline, person)):
                ids = [event["event_id"] for event in events]
                if len(ids) != len(set(ids)):
                    found.append(f"timeline: {who.id} sees some events twice")
            for sender in {event["sender"] for event in one.values()}:
                one_order, other_order = (
                    [event["event_id"] for event in events if event["sender"] == sender] for events in (first[1], timeline)
                )
                if one_order != other_order and not found:
                    found.append(f"timeline: the events of {sender} stand as {one_order} and as {other_order}")
        return found

    last = []

    def same():
        last[:] = differences()
        assert not last, "; ".join(last[:4])
        return True

    wait_for(f"all agree on {room} within {PATIENCE} s", same)
