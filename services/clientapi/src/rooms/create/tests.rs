use ruma::{
    api::{IncomingRequestExt as _, client::room::create_room},
    room_alias_id, user_id,
};

use super::*;

fn request(body: Value) -> Request {
    let http = http::Request::post("https://example.org/_matrix/client/v3/createRoom")
        .body(serde_json::to_vec(&body).unwrap())
        .unwrap();
    let (parts, body) = http.into_parts();
    create_room::v3::Request::try_from_http_request(http::Request::from_parts(parts, &body[..]), &[]).unwrap()
}

fn planned(body: Value, version: RoomVersionId) -> Result<Plan, PlanError> {
    let alice = user_id!("@alice:example.org").to_owned();
    let alice_profile = Profile { displayname: Some("Alice".to_owned()), avatar_url: None };
    let profiles = HashMap::from([(alice.clone(), alice_profile)]);
    let request = request(body);
    let alias = room_alias_id!("#pub:example.org");
    let alias = request.room_alias_name.is_some().then_some(alias);
    plan(&request, &alice, &version, alias, &profiles)
}

/// The order of the events, as `type` or `type|state_key`.
fn keys(plan: &Plan) -> Vec<String> {
    let key = |event: &StateEvent| match event.state_key.as_str() {
        "" => event.event_type.clone(),
        state_key => format!("{}|{state_key}", event.event_type),
    };
    plan.state.iter().map(key).collect()
}

fn content<'a>(plan: &'a Plan, event_type: &str) -> &'a Value {
    &plan.state.iter().find(|event| event.event_type == event_type).unwrap().content
}

const BASE: [&str; 4] = [
    "m.room.member|@alice:example.org",
    "m.room.power_levels",
    "m.room.join_rules",
    "m.room.history_visibility",
];

#[test]
fn presets_set_their_rules() {
    let cases = [
        (json!({}), "invite", true, 0),
        (json!({ "visibility": "public" }), "public", false, 50),
        (json!({ "visibility": "public", "preset": "private_chat" }), "invite", true, 0),
        (json!({ "preset": "private_chat" }), "invite", true, 0),
        (json!({ "preset": "trusted_private_chat" }), "invite", true, 0),
        (json!({ "preset": "public_chat" }), "public", false, 50),
    ];
    for version in [RoomVersionId::V11, RoomVersionId::V12] {
        for (body, join_rule, guests_may_join, invite) in &cases {
            let plan = planned(body.clone(), version.clone()).unwrap();
            let guests = guests_may_join.then_some("m.room.guest_access");
            assert_eq!(keys(&plan), BASE.into_iter().chain(guests).collect::<Vec<_>>(), "{body}");
            assert_eq!(content(&plan, "m.room.join_rules"), &json!({ "join_rule": join_rule }), "{body}");
            if *guests_may_join {
                assert_eq!(content(&plan, "m.room.guest_access"), &json!({ "guest_access": "can_join" }));
            }
            assert_eq!(
                content(&plan, "m.room.history_visibility"),
                &json!({ "history_visibility": "shared" })
            );
            assert_eq!(content(&plan, "m.room.power_levels")["invite"], *invite, "{body}");
        }
    }
}

#[test]
fn events_come_in_the_order_of_the_specification() {
    let body = json!({
        "preset": "public_chat",
        "room_alias_name": "pub",
        "name": "The Pub",
        "topic": "Happy hour",
        "is_direct": true,
        "invite": ["@bob:example.org", "@carol:example.org", "@bob:example.org"],
        "initial_state": [
            { "type": "m.room.encryption", "content": { "algorithm": "m.megolm.v1.aes-sha2" } },
            { "type": "m.room.name", "state_key": "", "content": { "name": "overwritten" } },
            { "type": "m.room.history_visibility", "content": { "history_visibility": "joined" } },
            { "type": "org.example", "state_key": "key", "content": {} },
        ],
    });
    let plan = planned(body, RoomVersionId::V12).unwrap();
    assert_eq!(
        keys(&plan),
        [
            "m.room.member|@alice:example.org",
            "m.room.power_levels",
            "m.room.canonical_alias",
            "m.room.join_rules",
            "m.room.encryption",
            "m.room.history_visibility",
            "org.example|key",
            "m.room.name",
            "m.room.topic",
            "m.room.member|@bob:example.org",
            "m.room.member|@carol:example.org",
        ]
    );
    assert_eq!(plan.state[0], StateEvent::join(user_id!("@alice:example.org")));
    assert_eq!(content(&plan, "m.room.canonical_alias"), &json!({ "alias": "#pub:example.org" }));
    assert_eq!(content(&plan, "m.room.history_visibility")["history_visibility"], "joined");
    assert_eq!(content(&plan, "m.room.name"), &json!({ "name": "The Pub" }));
    assert_eq!(content(&plan, "m.room.topic")["topic"], "Happy hour");
    assert_eq!(content(&plan, "m.room.topic")["m.topic"]["m.text"][0]["body"], "Happy hour");
    assert_eq!(plan.state[10].content, json!({ "membership": "invite", "is_direct": true }));
}

#[test]
fn creators_are_named_as_the_room_version_wants_it() {
    let v6 = planned(json!({}), RoomVersionId::V6).unwrap();
    assert_eq!(Value::Object(v6.create), json!({ "creator": "@alice:example.org", "room_version": "6" }));

    let body = json!({ "creation_content": { "creator": "@eve:x", "room_version": "1", "m.federate": false, "x": 1 } });
    let v11 = planned(body, RoomVersionId::V11).unwrap();
    assert_eq!(Value::Object(v11.create), json!({ "room_version": "11", "m.federate": false, "x": 1 }));
    assert_eq!(content_of_users(&v11.state), json!({ "@alice:example.org": 100 }));

    let v12 = planned(json!({}), RoomVersionId::V12).unwrap();
    assert_eq!(Value::Object(v12.create), json!({ "room_version": "12" }));
    assert_eq!(content_of_users(&v12.state), json!({}));
}

fn content_of_users(state: &[StateEvent]) -> Value {
    state.iter().find(|event| event.event_type == "m.room.power_levels").unwrap().content["users"].clone()
}

#[test]
fn trusted_invitees_are_equals_of_the_creator() {
    let body = json!({
        "preset": "trusted_private_chat",
        "invite": ["@bob:example.org", "@carol:example.org"],
        "creation_content": { "additional_creators": ["@carol:example.org", "@dan:example.org"] },
    });
    let v12 = planned(body.clone(), RoomVersionId::V12).unwrap();
    assert_eq!(
        v12.create["additional_creators"],
        json!(["@carol:example.org", "@dan:example.org", "@bob:example.org"])
    );
    assert_eq!(content_of_users(&v12.state), json!({}));
    assert_eq!(content(&v12, "m.room.power_levels")["events"]["m.room.tombstone"], 150);

    let v11 = planned(body, RoomVersionId::V11).unwrap();
    assert_eq!(
        content_of_users(&v11.state),
        json!({ "@alice:example.org": 100, "@bob:example.org": 100, "@carol:example.org": 100 })
    );
    assert_eq!(content(&v11, "m.room.power_levels")["events"]["m.room.tombstone"], 100);
}

#[test]
fn power_levels_are_overridden_key_by_key() {
    let body = json!({ "power_level_content_override": {
        "events": { "m.room.name": 0 }, "invite": 100, "state_default": 200, "org.example": "kept",
    } });
    let plan = planned(body, RoomVersionId::V12).unwrap();
    let levels = content(&plan, "m.room.power_levels");
    assert_eq!(levels["events"], json!({ "m.room.name": 0, "m.room.tombstone": 201 }));
    assert_eq!((&levels["invite"], &levels["ban"]), (&json!(100), &json!(50)));
    assert_eq!(levels["org.example"], "kept");
}

#[test]
fn power_levels_of_the_initial_state_replace_the_default() {
    let body = json!({ "initial_state": [
        { "type": "m.room.power_levels", "content": { "users": { "@alice:example.org": 100 }, "invite": 7 } },
        { "type": "m.room.join_rules", "content": { "join_rule": "knock" } },
    ] });
    let plan = planned(body, RoomVersionId::V11).unwrap();
    assert_eq!(
        keys(&plan),
        [
            "m.room.member|@alice:example.org",
            "m.room.power_levels",
            "m.room.history_visibility",
            "m.room.guest_access",
            "m.room.join_rules",
        ]
    );
    assert_eq!(
        content(&plan, "m.room.power_levels"),
        &json!({ "users": { "@alice:example.org": 100 }, "invite": 7 })
    );
}

#[test]
fn wrong_options_are_refused() {
    let levels = |levels: Value| json!({ "power_level_content_override": levels });
    let malformed = [
        json!({ "creation_content": { "m.federate": "yes" } }),
        json!({ "creation_content": { "additional_creators": ["not a user"] } }),
        json!({ "creation_content": { "x": 1.5 } }),
        json!({ "creation_content": [] }),
        json!({ "initial_state": [{ "type": "m.room.name" }] }),
        json!({ "initial_state": [{ "type": "m.room.name", "content": "x" }] }),
        json!({ "initial_state": [{ "type": 1, "content": {} }] }),
        json!({ "initial_state": [{ "type": "x".repeat(300), "content": {} }] }),
        json!({ "preset": "no_such_preset" }),
        levels(json!({ "users": [] })),
        levels(json!({ "invite": {} })),
        levels(json!({ "events": { "m.room.name": 0.5 } })),
        levels(json!("x")),
    ];
    for body in malformed {
        let result = planned(body.clone(), RoomVersionId::V12);
        assert!(matches!(result, Err(PlanError::Malformed { .. })), "{body}: {result:?}");
    }
    let creator_listed = levels(json!({ "users": { "@alice:example.org": 100 } }));
    assert!(matches!(planned(creator_listed.clone(), RoomVersionId::V12), Err(PlanError::InvalidState(_))));
    planned(creator_listed, RoomVersionId::V11).unwrap();
    for version in ["1", "13", "org.example"] {
        let version = RoomVersionId::try_from(version).unwrap();
        assert!(matches!(planned(json!({}), version), Err(PlanError::UnsupportedVersion(_))));
    }
}
