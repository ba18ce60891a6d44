"""Two people chat by matrix-nio, a client library that is not ours: matrix_nio.py URL

They register and log in, meet in rooms, talk, page through history, read, type, are kicked and banned, knock, follow a
room that is replaced, leave and log out. Each step is checked by what the library makes of the answers.
"""

import asyncio
import secrets
import sys

import nio


def check(response, kind):
    """Fails unless the response is of its good kind; nio turns refusals into other classes."""
    assert isinstance(response, kind), f"wanted {kind.__name__}, got {response!r}"
    return response


def check_refused(response, kind, errcode="M_FORBIDDEN"):
    """Fails unless the response is a refusal of that kind."""
    assert isinstance(response, kind) and response.status_code == errcode, f"wanted {errcode}, got {response!r}"


async def register(url, name):
    """Makes an account, ends that session, and logs in anew."""
    password = secrets.token_hex(16)
    client = nio.AsyncClient(url, name)
    registered = check(await client.register(name, password, "first device"), nio.RegisterResponse)
    user_id = registered.user_id
    assert user_id.startswith(f"@{name}:"), user_id
    check(await client.logout(), nio.LogoutResponse)
    await client.close()

    client = nio.AsyncClient(url, user_id)
    check_refused(await client.login(password + "x"), nio.LoginError)
    check(await client.login(password, device_name="second device"), nio.LoginResponse)
    who = check(await client.whoami(), nio.WhoamiResponse)
    assert who.user_id == user_id and who.device_id == client.device_id, repr(who)
    return client


async def sync_until(client, what, condition, timeout=20):
    """Syncs until the condition holds of a response, and returns what it found there."""

    async def look():
        while True:
            response = check(await client.sync(timeout=5000), nio.SyncResponse)
            if found := condition(response):
                return found

    try:
        return await asyncio.wait_for(look(), timeout)
    except TimeoutError:
        raise AssertionError(f"{client.user_id} never saw {what}") from None


def timeline(response, room_id):
    room = response.rooms.join.get(room_id) or response.rooms.leave.get(room_id)
    return room.timeline.events if room else []


def member_event(response, room_id, user_id, membership):
    """The last event of the timeline that gives the user that membership."""
    for event in reversed(timeline(response, room_id)):
        if isinstance(event, nio.RoomMemberEvent) and (event.state_key, event.membership) == (user_id, membership):
            return event
    return None


async def say(client, room_id, body, **more):
    content = {"msgtype": "m.text", "body": body, **more}
    return check(await client.room_send(room_id, "m.room.message", content), nio.RoomSendResponse).event_id


async def hears(client, room_id, event_id):
    """Syncs until the client has heard of an event; returns the response that told it."""

    def tells(response):
        is_told = event_id in [event.event_id for event in timeline(response, room_id)]
        return response if is_told else None

    return await sync_until(client, event_id, tells)


async def pages_back(client, room_id, start, end=None, limit=7):
    """Events of a room before a token, newest first, page by page until there are no more."""
    events = []
    for _ in range(100):
        page = check(await client.room_messages(room_id, start, end, limit=limit), nio.RoomMessagesResponse)
        assert len(page.chunk) <= limit, f"{len(page.chunk)} events, of {limit}"
        events += page.chunk
        if not page.end or page.end == end:
            return events
        assert page.end != start, f"{start} leads to itself"
        start = page.end
    raise AssertionError(f"the pages of {room_id} have no end")


async def meet(alice, bob):
    """A private room of both."""
    created = check(
        await alice.room_create(name="Tea", topic="What to drink", preset=nio.RoomPreset.private_chat),
        nio.RoomCreateResponse,
    )
    room_id = created.room_id
    check_refused(await bob.join(room_id), nio.JoinError)
    check(await alice.room_invite(room_id, bob.user_id), nio.RoomInviteResponse)
    await sync_until(bob, "the invite", lambda response: room_id in response.rooms.invite)
    assert bob.invited_rooms[room_id].inviter == alice.user_id
    assert bob.invited_rooms[room_id].name == "Tea"
    check(await bob.join(room_id), nio.JoinResponse)
    await sync_until(bob, "the room", lambda response: room_id in response.rooms.join)
    assert set(bob.rooms[room_id].users) == {alice.user_id, bob.user_id}, bob.rooms[room_id].users
    assert bob.rooms[room_id].topic == "What to drink"
    assert bob.rooms[room_id].user_name(alice.user_id) == "Alice"
    check(await alice.sync(timeout=0, full_state=True), nio.SyncResponse)
    return room_id


async def talk(alice, bob, room_id):
    # Bob waits while Alice sends.
    waiting = asyncio.create_task(
        sync_until(
            bob,
            "the message",
            lambda response: [event for event in timeline(response, room_id) if isinstance(event, nio.RoomMessageText)],
        )
    )
    content = {"msgtype": "m.text", "body": "Green or black? 🍵"}
    transaction = secrets.token_hex(8)
    sent = check(await alice.room_send(room_id, "m.room.message", content, tx_id=transaction), nio.RoomSendResponse)
    again = check(await alice.room_send(room_id, "m.room.message", content, tx_id=transaction), nio.RoomSendResponse)
    assert sent.event_id == again.event_id, "the same transaction made two events"
    [message] = await waiting
    assert (message.event_id, message.sender, message.body) == (sent.event_id, alice.user_id, content["body"])
    reply = await say(bob, room_id, "Black.")
    await hears(alice, room_id, reply)

    check(await alice.room_redact(room_id, sent.event_id, reason="typo"), nio.RoomRedactResponse)
    redaction = await sync_until(
        bob,
        "the redaction",
        lambda response: [event for event in timeline(response, room_id) if isinstance(event, nio.RedactionEvent)],
    )
    assert redaction[0].redacts == sent.event_id
    page = check(await bob.room_messages(room_id, bob.next_batch, limit=50), nio.RoomMessagesResponse)
    seen = [event.event_id for event in page.chunk]
    assert seen.index(reply) < seen.index(sent.event_id), "pages run backwards"
    redacted = next(event for event in page.chunk if event.event_id == sent.event_id)
    assert isinstance(redacted, nio.RedactedEvent), repr(redacted)
    members = check(await bob.joined_members(room_id), nio.JoinedMembersResponse)
    assert {member.user_id for member in members.members} == {alice.user_id, bob.user_id}


async def page(alice, bob, room_id):
    """A gap in the timeline, filled by pages; then all history, back to the event that made the room."""
    before = bob.next_batch
    said = [await say(alice, room_id, f"cup {number}") for number in range(30)]
    response = await hears(bob, room_id, said[-1])
    section = response.rooms.join[room_id].timeline
    assert section.limited, "thirty messages are more than a timeline has"
    told = [event.event_id for event in section.events]
    assert told == said[-len(told) :], (told, said)
    gap = [event.event_id for event in await pages_back(bob, room_id, section.prev_batch, before)]
    assert gap[::-1] + told == said, "the gap and the timeline are not what was said"

    history = await pages_back(bob, room_id, bob.next_batch)
    ids = [event.event_id for event in history]
    assert len(set(ids)) == len(ids), "an event came twice"
    assert ids[: len(said)] == said[::-1], "history is not what was said"
    create = history[-1]
    assert isinstance(create, nio.RoomCreateEvent) and create.sender == alice.user_id, repr(create)
    assert create.room_version == "12", create.room_version
    forward = check(
        await bob.room_messages(room_id, direction=nio.MessageDirection.front, limit=3), nio.RoomMessagesResponse
    )
    assert [event.event_id for event in forward.chunk] == ids[:-4:-1], "history forwards is not that backwards"


async def read_and_type(alice, bob, room_id):
    first, second = await say(alice, room_id, "one"), await say(alice, room_id, "two")
    await hears(bob, room_id, second)

    def receipts():
        """Where Bob has read up to, as Alice sees it: in the main timeline, and without regard to threads."""
        room = alice.rooms[room_id]
        of_main = room.threaded_read_receipts.get(bob.user_id, {}).get("main")
        return tuple(receipt and receipt.event_id for receipt in (of_main, room.read_receipts.get(bob.user_id)))

    check(await bob.update_receipt_marker(room_id, first), nio.UpdateReceiptMarkerResponse)
    await sync_until(alice, "a receipt", lambda _: receipts() == (first, None))
    check(await bob.room_read_markers(room_id, first, second), nio.RoomReadMarkersResponse)
    await sync_until(alice, "the next receipt", lambda _: receipts() == (first, second))
    await sync_until(bob, "the marker", lambda _: bob.rooms[room_id].fully_read_marker == first)

    check(await bob.room_typing(room_id, True, timeout=20_000), nio.RoomTypingResponse)
    await sync_until(alice, "typing", lambda _: alice.rooms[room_id].typing_users == [bob.user_id])
    check(await bob.room_typing(room_id, False), nio.RoomTypingResponse)
    await sync_until(alice, "the end of typing", lambda _: alice.rooms[room_id].typing_users == [])
    await sync_until(bob, "the end of typing", lambda _: bob.rooms[room_id].typing_users == [])


async def count(alice, bob, room_id):
    """Unread counts go up with what is said, and down with what is read."""
    room = bob.rooms[room_id]

    def counts(notifications, highlights):
        return lambda _: (room.unread_notifications, room.unread_highlights) == (notifications, highlights)

    await sync_until(bob, "all read", counts(0, 0))
    await say(alice, room_id, "three")
    await sync_until(bob, "one unread", counts(1, 0))
    mention = await say(alice, room_id, "four, Bob", **{"m.mentions": {"user_ids": [bob.user_id]}})
    await sync_until(bob, "a highlight", counts(2, 1))
    await say(alice, room_id, "five")
    await sync_until(bob, "three unread", counts(3, 1))
    check(await bob.update_receipt_marker(room_id, mention), nio.UpdateReceiptMarkerResponse)
    await sync_until(bob, "one left", counts(1, 0))
    await say(bob, room_id, "six")
    await sync_until(bob, "none, after an answer", counts(0, 0))


async def moderate(alice, bob, room_id):
    async def is_out(membership, reason):
        event = await sync_until(
            bob, membership, lambda response: member_event(response, room_id, bob.user_id, membership)
        )
        assert (event.sender, event.content.get("reason")) == (alice.user_id, reason), event.source
        sent = await bob.room_send(room_id, "m.room.message", {"msgtype": "m.text", "body": "Hm."})
        check_refused(sent, nio.RoomSendError)
        check_refused(await bob.join(room_id), nio.JoinError)

    async def comes_back():
        check(await alice.room_invite(room_id, bob.user_id), nio.RoomInviteResponse)
        check(await bob.join(room_id), nio.JoinResponse)
        await sync_until(bob, "the room", lambda response: room_id in response.rooms.join)

    check_refused(await bob.room_kick(room_id, alice.user_id), nio.RoomKickError)
    check_refused(await bob.room_ban(room_id, alice.user_id), nio.RoomBanError)
    check(await alice.room_kick(room_id, bob.user_id, "no milk"), nio.RoomKickResponse)
    unheard = await say(alice, room_id, "He is out.")
    await is_out("leave", "no milk")
    await comes_back()

    check(await alice.room_ban(room_id, bob.user_id, "milk again"), nio.RoomBanResponse)
    await is_out("ban", "milk again")
    check_refused(await alice.room_invite(room_id, bob.user_id), nio.RoomInviteError)
    check(await alice.room_unban(room_id, bob.user_id), nio.RoomUnbanResponse)
    await comes_back()
    # What was said while he was out he may read: history is shared. It came by no timeline.
    assert unheard in [event.event_id for event in await pages_back(bob, room_id, bob.next_batch)]
    back = await say(bob, room_id, "I am back.")
    await hears(alice, room_id, back)


async def knock(alice, bob):
    created = check(await alice.room_create(name="Coffee"), nio.RoomCreateResponse)
    room_id = created.room_id
    await sync_until(alice, "the room", lambda response: room_id in response.rooms.join)
    check_refused(await bob.room_knock(room_id), nio.RoomKnockError)
    check(await alice.room_enable_knocking(room_id), nio.RoomPutStateResponse)

    async def knocks(reason):
        check(await bob.room_knock(room_id, reason), nio.RoomKnockResponse)
        event = await sync_until(
            alice, "the knock", lambda response: member_event(response, room_id, bob.user_id, "knock")
        )
        assert event.content.get("reason") == reason, event.source
        check_refused(await bob.join(room_id), nio.JoinError)

    await knocks("espresso?")
    check(await alice.room_kick(room_id, bob.user_id, "decaf"), nio.RoomKickResponse)
    rejected = await sync_until(
        bob, "the rejection", lambda response: member_event(response, room_id, bob.user_id, "leave")
    )
    assert rejected.content.get("reason") == "decaf", rejected.source

    await knocks("decaf, then")
    check(await alice.room_invite(room_id, bob.user_id), nio.RoomInviteResponse)
    await sync_until(bob, "the invite", lambda response: room_id in response.rooms.invite)
    assert bob.invited_rooms[room_id].inviter == alice.user_id
    check(await bob.join(room_id), nio.JoinResponse)
    await sync_until(bob, "the room", lambda response: room_id in response.rooms.join)
    assert bob.rooms[room_id].name == "Coffee"


async def replace(alice, bob):
    """A room of an old version is replaced, in the way of the library: step by step from the client."""
    created = check(
        await alice.room_create(name="Old kettle", preset=nio.RoomPreset.public_chat, room_version="10"),
        nio.RoomCreateResponse,
    )
    old = created.room_id
    check(await bob.join(old), nio.JoinResponse)
    await sync_until(bob, "the old room", lambda response: old in response.rooms.join)
    assert bob.rooms[old].room_version == "10", bob.rooms[old].room_version
    new = check(await alice.room_upgrade(old, "11"), nio.responses.RoomUpgradeResponse).room_id
    await sync_until(bob, "the tombstone", lambda _: bob.rooms[old].replacement_room == new)
    check(await bob.join(new), nio.JoinResponse)
    await sync_until(bob, "the new room", lambda response: new in response.rooms.join)
    assert (bob.rooms[new].room_version, bob.rooms[new].name) == ("11", "Old kettle")
    assert bob.rooms[new].power_levels.get_user_level(alice.user_id) == 100
    create = check(await bob.room_get_state_event(new, "m.room.create"), nio.RoomGetStateEventResponse)
    assert create.content["predecessor"]["room_id"] == old, create.content
    await hears(alice, new, await say(bob, new, "New kettle."))


async def leave(alice, bob, room_id):
    check(await bob.room_leave(room_id), nio.RoomLeaveResponse)
    await sync_until(bob, "the end of the room", lambda response: room_id in response.rooms.leave)
    refused = await bob.room_send(room_id, "m.room.message", {"msgtype": "m.text", "body": "Hm."})
    check_refused(refused, nio.RoomSendError)
    await sync_until(alice, "Bob leaving", lambda response: member_event(response, room_id, bob.user_id, "leave"))
    assert set(alice.rooms[room_id].users) == {alice.user_id}
    check(await bob.room_forget(room_id), nio.RoomForgetResponse)
    joined = check(await bob.joined_rooms(), nio.JoinedRoomsResponse)
    assert room_id not in joined.rooms


async def log_out(client):
    token = client.access_token
    check(await client.logout(), nio.LogoutResponse)
    client.access_token = token
    check_refused(await client.whoami(), nio.WhoamiError, "M_UNKNOWN_TOKEN")
    await client.close()


async def main(url):
    suffix = secrets.token_hex(4)
    alice = await register(url, f"alice-{suffix}")
    bob = await register(url, f"bob-{suffix}")
    check(await alice.set_displayname("Alice"), nio.ProfileSetDisplayNameResponse)
    profile = check(await bob.get_profile(alice.user_id), nio.ProfileGetResponse)
    assert profile.displayname == "Alice", repr(profile)
    check(await bob.sync(timeout=0, full_state=True), nio.SyncResponse)
    print("two accounts, logged in")

    room_id = await meet(alice, bob)
    print("a room, an invite, a join")
    await talk(alice, bob, room_id)
    print("messages, both ways, and a redaction")
    await page(alice, bob, room_id)
    print("a gap, and pages back to the create event")
    await read_and_type(alice, bob, room_id)
    print("receipts and typing")
    await count(alice, bob, room_id)
    print("unread counts, up and down")
    await moderate(alice, bob, room_id)
    print("kicked, banned, and back")
    await knock(alice, bob)
    print("a knock, rejected and accepted")
    await replace(alice, bob)
    print("a room that is replaced")
    await leave(alice, bob, room_id)
    print("leaving, and forgetting")
    for client in (alice, bob):
        await log_out(client)
    print("logged out")


asyncio.run(main(sys.argv[1]))
