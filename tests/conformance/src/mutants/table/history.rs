//! What is told of rooms beside their timelines: relations, threads, previews, spaces, upgrades, the directory.

use super::{
    Change::{Allow, Double, Drop, DropFirst, DropLast, Ignore, IgnoreField, Lose, Reverse, Set, Status},
    Group,
};

pub(super) fn groups() -> Vec<Group> {
    vec![
        (
            "getEvents",
            vec![
                Double("/chunk"),
                DropLast("/chunk"),
                Drop("/chunk/*/room_id"),
                Ignore("room_id"),
                Ignore("from"),
                Allow(403, r#"{"chunk":[],"start":"x","end":"x"}"#),
                Allow(401, r#"{"chunk":[],"start":"x","end":"x"}"#),
            ],
        ),
        (
            "roomInitialSync",
            vec![
                DropLast("/messages/chunk"),
                Reverse("/messages/chunk"),
                Drop("/messages/end"),
                Set("/messages/end", "\"x\""),
                Drop("/state"),
                Allow(403, "{}"),
            ],
        ),
        (
            "upgradeRoom",
            vec![
                Lose(r#"{"replacement_room":"!x:y"}"#),
                Set("/replacement_room", "\"!x:y\""),
                IgnoreField("additional_creators"),
                Allow(400, r#"{"replacement_room":"!x:y"}"#),
                Allow(403, r#"{"replacement_room":"!x:y"}"#),
                Status(403, 400),
            ],
        ),
        (
            "getRelatingEvents",
            vec![
                Double("/chunk"),
                DropLast("/chunk"),
                Reverse("/chunk"),
                Ignore("dir"),
                Ignore("limit"),
                Ignore("from"),
                Ignore("recurse"),
                Allow(404, r#"{"chunk":[]}"#),
            ],
        ),
        ("getRelatingEventsWithRelType", vec![DropFirst("/chunk"), Set("/chunk", "[]"), Double("/chunk")]),
        ("getRelatingEventsWithRelTypeAndEventType", vec![Set("/chunk", "[]"), Double("/chunk")]),
        (
            "getThreadRoots",
            vec![
                Double("/chunk"),
                DropLast("/chunk"),
                Reverse("/chunk"),
                Drop("/chunk/*/unsigned"),
                Ignore("include"),
                Ignore("limit"),
                Ignore("from"),
                Allow(400, r#"{"chunk":[]}"#),
            ],
        ),
        (
            "getSpaceHierarchy",
            vec![
                DropLast("/rooms"),
                Double("/rooms"),
                Drop("/rooms/*/name"),
                Drop("/rooms/*/children_state"),
                Ignore("suggested_only"),
                Ignore("max_depth"),
                Ignore("limit"),
                Allow(403, r#"{"rooms":[]}"#),
            ],
        ),
        ("getRoomSummary", vec![Drop("/name"), Drop("/membership"), Allow(404, "{}")]),
        ("getEventByTimestamp", vec![Ignore("dir"), Drop("/event_id"), Allow(404, r#"{"event_id":"$x"}"#)]),
        (
            "queryPublicRooms",
            vec![DropLast("/chunk"), IgnoreField("filter"), IgnoreField("limit"), IgnoreField("since")],
        ),
        ("getPublicRooms", vec![Ignore("limit")]),
        ("reportEvent", vec![Allow(404, "{}")]),
    ]
}
