/**
 * Two people chat by matrix-js-sdk, the library under Element: matrix_js_sdk.js URL
 *
 * Both sync in the background with lazily loaded members and threads, as Element does; a step is done when the library
 * shows what it must. What is checked is what the library makes of the answers, not the answers.
 */

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

// The library tells the console a lot; what goes wrong shows here by what is never seen.
const print = console.log;
for (const level of ["trace", "debug", "log", "info", "warn", "error"]) console[level] = () => {};
const sdk = await import("matrix-js-sdk");
const { Direction, EventType, JoinRule, KnownMembership, MsgType, NotificationCountType, Preset } = sdk;
const url = process.argv[2];
/** How long a client may take to learn of something, in milliseconds. */
const PATIENCE = 20_000;

/** Waits until a look finds something, and returns that; the library learns of things in the background. */
async function until(what, look) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const found = look();
    if (found) return found;
    assert(Date.now() < end, `never saw ${what}`);
    await sleep(20);
  }
}

/** The request is refused so. */
async function refused(request, errcode = "M_FORBIDDEN") {
  const error = await request.then(
    (answer) => assert.fail(`wanted ${errcode}, got ${JSON.stringify(answer)}`),
    (error) => error,
  );
  assert.equal(error.errcode, errcode, String(error));
}

/** Makes an account, logs in anew, and begins to sync. What it asks waits for `line.open`. */
async function begin(name, line = { open: Promise.resolve() }) {
  const password = randomBytes(16).toString("hex");
  const anybody = sdk.createClient({ baseUrl: url });
  const username = `${name}-${randomBytes(4).toString("hex")}`;
  const account = await anybody.registerRequest({ username, password, auth: { type: "m.login.dummy" } });
  const login = (secret) =>
    anybody.loginRequest({
      type: "m.login.password",
      identifier: { type: "m.id.user", user: username },
      password: secret,
    });
  await refused(login(`${password}x`));
  const session = await login(password);
  assert.equal(session.user_id, account.user_id);
  assert.notEqual(session.device_id, account.device_id);
  const client = sdk.createClient({
    baseUrl: url,
    userId: session.user_id,
    deviceId: session.device_id,
    accessToken: session.access_token,
    timelineSupport: true,
    fetchFn: (...request) => line.open.then(() => fetch(...request)),
  });
  await client.startClient({ initialSyncLimit: 10, lazyLoadMembers: true, threadSupport: true });
  await until("the first sync", () => client.isInitialSyncComplete());
  return client;
}

/** Waits until the client has the room with that membership of its own. */
function inRoom(client, roomId, membership = KnownMembership.Join) {
  return until(`${membership} of ${client.getUserId()}`, () => {
    const room = client.getRoom(roomId);
    return room?.getMyMembership() === membership ? room : undefined;
  });
}

function ids(room) {
  return room.getLiveTimeline().getEvents().map((event) => event.getId());
}

/** Waits until the event has come to the timeline of the room. */
function hears(client, roomId, eventId) {
  return until(eventId, () => client.getRoom(roomId)?.findEventById(eventId));
}

async function says(client, roomId, body, more = {}) {
  const sent = await client.sendMessage(roomId, { msgtype: MsgType.Text, body, ...more });
  return sent.event_id;
}

async function meet(alice, bob) {
  const { room_id: roomId } = await alice.createRoom({ name: "Tea", topic: "What to drink", preset: Preset.PrivateChat });
  await refused(bob.joinRoom(roomId));
  await alice.invite(roomId, bob.getUserId());
  const invited = await inRoom(bob, roomId, KnownMembership.Invite);
  assert.equal(invited.name, "Tea");
  assert.equal(invited.getMember(bob.getUserId()).events.member.getSender(), alice.getUserId());
  await bob.joinRoom(roomId);
  const room = await inRoom(bob, roomId);
  await inRoom(alice, roomId);
  await room.loadMembersIfNeeded();
  await until("both members", () => room.getJoinedMemberCount() === 2 && room.getJoinedMembers().length === 2);
  assert.equal(room.currentState.getStateEvents(EventType.RoomTopic, "").getContent().topic, "What to drink");
  assert.equal(room.getMember(alice.getUserId()).name, "Alice");
  return roomId;
}

async function talk(alice, bob, roomId) {
  const content = { msgtype: MsgType.Text, body: "Green or black? 🍵" };
  const transaction = alice.makeTxnId();
  const sent = await alice.sendEvent(roomId, EventType.RoomMessage, content, transaction);
  const heard = await hears(bob, roomId, sent.event_id);
  assert.deepEqual([heard.getSender(), heard.getContent().body], [alice.getUserId(), content.body]);
  const reply = await says(bob, roomId, "Black.");
  await hears(alice, roomId, reply);
  // Her own message came once, though she had it already when it came back to her.
  const own = ids(alice.getRoom(roomId)).filter((id) => id === sent.event_id);
  assert.equal(own.length, 1);

  const edit = { "m.new_content": { msgtype: MsgType.Text, body: "Green!" }, "m.relates_to": {} };
  edit["m.relates_to"] = { rel_type: "m.replace", event_id: sent.event_id };
  await says(alice, roomId, "* Green!", edit);
  await until("the edit", () => heard.getContent().body === "Green!");
  await alice.redactEvent(roomId, sent.event_id, undefined, { reason: "typo" });
  await until("the redaction", () => heard.isRedacted());
  assert.equal(heard.getContent().body, undefined);
}

/** A gap in the timeline, and then all history, back to the event that made the room. */
async function page(alice, bob, line, roomId) {
  const room = bob.getRoom(roomId);
  let open;
  line.open = new Promise((resolve) => (open = resolve));
  const said = [];
  for (let number = 0; number < 30; number += 1) said.push(await says(alice, roomId, `cup ${number}`));
  open();
  await hears(bob, roomId, said.at(-1));
  assert(!ids(room).includes(said[5]), "thirty messages are more than a timeline has");

  // As a user scrolls up, over the gap and beyond it.
  const shown = new sdk.TimelineWindow(bob, room.getUnfilteredTimelineSet(), { windowLimit: 1000 });
  await shown.load(undefined, 5);
  let pages = 0;
  while (shown.canPaginate(Direction.Backward)) {
    await shown.paginate(Direction.Backward, 7);
    pages += 1;
    assert(pages < 100, "the pages have no end");
  }
  const history = shown.getEvents().map((event) => event.getId());
  assert.equal(new Set(history).size, history.length, "an event came twice");
  assert.deepEqual(history.slice(-said.length), said);
  const first = shown.getEvents()[0];
  assert.deepEqual([first.getType(), first.getSender()], [EventType.RoomCreate, alice.getUserId()]);
  assert(pages > 3, `${pages} pages`);
}

async function readAndType(alice, bob, roomId) {
  const [ofAlice, ofBob] = [alice.getRoom(roomId), bob.getRoom(roomId)];
  const first = await says(alice, roomId, "one");
  const second = await says(alice, roomId, "two");
  await hears(bob, roomId, second);
  const readUpTo = () => ofAlice.getEventReadUpTo(bob.getUserId(), true);
  await bob.sendReadReceipt(ofBob.findEventById(first));
  await until("a receipt", () => readUpTo() === first);
  assert(!ofAlice.hasUserReadEvent(bob.getUserId(), second));
  await bob.setRoomReadMarkers(roomId, first, ofBob.findEventById(second));
  await until("the next receipt", () => readUpTo() === second);
  assert(ofAlice.hasUserReadEvent(bob.getUserId(), second));
  await until("the marker", () => ofBob.getAccountData("m.fully_read")?.getContent().event_id === first);
  assert.equal(ofAlice.getAccountData("m.fully_read"), undefined, "a marker is nobody else's");

  const types = () => ofAlice.getMember(bob.getUserId()).typing;
  assert(!types());
  await bob.sendTyping(roomId, true, 20_000);
  await until("typing", types);
  await bob.sendTyping(roomId, false, 0);
  await until("the end of typing", () => !types());
}

/** Unread counts go up with what is said, and down with what is read. */
async function count(alice, bob, roomId) {
  const room = bob.getRoom(roomId);
  const counts = (notifications, highlights) =>
    until(`${notifications} unread, ${highlights} of them highlights`, () => {
      const found = [NotificationCountType.Total, NotificationCountType.Highlight];
      return found.map((kind) => room.getUnreadNotificationCount(kind)).join() === `${notifications},${highlights}`;
    });
  await counts(0, 0);
  await says(alice, roomId, "three");
  await counts(1, 0);
  const mention = await says(alice, roomId, "four, Bob", { "m.mentions": { user_ids: [bob.getUserId()] } });
  await counts(2, 1);
  const last = await says(alice, roomId, "five");
  await counts(3, 1);
  await bob.sendReadReceipt(await hears(bob, roomId, mention));
  await counts(1, 0);
  await bob.sendReadReceipt(await hears(bob, roomId, last));
  await counts(0, 0);
}

async function moderate(alice, bob, roomId) {
  const isOut = async (membership, reason) => {
    const room = await inRoom(bob, roomId, membership);
    const member = room.getMember(bob.getUserId());
    assert.deepEqual([member.membership, member.events.member.getContent().reason], [membership, reason]);
    assert.equal(member.events.member.getSender(), alice.getUserId());
    await refused(bob.sendEvent(roomId, EventType.RoomMessage, { msgtype: MsgType.Text, body: "Hm." }));
    await refused(bob.joinRoom(roomId));
  };
  const comesBack = async () => {
    await alice.invite(roomId, bob.getUserId());
    await inRoom(bob, roomId, KnownMembership.Invite);
    await bob.joinRoom(roomId);
    await inRoom(bob, roomId);
    await until("Bob is back", () => alice.getRoom(roomId).getMember(bob.getUserId()).membership === "join");
  };
  await refused(bob.kick(roomId, alice.getUserId()));
  await refused(bob.ban(roomId, alice.getUserId()));
  await alice.kick(roomId, bob.getUserId(), "no milk");
  await isOut(KnownMembership.Leave, "no milk");
  await comesBack();

  await alice.ban(roomId, bob.getUserId(), "milk again");
  await isOut(KnownMembership.Ban, "milk again");
  await refused(alice.invite(roomId, bob.getUserId()));
  await alice.unban(roomId, bob.getUserId());
  await inRoom(bob, roomId, KnownMembership.Leave);
  await comesBack();
  await hears(alice, roomId, await says(bob, roomId, "I am back."));
}

async function knock(alice, bob) {
  const { room_id: roomId } = await alice.createRoom({ name: "Coffee" });
  const room = await inRoom(alice, roomId);
  await refused(bob.knockRoom(roomId));
  await alice.sendStateEvent(roomId, EventType.RoomJoinRules, { join_rule: JoinRule.Knock }, "");
  const knocks = async (reason) => {
    await bob.knockRoom(roomId, { reason });
    await inRoom(bob, roomId, KnownMembership.Knock);
    const member = await until("the knock", () => {
      const member = room.getMember(bob.getUserId());
      return member?.membership === KnownMembership.Knock ? member : undefined;
    });
    assert.equal(member.events.member.getContent().reason, reason);
    await refused(bob.joinRoom(roomId));
  };
  await knocks("espresso?");
  await alice.kick(roomId, bob.getUserId(), "decaf");
  await inRoom(bob, roomId, KnownMembership.Leave);
  await knocks("decaf, then");
  await alice.invite(roomId, bob.getUserId());
  await inRoom(bob, roomId, KnownMembership.Invite);
  await bob.joinRoom(roomId);
  assert.equal((await inRoom(bob, roomId)).name, "Coffee");
}

/** The server replaces a room of an old version. */
async function replace(alice, bob) {
  const created = await alice.createRoom({ name: "Old kettle", preset: Preset.PublicChat, room_version: "10" });
  const old = created.room_id;
  await bob.joinRoom(old);
  const [ofAlice, ofBob] = [await inRoom(alice, old), await inRoom(bob, old)];
  assert.deepEqual([ofBob.getVersion(), ofBob.getType()], ["10", undefined]);
  await refused(bob.upgradeRoom(old, "12"));
  const { replacement_room: replacement } = await alice.upgradeRoom(old, "12");
  const tombstone = await until("the tombstone", () => ofBob.currentState.getStateEvents("m.room.tombstone", ""));
  assert.equal(tombstone.getContent().replacement_room, replacement);
  await until("the end of the old room", () => !ofBob.maySendMessage());
  await bob.joinRoom(replacement);
  const [, room] = [await inRoom(alice, replacement), await inRoom(bob, replacement)];
  assert.deepEqual([room.getVersion(), room.name], ["12", "Old kettle"]);
  assert.equal(room.findPredecessor().roomId, old);
  assert.equal(room.getCreator(), alice.getUserId());
  assert.deepEqual(bob.getRoomUpgradeHistory(replacement, true).map((room) => room.roomId), [old, replacement]);
  assert.equal(ofAlice.getMyMembership(), KnownMembership.Join);
  await hears(alice, replacement, await says(bob, replacement, "New kettle."));
}

async function leave(alice, bob, roomId) {
  await bob.leave(roomId);
  await inRoom(bob, roomId, KnownMembership.Leave);
  await until("Bob leaving", () => alice.getRoom(roomId).getMember(bob.getUserId()).membership === "leave");
  await until("one member", () => alice.getRoom(roomId).getJoinedMemberCount() === 1);
  await bob.forget(roomId);
  assert(!(await bob.getJoinedRooms()).joined_rooms.includes(roomId));
}

async function logOut(client) {
  const token = client.getAccessToken();
  await client.logout(true);
  client.setAccessToken(token);
  await refused(client.whoami(), "M_UNKNOWN_TOKEN");
}

const alice = await begin("alice");
await alice.setDisplayName("Alice");
const line = { open: Promise.resolve() };
const bob = await begin("bob", line);
assert.equal((await bob.getProfileInfo(alice.getUserId())).displayname, "Alice");
print("two accounts, logged in");
const room = await meet(alice, bob);
print("a room, an invite, a join");
await talk(alice, bob, room);
print("messages both ways, an edit, a redaction");
await page(alice, bob, line, room);
print("a gap, and pages back to the create event");
await readAndType(alice, bob, room);
print("receipts and typing");
await count(alice, bob, room);
print("unread counts, up and down");
await moderate(alice, bob, room);
print("kicked, banned, and back");
await knock(alice, bob);
print("a knock, rejected and accepted");
await replace(alice, bob);
print("a room that is replaced");
await leave(alice, bob, room);
print("leaving, and forgetting");
for (const client of [alice, bob]) await logOut(client);
print("logged out");
process.exit(0);
