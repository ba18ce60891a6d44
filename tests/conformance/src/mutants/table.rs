//! The mutants.

mod attention;
mod history;
mod sliding;

use super::{
    Mutant,
    change::Change::{
        self, Allow, Double, Drop, DropFirst, DropHeader, DropLast, Errcode, Fail, Ignore, IgnoreField, Lose,
        LoseConfirmed, Repeat, Reverse, Set, SetField, Status,
    },
};

/// Operations, and what each mutant of them changes.
pub(super) fn mutants() -> Vec<Mutant> {
    let groups =
        own().into_iter().chain(attention::groups()).chain(history::groups()).chain(sliding::groups());
    let mutants = groups
        .flat_map(|(operation, changes)| changes.into_iter().map(move |change| Mutant { operation, change }));
    mutants.collect()
}

/// An operation, and changes of it.
type Group = (&'static str, Vec<Change>);

fn own() -> Vec<Group> {
    vec![
        ("*", standards()),
        ("getVersions", vec![Drop("/versions")]),
        (
            "getCapabilities",
            vec![
                Drop("/capabilities/m.room_versions"),
                Set("/capabilities/m.room_versions/default", "\"1\""),
                Set("/capabilities/m.room_versions/available", r#"{"1":"stable","no.such":"stable"}"#),
            ],
        ),
        ("register", register()),
        (
            "checkUsernameAvailability",
            vec![
                Errcode("M_USER_IN_USE", "M_EXCLUSIVE"),
                Set("/available", "false"),
                Allow(400, r#"{"available":true}"#),
            ],
        ),
        ("getLoginFlows", vec![DropLast("/flows"), Drop("/flows")]),
        ("login", login()),
        (
            "refresh",
            vec![Drop("/access_token"), Errcode("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"), Status(400, 200)],
        ),
        ("logout", vec![Lose("{}")]),
        ("logout_all", vec![Lose("{}")]),
        ("getTokenOwner", token_owner()),
        ("changePassword", vec![LoseConfirmed("{}"), IgnoreField("logout_devices"), Drop("/flows")]),
        (
            "deactivateAccount",
            vec![
                LoseConfirmed(r#"{"id_server_unbind_result":"success"}"#),
                Drop("/id_server_unbind_result"),
                IgnoreField("erase"),
                SetField("erase", "true"),
            ],
        ),
        ("getDevices", vec![Double("/devices"), DropLast("/devices")]),
        ("getDevice", vec![Drop("/display_name"), Set("/device_id", "\"OTHER\""), Allow(404, "{}")]),
        ("updateDevice", vec![Lose("{}"), Allow(404, "{}")]),
        ("deleteDevice", vec![LoseConfirmed("{}"), Drop("/session"), Allow(401, "{}")]),
        ("deleteDevices", vec![LoseConfirmed("{}")]),
        (
            "getUserProfile",
            vec![
                Drop("/displayname"),
                Drop("/avatar_url"),
                Allow(404, "{}"),
                Errcode("M_NOT_FOUND", "M_UNKNOWN"),
            ],
        ),
        ("getProfileField", vec![Set("/displayname", "\"Somebody\""), Allow(404, "{}")]),
        ("setProfileField", vec![Lose("{}"), Allow(403, "{}"), Allow(400, "{}"), Status(403, 400)]),
        ("deleteProfileField", vec![Lose("{}")]),
        ("setAccountData", vec![Lose("{}"), Allow(403, "{}"), Allow(405, "{}"), Allow(400, "{}")]),
        ("getAccountData", vec![Allow(403, "{}"), Allow(404, "{}"), Errcode("M_NOT_FOUND", "M_UNKNOWN")]),
        ("setAccountDataPerRoom", vec![Lose("{}"), Allow(400, "{}")]),
        ("getAccountDataPerRoom", vec![Allow(404, "{}"), Drop("/kind")]),
        (
            "defineFilter",
            vec![Drop("/filter_id"), Allow(400, r#"{"filter_id":"1"}"#), Allow(403, r#"{"filter_id":"1"}"#)],
        ),
        ("getFilter", vec![Allow(404, "{}"), Drop("/room")]),
        ("createRoom", create_room()),
        (
            "joinRoomById",
            vec![
                IgnoreField("reason"),
                Drop("/room_id"),
                Lose(r#"{"room_id":"!x:y"}"#),
                Allow(403, r#"{"room_id":"!x:y"}"#),
                Status(403, 404),
            ],
        ),
        ("joinRoom", vec![Drop("/room_id"), Errcode("M_NOT_FOUND", "M_FORBIDDEN")]),
        (
            "knockRoom",
            vec![IgnoreField("reason"), Drop("/room_id"), Allow(403, "{}"), Lose(r#"{"room_id":"!x:y"}"#)],
        ),
        ("inviteUser", vec![IgnoreField("reason"), Allow(403, "{}"), Allow(400, "{}"), Lose("{}")]),
        ("leaveRoom", vec![IgnoreField("reason"), Allow(403, "{}"), Lose("{}")]),
        ("kick", vec![IgnoreField("reason"), Allow(403, "{}"), Lose("{}"), Status(400, 403)]),
        ("ban", vec![IgnoreField("reason"), Allow(403, "{}"), Lose("{}"), Status(400, 403)]),
        ("unban", vec![Allow(403, "{}"), Lose("{}")]),
        ("forgetRoom", vec![Lose("{}"), Allow(400, "{}"), Errcode("M_UNKNOWN", "M_FORBIDDEN")]),
        ("getJoinedRooms", vec![Double("/joined_rooms"), DropLast("/joined_rooms"), Drop("/joined_rooms")]),
        (
            "getMembersByRoom",
            vec![
                Ignore("membership"),
                Ignore("not_membership"),
                Ignore("at"),
                DropLast("/chunk"),
                Allow(403, r#"{"chunk":[]}"#),
            ],
        ),
        ("getJoinedMembersByRoom", vec![Drop("/joined/*/display_name"), Allow(403, r#"{"joined":{}}"#)]),
        (
            "getRoomState",
            vec![DropLast(""), Double(""), Drop("/*/sender"), Drop("/*/event_id"), Allow(403, "[]")],
        ),
        (
            "getRoomStateWithKey",
            vec![
                Ignore("format"),
                Allow(403, "{}"),
                Allow(404, "{}"),
                Errcode("M_NOT_FOUND", "M_UNKNOWN"),
                Drop("/membership"),
                Drop("/users"),
                Set("/users/*", "100"),
                Set("/membership", "\"join\""),
            ],
        ),
        (
            "setRoomStateWithKey",
            vec![
                Lose(r#"{"event_id":"$x"}"#),
                Allow(403, "{}"),
                Allow(400, "{}"),
                Errcode("M_BAD_ALIAS", "M_INVALID_PARAM"),
                Status(403, 401),
            ],
        ),
        (
            "sendMessage",
            vec![
                Repeat,
                Lose(r#"{"event_id":"$x"}"#),
                Allow(403, "{}"),
                Status(413, 400),
                Errcode("M_TOO_LARGE", "M_UNKNOWN"),
                Drop("/event_id"),
                Allow(400, r#"{"event_id":"$x"}"#),
                Errcode("M_DUPLICATE_ANNOTATION", "M_UNKNOWN"),
            ],
        ),
        (
            "redactEvent",
            vec![
                Repeat,
                IgnoreField("reason"),
                Lose(r#"{"event_id":"$x"}"#),
                Allow(403, "{}"),
                Allow(404, r#"{"event_id":"$x"}"#),
            ],
        ),
        (
            "getOneRoomEvent",
            vec![
                Drop("/origin_server_ts"),
                Drop("/room_id"),
                Drop("/unsigned"),
                Set("/sender", "\"@somebody:else\""),
                Errcode("M_NOT_FOUND", "M_UNKNOWN"),
                Allow(404, "{}"),
            ],
        ),
        (
            "getEventContext",
            vec![
                Reverse("/events_before"),
                Reverse("/events_after"),
                DropFirst("/events_after"),
                Drop("/state"),
                Drop("/start"),
                Drop("/event"),
                Ignore("limit"),
                Allow(404, "{}"),
            ],
        ),
        ("getRoomEvents", messages()),
        ("getRoomIdByAlias", vec![Drop("/room_id"), Drop("/servers"), Allow(404, "{}"), Status(400, 404)]),
        ("setRoomAlias", vec![Lose("{}"), Status(409, 400), Allow(409, "{}"), Allow(400, "{}")]),
        ("deleteRoomAlias", vec![Lose("{}"), Allow(403, "{}"), Allow(404, "{}")]),
        ("getLocalAliases", vec![DropLast("/aliases"), Allow(403, r#"{"aliases":[]}"#)]),
        (
            "getRoomVisibilityOnDirectory",
            vec![Set("/visibility", "\"public\""), Allow(404, r#"{"visibility":"private"}"#)],
        ),
        ("setRoomVisibilityOnDirectory", vec![Lose("{}"), Allow(403, "{}")]),
        ("sync", sync()),
    ]
}

fn standards() -> Vec<Change> {
    vec![
        Errcode("M_UNRECOGNIZED", "M_NOT_FOUND"),
        Errcode("M_MISSING_TOKEN", "M_UNKNOWN_TOKEN"),
        Errcode("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"),
        Errcode("M_NOT_JSON", "M_BAD_JSON"),
        Status(405, 404),
        Drop("/error"),
        Fail("\\u0000"),
        DropHeader("access-control-allow-origin"),
        DropHeader("access-control-allow-methods"),
    ]
}

fn register() -> Vec<Change> {
    vec![
        Errcode("M_USER_IN_USE", "M_FORBIDDEN"),
        Errcode("M_INVALID_USERNAME", "M_UNKNOWN"),
        Drop("/session"),
        Drop("/refresh_token"),
        IgnoreField("inhibit_login"),
        IgnoreField("device_id"),
        IgnoreField("initial_device_display_name"),
        IgnoreField("guest_access_token"),
        Allow(403, "{}"),
        Ignore("kind"),
    ]
}

fn login() -> Vec<Change> {
    vec![
        Status(403, 401),
        Errcode("M_FORBIDDEN", "M_UNKNOWN"),
        IgnoreField("device_id"),
        IgnoreField("initial_device_display_name"),
        IgnoreField("refresh_token"),
        Drop("/refresh_token"),
        Set("/user_id", "\"@somebody:else\""),
    ]
}

fn token_owner() -> Vec<Change> {
    vec![
        Errcode("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"),
        Allow(401, r#"{"user_id":"@somebody:else"}"#),
        Drop("/device_id"),
        Drop("/user_id"),
        Drop("/is_guest"),
        Ignore("access_token"),
    ]
}

fn create_room() -> Vec<Change> {
    let fields = [
        "name",
        "topic",
        "preset",
        "room_version",
        "initial_state",
        "invite",
        "is_direct",
        "power_level_content_override",
        "creation_content",
        "visibility",
        "room_alias_name",
    ];
    let mut changes: Vec<_> = fields.into_iter().map(IgnoreField).collect();
    changes.extend([
        Errcode("M_ROOM_IN_USE", "M_UNKNOWN"),
        Errcode("M_UNSUPPORTED_ROOM_VERSION", "M_UNKNOWN"),
        Errcode("M_INVALID_ROOM_STATE", "M_FORBIDDEN"),
        Allow(400, r#"{"room_id":"!x:y"}"#),
        Allow(403, r#"{"room_id":"!x:y"}"#),
        Set("/room_id", "\"!same:y\""),
    ]);
    changes
}

fn messages() -> Vec<Change> {
    vec![
        Double("/chunk"),
        DropLast("/chunk"),
        DropFirst("/chunk"),
        Reverse("/chunk"),
        Drop("/end"),
        Drop("/start"),
        Drop("/state"),
        Drop("/chunk/*/room_id"),
        Ignore("limit"),
        Ignore("filter"),
        Ignore("from"),
        Ignore("to"),
        Set("/chunk/*/content", "{}"),
        Allow(403, r#"{"chunk":[],"start":"x"}"#),
        Allow(400, r#"{"chunk":[],"start":"x"}"#),
    ]
}

fn sync() -> Vec<Change> {
    vec![
        Double("/rooms/join/*/timeline/events"),
        DropLast("/rooms/join/*/timeline/events"),
        DropFirst("/rooms/join/*/timeline/events"),
        Reverse("/rooms/join/*/timeline/events"),
        Drop("/rooms/join/*/timeline/events/*/unsigned"),
        Drop("/rooms/join/*/timeline/prev_batch"),
        Set("/rooms/join/*/timeline/limited", "false"),
        Drop("/rooms/join/*/summary"),
        Drop("/rooms/join/*/account_data"),
        DropLast("/rooms/join/*/state/events"),
        Drop("/rooms/join/*/state"),
        Drop("/rooms/invite"),
        Drop("/rooms/knock"),
        Drop("/rooms/leave"),
        Drop("/rooms/invite/*/invite_state"),
        Drop("/account_data"),
        Ignore("since"),
        Ignore("timeout"),
        Ignore("filter"),
        Ignore("full_state"),
        Drop("/rooms/join/*/ephemeral"),
        Drop("/rooms/join/*/unread_notifications"),
        Set("/rooms/join/*/unread_notifications/highlight_count", "0"),
        Allow(400, r#"{"next_batch":"x"}"#),
        Allow(401, r#"{"next_batch":"x"}"#),
    ]
}
