//! What users are told of beside events: push rules, notifications, receipts, typing, tags; and what else is theirs.

use super::{
    Change::{Allow, Double, Drop, DropLast, Errcode, Ignore, IgnoreField, Lose, Set, Status},
    Group,
};

pub(super) fn groups() -> Vec<Group> {
    vec![
        ("getPushRules", vec![Drop("/global"), DropLast("/global/override"), DropLast("/global/underride")]),
        ("getPushRule", vec![Drop("/actions"), Allow(404, "{}")]),
        (
            "setPushRule",
            vec![Lose("{}"), Allow(400, "{}"), Status(200, 400), Ignore("before"), Ignore("after")],
        ),
        ("deletePushRule", vec![Lose("{}"), Allow(404, "{}")]),
        ("isPushRuleEnabled", vec![Set("/enabled", "true"), Allow(404, r#"{"enabled":true}"#)]),
        ("setPushRuleEnabled", vec![Lose("{}"), Allow(400, "{}"), Allow(404, "{}")]),
        ("getPushRuleActions", vec![Drop("/actions"), Allow(404, r#"{"actions":[]}"#)]),
        ("setPushRuleActions", vec![Lose("{}"), Allow(400, "{}"), Allow(404, "{}")]),
        (
            "getNotifications",
            vec![
                Double("/notifications"),
                DropLast("/notifications"),
                Set("/notifications/*/read", "true"),
                Drop("/notifications/*/actions"),
                Ignore("only"),
                Ignore("limit"),
            ],
        ),
        ("getPushers", vec![Set("/pushers", "[{}]")]),
        ("postReceipt", vec![Lose("{}"), Allow(400, "{}"), Status(400, 500)]),
        ("setReadMarker", vec![Lose("{}"), Allow(400, "{}")]),
        ("setTyping", vec![Lose("{}"), Allow(403, "{}"), Allow(400, "{}")]),
        ("getRoomTags", vec![Drop("/tags"), Drop("/tags/*/order"), Allow(403, r#"{"tags":{}}"#)]),
        ("setRoomTag", vec![Lose("{}"), Allow(400, "{}"), Allow(403, "{}")]),
        ("deleteRoomTag", vec![Lose("{}"), Allow(403, "{}")]),
        ("searchUserDirectory", vec![DropLast("/results"), IgnoreField("limit"), Drop("/results/*/user_id")]),
        ("getAccount3PIDs", vec![Set("/threepids", "[{}]")]),
        ("getProtocols", vec![Set("", r#"{"irc":{}}"#), Errcode("M_MISSING_TOKEN", "M_UNKNOWN")]),
        ("getProtocolMetadata", vec![Allow(404, "{}")]),
        ("getTurnServer", vec![Set("", "[]")]),
    ]
}
