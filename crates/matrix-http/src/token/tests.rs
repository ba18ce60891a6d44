use proptest::prelude::*;

use super::*;

fn position() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0u64..300, any::<u64>()]
}

fn token() -> impl Strategy<Value = SyncToken> {
    let vector = || prop::collection::vec(position(), PARTITION_COUNT);
    let generation = prop::option::of((position(), position(), any::<u32>()));
    (generation, vector(), vector(), vector(), position()).prop_map(|(generation, rooms, users, live, at)| {
        SyncToken {
            generation: generation.map(|(generation, ..)| generation),
            inbox: generation.map_or(0, |(_, inbox, _)| inbox),
            inbox_device: generation.map_or(0, |(_, inbox, mark)| if inbox > 0 { mark } else { 0 }),
            rooms: rooms.try_into().unwrap(),
            users: users.try_into().unwrap(),
            live: live.try_into().unwrap(),
            at,
        }
    })
}

proptest! {
    #[test]
    fn sync_tokens_come_back(token in token()) {
        prop_assert_eq!(token.to_string().parse::<SyncToken>(), Ok(token));
    }

    #[test]
    fn timeline_tokens_come_back(seq: i64) {
        prop_assert_eq!(TimelineToken(seq).to_string().parse(), Ok(TimelineToken(seq)));
    }

    #[test]
    fn decoding_accepts_only_what_encoding_makes(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        for prefix in ["s2", "s3"] {
            let text = format!("{prefix}_{}", URL_SAFE_NO_PAD.encode(&bytes));
            if let Ok(token) = text.parse::<SyncToken>() {
                prop_assert_eq!(token.to_string(), text);
            }
        }
    }

    #[test]
    fn arbitrary_text_does_not_panic(text in ".*") {
        let is_ours = text.starts_with("s2_") || text.starts_with("s3_");
        prop_assert!(text.parse::<SyncToken>().is_err() || is_ours);
        prop_assert!(text.parse::<TimelineToken>().is_err() || text.starts_with("t1_"));
    }

    #[test]
    fn the_maximum_covers_both(a in token(), b in token()) {
        let max = a.max(&b);
        prop_assert!(max.covers(&a) && max.covers(&b));
        prop_assert!(max >= a && max >= b);
    }
}

#[test]
fn tokens_of_a_quiet_server_are_short() {
    let mut token = SyncToken::default();
    assert_eq!(token.to_string(), "s2_AQAAAAA");
    token.rooms[3] = 7;
    assert_eq!(token.to_string(), "s2_AQABAwcAAA");
    let of_today = SyncToken { generation: Some(1), inbox: 5, ..token };
    assert_eq!(of_today.to_string(), "s3_AQUAAAEDBwAA");
}

#[test]
fn what_was_delivered_was_to_one_device() {
    use ruma::{device_id, user_id};
    let mut token = SyncToken { generation: Some(1), ..SyncToken::default() };
    // As it was written before there were messages to devices.
    assert_eq!("s3_AQAAAAAA".parse::<SyncToken>().unwrap(), token);
    token.set_delivered(user_id!("@a:x"), device_id!("D"), 5);
    let token: SyncToken = token.to_string().parse().unwrap();
    assert_eq!(token.delivered_to(user_id!("@a:x"), device_id!("D")), 5);
    assert_eq!(token.delivered_to(user_id!("@a:x"), device_id!("E")), 0);
    assert_eq!(token.delivered_to(user_id!("@b:x"), device_id!("D")), 0);
    assert_eq!(SyncToken::default().max(&token).delivered_to(user_id!("@a:x"), device_id!("D")), 5);
}

#[test]
fn parts_that_cross_have_no_order() {
    let (mut a, mut b) = (SyncToken::default(), SyncToken::default());
    a.rooms[0] = 1;
    assert!(a > b);
    b.users[0] = 1;
    assert_eq!(a.partial_cmp(&b), None);
}

#[test]
fn malformed_tokens_are_refused() {
    for text in
        ["", "s2_", "s2_!", "s2_AQAAAA", "s2_AQAAAAAA", "s2_AgAAAAA", "s2_AQAAAAA=", "s1_AQAAAAA", "t1_0"]
    {
        assert_eq!(text.parse::<SyncToken>(), Err(TokenError), "{text}");
    }
    for text in [
        "",
        "t1_",
        "t1_-",
        "t1_-0",
        "t1_--1",
        "t1_+1",
        "t1_01",
        "t1_1x",
        "t1_9223372036854775808",
        "s2_AQAAAAA",
    ] {
        assert_eq!(text.parse::<TimelineToken>(), Err(TokenError), "{text}");
    }
}

#[test]
fn a_sync_token_is_a_timeline_position() {
    let mut token = SyncToken::default();
    token.rooms[5] = 42;
    assert_eq!(timeline_position(&token.to_string(), 5), Ok(42));
    let of_today = SyncToken { generation: Some(7), ..token };
    assert_eq!(timeline_position(&of_today.to_string(), 5), Ok(42));
    assert_eq!(timeline_position(&format!("p1_{of_today}.AAAA"), 5), Ok(42));
    assert_eq!(timeline_position(&format!("p1_p1_{of_today}.AAAA"), 5), Err(TokenError));
    assert_eq!(timeline_position(&token.to_string(), 64), Err(TokenError));
    assert_eq!(timeline_position("t1_9", 5), Ok(9));
}
