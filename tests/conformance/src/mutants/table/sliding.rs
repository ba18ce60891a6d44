//! Sliding sync.

use super::{
    Change::{Allow, Double, Drop, DropFirst, DropLast, Ignore, IgnoreField, Set, SetField},
    Group,
};

pub(super) fn groups() -> Vec<Group> {
    vec![(
        "slidingSync",
        vec![
            Drop("/lists"),
            Set("/lists/*/count", "7"),
            Drop("/rooms/*/initial"),
            Set("/rooms/*/initial", "true"),
            Double("/rooms/*/timeline"),
            DropLast("/rooms/*/timeline"),
            DropFirst("/rooms/*/timeline"),
            DropLast("/rooms/*/required_state"),
            Drop("/rooms/*/required_state"),
            Set("/rooms/*/limited", "false"),
            Drop("/rooms/*/prev_batch"),
            Set("/rooms/*/num_live", "0"),
            Set("/rooms/*/num_live", "9"),
            Drop("/rooms/*/unstable_expanded_timeline"),
            Drop("/rooms/*/invite_state"),
            Drop("/rooms/*/heroes"),
            Drop("/rooms/*/name"),
            Drop("/rooms/*/joined_count"),
            Set("/rooms/*/bump_stamp", "1"),
            Ignore("pos"),
            Ignore("timeout"),
            IgnoreField("conn_id"),
            IgnoreField("lists"),
            IgnoreField("room_subscriptions"),
            SetField("extensions", "{}"),
            DropLast("/extensions/to_device/events"),
            Drop("/extensions/e2ee/device_lists"),
            Drop("/extensions/e2ee/device_one_time_keys_count"),
            Drop("/extensions/e2ee/device_unused_fallback_key_types"),
            Drop("/extensions/account_data/global"),
            Drop("/extensions/account_data/rooms"),
            Drop("/extensions/receipts"),
            Drop("/extensions/typing"),
            Allow(400, r#"{"pos":"x"}"#),
            Allow(401, r#"{"pos":"x"}"#),
        ],
    )]
}
