"""Two people chat by matrix-nio, a client library that is not ours: matrix_nio.py URL

Registers, logs in, creates, invites, joins, sends, syncs, redacts, pages, leaves and logs out, and checks each step.
"""

import asyncio
import secrets
import sys

import nio


def check(response, kind):
    """Fails unless the response is of its good kind; nio turns refusals into other classes."""
    assert isinstance(response, kind), f"wanted {kind.__name__}, got {response!r}"
    return response


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
    refused = await client.login(password + "x")
    assert isinstance(refused, nio.LoginError) and refused.status_code == "M_FORBIDDEN", repr(refused)
    check(await client.login(password, device_name="second device"), nio.LoginResponse)
    who = check(await client.whoami(), nio.WhoamiResponse)
    assert who.user_id == user_id and who.device_id == client.device_id, repr(who)
    return client


async def sync_until(client, what, condition, timeout=20):
    """Syncs until the condition holds of a response, and returns that response."""

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
    room = response.rooms.join.get(room_id)
    return room.timeline.events if room else []


async def main(url):
    suffix = secrets.token_hex(4)
    alice = await register(url, f"alice-{suffix}")
    bob = await register(url, f"bob-{suffix}")
    check(await alice.set_displayname("Alice"), nio.ProfileSetDisplayNameResponse)
    profile = check(await bob.get_profile(alice.user_id), nio.ProfileGetResponse)
    assert profile.displayname == "Alice", repr(profile)
    check(await bob.sync(timeout=0, full_state=True), nio.SyncResponse)
    print("two accounts, logged in")

    created = check(
        await alice.room_create(name="Tea", topic="What to drink", preset=nio.RoomPreset.private_chat),
        nio.RoomCreateResponse,
    )
    room_id = created.room_id
    refused = await bob.join(room_id)
    assert isinstance(refused, nio.JoinError) and refused.status_code == "M_FORBIDDEN", repr(refused)
    check(await alice.room_invite(room_id, bob.user_id), nio.RoomInviteResponse)
    await sync_until(bob, "the invite", lambda response: room_id in response.rooms.invite)
    assert bob.invited_rooms[room_id].inviter == alice.user_id
    assert bob.invited_rooms[room_id].name == "Tea"
    check(await bob.join(room_id), nio.JoinResponse)
    await sync_until(bob, "the room", lambda response: room_id in response.rooms.join)
    assert set(bob.rooms[room_id].users) == {alice.user_id, bob.user_id}, bob.rooms[room_id].users
    assert bob.rooms[room_id].topic == "What to drink"
    assert bob.rooms[room_id].user_name(alice.user_id) == "Alice"
    print("a room, an invite, a join")

    check(await alice.sync(timeout=0, full_state=True), nio.SyncResponse)
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
    reply = check(
        await bob.room_send(room_id, "m.room.message", {"msgtype": "m.text", "body": "Black."}), nio.RoomSendResponse
    )
    await sync_until(
        alice,
        "the reply",
        lambda response: reply.event_id in [event.event_id for event in timeline(response, room_id)],
    )
    print("messages, both ways")

    check(await alice.room_redact(room_id, sent.event_id, reason="typo"), nio.RoomRedactResponse)
    redaction = await sync_until(
        bob,
        "the redaction",
        lambda response: [event for event in timeline(response, room_id) if isinstance(event, nio.RedactionEvent)],
    )
    assert redaction[0].redacts == sent.event_id
    page = check(
        await bob.room_messages(room_id, bob.next_batch, direction=nio.MessageDirection.back, limit=50),
        nio.RoomMessagesResponse,
    )
    seen = [event.event_id for event in page.chunk]
    assert seen.index(reply.event_id) < seen.index(sent.event_id), "pages run backwards"
    redacted = next(event for event in page.chunk if event.event_id == sent.event_id)
    assert isinstance(redacted, nio.RedactedEvent), repr(redacted)
    members = check(await bob.joined_members(room_id), nio.JoinedMembersResponse)
    assert {member.user_id for member in members.members} == {alice.user_id, bob.user_id}
    print("a redaction, and history")

    check(await bob.room_leave(room_id), nio.RoomLeaveResponse)
    await sync_until(bob, "the end of the room", lambda response: room_id in response.rooms.leave)
    refused = await bob.room_send(room_id, "m.room.message", {"msgtype": "m.text", "body": "Hm."})
    assert isinstance(refused, nio.RoomSendError) and refused.status_code == "M_FORBIDDEN", repr(refused)
    await sync_until(
        alice,
        "Bob leaving",
        lambda response: any(
            isinstance(event, nio.RoomMemberEvent) and event.membership == "leave" and event.state_key == bob.user_id
            for event in timeline(response, room_id)
        ),
    )
    assert set(alice.rooms[room_id].users) == {alice.user_id}
    check(await bob.room_forget(room_id), nio.RoomForgetResponse)
    joined = check(await bob.joined_rooms(), nio.JoinedRoomsResponse)
    assert room_id not in joined.rooms
    print("leaving, and forgetting")

    for client in (alice, bob):
        token = client.access_token
        check(await client.logout(), nio.LogoutResponse)
        client.access_token = token
        refused = await client.whoami()
        assert isinstance(refused, nio.WhoamiError) and refused.status_code == "M_UNKNOWN_TOKEN", repr(refused)
        await client.close()
    print("logged out")


asyncio.run(main(sys.argv[1]))
