//! [Server-side key backups](https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups)

use serde_json::{Value, json};

use crate::{
    actor::User,
    server::Server,
    wire::{Json as _, Request},
};

tests![
    nobody_begins_with_a_backup,
    a_version_is_made_and_read,
    the_last_version_is_the_current_one,
    the_data_of_a_version_are_replaced,
    another_algorithm_is_refused,
    the_version_of_the_body_is_that_of_the_path,
    a_deleted_version_is_not_found,
    numbers_are_not_given_out_again,
    an_unknown_version_is_not_found,
    keys_of_an_unknown_version_are_not_found,
    the_backup_of_somebody_else_is_not_found,
    keys_are_put_and_read_in_all_three_ways,
    a_missing_session_is_not_found_but_a_missing_room_is_empty,
    an_old_version_takes_no_keys_but_can_be_read,
    the_better_key_of_a_session_is_kept,
    the_etag_changes_with_what_is_stored,
    the_count_is_the_number_of_sessions,
    keys_are_deleted_in_all_three_ways,
    a_missing_version_is_refused,
    a_version_without_its_fields_is_refused,
    a_key_without_its_fields_is_refused,
    a_key_of_the_wrong_types_is_refused,
    many_keys_come_back,
];

const ALGORITHM: &str = "m.megolm_backup.v1.curve25519-aes-sha2";
const ROOM: &str = "!room:example.org";

fn auth_data(key: &str) -> Value {
    json!({ "public_key": key, "signatures": {} })
}

/// A key of a session.
fn key(is_verified: bool, first_message_index: u64, forwarded_count: u64) -> Value {
    json!({
        "first_message_index": first_message_index,
        "forwarded_count": forwarded_count,
        "is_verified": is_verified,
        "session_data": { "ciphertext": "c", "ephemeral": "e", "mac": "m" },
    })
}

impl User {
    /// `POST /room_keys/version`
    fn makes_backup(&self) -> Request {
        self.post("/room_keys/version", json!({ "algorithm": ALGORITHM, "auth_data": auth_data("one") }))
    }

    /// Makes a backup; returns its version.
    async fn backup(&self) -> String {
        self.makes_backup().await.ok().text("/version")
    }

    /// `GET /room_keys/version/{version}`
    fn reads_backup(&self, version: &str) -> Request {
        self.get(path!("/room_keys/version/{}", version))
    }

    /// `PUT /room_keys/keys/{roomId}/{sessionId}`
    fn backs_up(&self, version: &str, session: &str, key: Value) -> Request {
        self.put(path!("/room_keys/keys/{}/{}", ROOM, session), key).query("version", version)
    }

    /// `GET /room_keys/keys/{roomId}/{sessionId}`
    fn reads_key(&self, version: &str, session: &str) -> Request {
        self.get(path!("/room_keys/keys/{}/{}", ROOM, session)).query("version", version)
    }
}

async fn nobody_begins_with_a_backup(server: Server) {
    let alice = server.user("alice").await;
    alice.get("/room_keys/version").await.refused(404, "M_NOT_FOUND");
}

async fn a_version_is_made_and_read(server: Server) {
    let alice = server.user("alice").await;
    let version = alice.backup().await;
    let found = alice.reads_backup(&version).await.ok();
    assert_eq!(found["algorithm"], ALGORITHM);
    assert_eq!(found["auth_data"], auth_data("one"));
    assert_eq!(found["version"], version);
    assert_eq!(found["count"], 0);
    assert!(found["etag"].is_string(), "{found}");
    assert_eq!(alice.get("/room_keys/version").await.ok(), found);
}

async fn the_last_version_is_the_current_one(server: Server) {
    let alice = server.user("alice").await;
    let (first, second) = (alice.backup().await, alice.backup().await);
    assert_ne!(first, second);
    assert_eq!(alice.get("/room_keys/version").await.ok()["version"], second);
    assert_eq!(alice.reads_backup(&first).await.ok()["version"], first);
}

async fn the_data_of_a_version_are_replaced(server: Server) {
    let alice = server.user("alice").await;
    let version = alice.backup().await;
    for (told, data) in [(Some(&version), "two"), (None, "three")] {
        let mut body = json!({ "algorithm": ALGORITHM, "auth_data": auth_data(data) });
        if let Some(told) = told {
            body["version"] = json!(told);
        }
        let path = path!("/room_keys/version/{}", version);
        assert_eq!(alice.put(path, body).await.ok(), json!({}));
        assert_eq!(alice.reads_backup(&version).await.ok()["auth_data"], auth_data(data));
    }
}

async fn another_algorithm_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let version = alice.backup().await;
    let body = json!({ "algorithm": "org.example.other", "auth_data": auth_data("two") });
    alice.put(path!("/room_keys/version/{}", version), body).await.refused(400, "M_INVALID_PARAM");
    assert_eq!(alice.reads_backup(&version).await.ok()["auth_data"], auth_data("one"));
}

async fn the_version_of_the_body_is_that_of_the_path(server: Server) {
    let alice = server.user("alice").await;
    let version = alice.backup().await;
    let body = json!({ "algorithm": ALGORITHM, "auth_data": auth_data("two"), "version": "12345" });
    alice.put(path!("/room_keys/version/{}", version), body).await.refused(400, "M_INVALID_PARAM");
}

async fn a_deleted_version_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    let (first, second) = (alice.backup().await, alice.backup().await);
    alice.backs_up(&second, "s", key(true, 0, 0)).await.ok();
    assert_eq!(alice.delete(path!("/room_keys/version/{}", second)).await.ok(), json!({}));
    alice.reads_backup(&second).await.refused(404, "M_NOT_FOUND");
    alice.get("/room_keys/keys").query("version", &second).await.refused(404, "M_NOT_FOUND");
    alice.delete("/room_keys/keys").query("version", &second).await.refused(404, "M_NOT_FOUND");
    alice.backs_up(&second, "s", key(true, 0, 0)).await.refused(404, "M_NOT_FOUND");
    let body = json!({ "algorithm": ALGORITHM, "auth_data": auth_data("two") });
    alice.put(path!("/room_keys/version/{}", second), body).await.refused(404, "M_NOT_FOUND");
    assert_eq!(alice.get("/room_keys/version").await.ok()["version"], first);
    alice.backs_up(&first, "s", key(true, 0, 0)).await.ok();
}

async fn numbers_are_not_given_out_again(server: Server) {
    let alice = server.user("alice").await;
    let first = alice.backup().await;
    alice.delete(path!("/room_keys/version/{}", first)).await.ok();
    let second = alice.backup().await;
    assert_ne!(first, second);
    alice.reads_backup(&first).await.refused(404, "M_NOT_FOUND");
}

async fn an_unknown_version_is_not_found(server: Server) {
    let alice = server.user("alice").await;
    alice.backup().await;
    let body = json!({ "algorithm": ALGORITHM, "auth_data": auth_data("two") });
    alice.reads_backup("98765").await.refused(404, "M_NOT_FOUND");
    alice.put("/room_keys/version/98765", body).await.refused(404, "M_NOT_FOUND");
    alice.delete("/room_keys/version/98765").await.refused(404, "M_NOT_FOUND");
}

async fn keys_of_an_unknown_version_are_not_found(server: Server) {
    let alice = server.user("alice").await;
    let rooms = json!({ "rooms": { ROOM: { "sessions": { "s": key(true, 0, 0) } } } });
    for version in ["1", "98765"] {
        let with_version = |request: Request| request.query("version", version);
        with_version(alice.put("/room_keys/keys", rooms.clone())).await.refused(404, "M_NOT_FOUND");
        with_version(alice.get("/room_keys/keys")).await.refused(404, "M_NOT_FOUND");
        with_version(alice.delete("/room_keys/keys")).await.refused(404, "M_NOT_FOUND");
        alice.backs_up(version, "s", key(true, 0, 0)).await.refused(404, "M_NOT_FOUND");
        alice.reads_key(version, "s").await.refused(404, "M_NOT_FOUND");
    }
}

async fn the_backup_of_somebody_else_is_not_found(server: Server) {
    let (alice, bob) = server.pair().await;
    let version = alice.backup().await;
    alice.backs_up(&version, "s", key(true, 0, 0)).await.ok();
    bob.reads_backup(&version).await.refused(404, "M_NOT_FOUND");
    bob.reads_key(&version, "s").await.refused(404, "M_NOT_FOUND");
    bob.delete(path!("/room_keys/version/{}", version)).await.refused(404, "M_NOT_FOUND");
    alice.reads_key(&version, "s").await.ok();
}

async fn keys_are_put_and_read_in_all_three_ways(server: Server) {
    let alice = server.user("alice").await;
    let version = alice.backup().await;
    let with_version = |request: Request| request.query("version", &version);
    let other = "!other:example.org";
    let rooms = json!({ "rooms": { other: { "sessions": { "a": key(false, 1, 2) } } } });
    let sessions = json!({ "sessions": { "b/c": key(true, 0, 0), "d": key(false, 7, 0) } });
    let put = with_version(alice.put("/room_keys/keys", rooms)).await.ok();
    assert_eq!(put["count"], 1);
    assert!(put["etag"].is_string(), "{put}");
    let path = path!("/room_keys/keys/{}", ROOM);
    assert_eq!(with_version(alice.put(path.clone(), sessions.clone())).await.ok()["count"], 3);
    assert_eq!(alice.backs_up(&version, "e", key(true, 3, 0)).await.ok()["count"], 4);
    let mut of_room = sessions;
    of_room["sessions"]["e"] = key(true, 3, 0);
    assert_eq!(with_version(alice.get(path)).await.ok(), of_room);
    let all = with_version(alice.get("/room_keys/keys")).await.ok();
    assert_eq!(all, json!({ "rooms": { ROOM: of_room, other: { "sessions": { "a": key(false, 1, 2) } } } }));
    assert_eq!(alice.reads_key(&version, "b/c").await.ok(), key(true, 0, 0));
}

async fn a_missing_session_is_not_found_but_a_missing_room_is_empty(server: Server) {
    let alice = server.user("alice").await;
    let version = alice.backup().await;
    alice.reads_key(&version, "s").await.refused(404, "M_NOT_FOUND");
    let room = alice.get(path!("/room_keys/keys/{}", ROOM)).query("version", &version);
    assert_eq!(room.await.ok(), json!({ "sessions": {} }));
    let all = alice.get("/room_keys/keys").query("version", &version);
    assert_eq!(all.await.ok(), json!({ "rooms": {} }));
}

async fn an_old_version_takes_no_keys_but_can_be_read(server: Server) {
    let alice = server.user("alice").await;
    let first = alice.backup().await;
    alice.backs_up(&first, "s", key(true, 0, 0)).await.ok();
    let second = alice.backup().await;
    let answer = alice.backs_up(&first, "t", key(true, 0, 0)).await;
    assert_eq!(answer.body["current_version"], second, "{answer}");
    answer.refused(403, "M_WRONG_ROOM_KEYS_VERSION");
    assert_eq!(alice.reads_key(&first, "s").await.ok(), key(true, 0, 0));
    alice.reads_key(&second, "s").await.refused(404, "M_NOT_FOUND");
}

async fn the_better_key_of_a_session_is_kept(server: Server) {
    let alice = server.user("alice").await;
    let version = alice.backup().await;
    // Each is better than all before it.
    let steps = [
        key(false, 5, 5),
        key(false, 5, 4),
        key(false, 4, 9),
        key(true, 9, 9),
        key(true, 9, 8),
        key(true, 3, 9),
    ];
    for (better, step) in steps.iter().enumerate() {
        alice.backs_up(&version, "s", step.clone()).await.ok();
        for worse in &steps[..better] {
            alice.backs_up(&version, "s", worse.clone()).await.ok();
            assert_eq!(alice.reads_key(&version, "s").await.ok(), *step, "{worse} replaced it");
        }
        // Of equal ones, the one that is there stays.
        let mut equal = step.clone();
        equal["session_data"]["mac"] = json!("another");
        alice.backs_up(&version, "s", equal).await.ok();
        assert_eq!(alice.reads_key(&version, "s").await.ok(), *step);
    }
}

async fn the_etag_changes_with_what_is_stored(server: Server) {
    let alice = server.user("alice").await;
    let version = alice.backup().await;
    let empty = alice.reads_backup(&version).await.ok().text("/etag");
    let first = alice.backs_up(&version, "s", key(true, 1, 0)).await.ok().text("/etag");
    let same = alice.backs_up(&version, "s", key(true, 1, 0)).await.ok().text("/etag");
    let better = alice.backs_up(&version, "s", key(true, 0, 0)).await.ok().text("/etag");
    assert_eq!(first, same);
    assert!(empty != first && first != better && empty != better);
    assert_eq!(alice.reads_backup(&version).await.ok()["etag"], better);
}

async fn the_count_is_the_number_of_sessions(server: Server) {
    let alice = server.user("alice").await;
    let version = alice.backup().await;
    for (session, count) in [("a", 1), ("b", 2), ("a", 2), ("c", 3)] {
        assert_eq!(alice.backs_up(&version, session, key(true, 1, 0)).await.ok()["count"], count);
        assert_eq!(alice.reads_backup(&version).await.ok()["count"], count);
    }
}

async fn keys_are_deleted_in_all_three_ways(server: Server) {
    let alice = server.user("alice").await;
    let version = alice.backup().await;
    let with_version = |request: Request| request.query("version", &version);
    let room = || json!({ "sessions": { "a": key(true, 0, 0), "b": key(true, 0, 0) } });
    let rooms =
        json!({ "rooms": { ROOM: room(), "!other:example.org": room(), "!third:example.org": room() } });
    let put = with_version(alice.put("/room_keys/keys", rooms)).await.ok();
    let one = with_version(alice.delete(path!("/room_keys/keys/{}/{}", ROOM, "a"))).await.ok();
    assert_eq!((one["count"].clone(), one["etag"] != put["etag"]), (json!(5), true));
    alice.reads_key(&version, "a").await.refused(404, "M_NOT_FOUND");
    alice.reads_key(&version, "b").await.ok();
    let of_room = with_version(alice.delete(path!("/room_keys/keys/{}", "!other:example.org"))).await.ok();
    assert_eq!(of_room["count"], 3);
    let all = with_version(alice.delete("/room_keys/keys")).await.ok();
    assert_eq!(all["count"], 0);
    assert_eq!(with_version(alice.get("/room_keys/keys")).await.ok(), json!({ "rooms": {} }));
    // What was there before is not there again.
    assert_eq!(alice.backs_up(&version, "c", key(true, 0, 0)).await.ok()["count"], 1);
    let left = with_version(alice.get("/room_keys/keys")).await.ok();
    assert_eq!(left, json!({ "rooms": { ROOM: { "sessions": { "c": key(true, 0, 0) } } } }));
}

async fn a_missing_version_is_refused(server: Server) {
    let alice = server.user("alice").await;
    alice.backup().await;
    alice.get("/room_keys/keys").await.refused(400, "M_MISSING_PARAM");
    alice.delete("/room_keys/keys").await.refused(400, "M_MISSING_PARAM");
    alice.put("/room_keys/keys", json!({ "rooms": {} })).await.refused(400, "M_MISSING_PARAM");
}

async fn a_version_without_its_fields_is_refused(server: Server) {
    let alice = server.user("alice").await;
    for body in [
        json!({}),
        json!({ "algorithm": ALGORITHM }),
        json!({ "auth_data": {} }),
        json!({ "algorithm": 1, "auth_data": {} }),
        json!({ "algorithm": ALGORITHM, "auth_data": [] }),
    ] {
        let answer = alice.post("/room_keys/version", body).await;
        answer.refused_as(&[(400, "M_BAD_JSON"), (400, "M_MISSING_PARAM"), (400, "M_INVALID_PARAM")]);
    }
    alice.get("/room_keys/version").await.refused(404, "M_NOT_FOUND");
}

/// What a malformed key is answered with.
const MALFORMED: &[(u16, &str)] = &[(400, "M_BAD_JSON"), (400, "M_MISSING_PARAM"), (400, "M_INVALID_PARAM")];

async fn a_key_without_its_fields_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let version = alice.backup().await;
    for field in ["first_message_index", "forwarded_count", "is_verified", "session_data"] {
        let mut without = key(true, 0, 0);
        without.as_object_mut().expect("a key is an object").remove(field);
        alice.backs_up(&version, "s", without.clone()).await.refused_as(MALFORMED);
        let room = json!({ "sessions": { "s": without } });
        let request = alice.put(path!("/room_keys/keys/{}", ROOM), room).query("version", &version);
        request.await.refused_as(MALFORMED);
    }
    let all = alice.get("/room_keys/keys").query("version", &version);
    assert_eq!(all.await.ok(), json!({ "rooms": {} }));
}

async fn a_key_of_the_wrong_types_is_refused(server: Server) {
    let alice = server.user("alice").await;
    let version = alice.backup().await;
    for (field, value) in [
        ("is_verified", json!("true")),
        ("is_verified", json!(1)),
        ("first_message_index", json!("0")),
        ("first_message_index", json!(-1)),
        ("forwarded_count", json!(null)),
        ("forwarded_count", json!(0.5)),
    ] {
        let mut wrong = key(true, 0, 0);
        wrong[field] = value;
        alice.backs_up(&version, "s", wrong).await.refused_as(MALFORMED);
    }
    alice.reads_key(&version, "s").await.refused(404, "M_NOT_FOUND");
}

async fn many_keys_come_back(server: Server) {
    let alice = server.user("alice").await;
    let version = alice.backup().await;
    let mut wanted = json!({ "rooms": {} });
    for room in 0..3 {
        let sessions: serde_json::Map<String, Value> =
            (0..500).map(|number| (format!("session{number}"), key(true, number, 0))).collect();
        wanted["rooms"][format!("!{room}:example.org")] = json!({ "sessions": sessions });
    }
    let put = alice.put("/room_keys/keys", wanted.clone()).query("version", &version).await.ok();
    assert_eq!(put["count"], 1_500);
    let all = alice.get("/room_keys/keys").query("version", &version);
    assert_eq!(all.await.ok(), wanted);
}
