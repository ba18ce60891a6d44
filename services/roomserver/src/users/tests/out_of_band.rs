use plexus_proto::log::v1::SetOutOfBandMembership;

use super::*;

fn told(room: &str, membership: &str, event_id: &str) -> SetOutOfBandMembership {
    SetOutOfBandMembership {
        room_id: room.to_owned(),
        membership: membership.to_owned(),
        event: Bytes::from_static(b"{}"),
        event_id: event_id.to_owned(),
        sender: "@bob:other.org".to_owned(),
        origin: "other.org".to_owned(),
        room_version: "11".to_owned(),
        stripped_state: Bytes::from_static(b"[]"),
        replaces_event_id: String::new(),
    }
}

fn set(told: SetOutOfBandMembership) -> Command {
    Command::SetOutOfBandMembership(told)
}

#[test]
fn memberships_elsewhere_are_told_once_and_forgotten() {
    let mut story = Story::registered();
    let invite = told("!a:other.org", "invite", "$a");
    let facts = story.happens(set(invite.clone()));
    let [Fact::OutOfBandMembership(fact)] = facts.as_slice() else { panic!("{facts:?}") };
    assert_eq!((fact.membership.as_str(), fact.event_id.as_str()), ("invite", "$a"));
    assert_eq!(story.happens(set(invite)), []);
    // Who withdraws another invite than the one that counts withdraws nothing.
    let other =
        SetOutOfBandMembership { replaces_event_id: "$b".to_owned(), ..told("!a:other.org", "leave", "$c") };
    assert_eq!(story.happens(set(other)), []);
    let leave =
        SetOutOfBandMembership { replaces_event_id: "$a".to_owned(), ..told("!a:other.org", "leave", "$c") };
    assert_eq!(story.happens(set(leave)).len(), 1);
    let forget = SetOutOfBandMembership { room_id: "!a:other.org".to_owned(), ..Default::default() };
    assert_eq!(story.happens(set(forget.clone())).len(), 1);
    assert_eq!(story.happens(set(forget)), []);
    assert!(story.user.out_of_band.is_empty());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut story = Story::registered();
    let good = || told("!a:other.org", "invite", "$a");
    for (told, reason) in [
        (SetOutOfBandMembership { room_id: "a".to_owned(), ..good() }, ErrorReason::InvalidParam),
        (SetOutOfBandMembership { membership: "join".to_owned(), ..good() }, ErrorReason::InvalidParam),
        (SetOutOfBandMembership { sender: "bob".to_owned(), ..good() }, ErrorReason::InvalidParam),
        (SetOutOfBandMembership { origin: "x".repeat(256), ..good() }, ErrorReason::InvalidParam),
        (SetOutOfBandMembership { event: Bytes::from_static(b"[]"), ..good() }, ErrorReason::BadJson),
        (
            SetOutOfBandMembership { stripped_state: Bytes::from_static(b"null"), ..good() },
            ErrorReason::BadJson,
        ),
        (
            SetOutOfBandMembership { stripped_state: vec![b' '; 513 * 1024].into(), ..good() },
            ErrorReason::TooLarge,
        ),
    ] {
        assert_eq!(story.refused(set(told.clone())), reason, "{told:?}");
    }
    assert_eq!(Story::new().refused(set(good())), ErrorReason::NotFound);
}

#[test]
fn pending_invites_are_bounded_and_what_has_ended_makes_room() {
    let mut story = Story::registered();
    for number in 0..500 {
        story.happens(set(told(&format!("!invite{number}:other.org"), "invite", "$a")));
    }
    assert_eq!(story.refused(set(told("!more:other.org", "invite", "$a"))), ErrorReason::LimitExceeded);
    assert_eq!(story.refused(set(told("!more:other.org", "knock", "$a"))), ErrorReason::LimitExceeded);
    // What is there already may change.
    story.happens(set(told("!invite0:other.org", "invite", "$b")));
    for number in 0..501 {
        story.happens(set(told(&format!("!leave{number}:other.org"), "leave", "$a")));
    }
    assert_eq!(story.user.out_of_band.len(), 1000);
    assert!(!story.user.out_of_band.contains_key("!leave0:other.org"));
    assert!(story.user.out_of_band.contains_key("!invite1:other.org"));
}

#[test]
fn a_deactivated_user_has_nothing_to_do_with_rooms_elsewhere() {
    let mut story = Story::registered();
    story.happens(set(told("!a:other.org", "invite", "$a")));
    story.happens(Command::Deactivate(Deactivate { erase: false }));
    assert!(story.user.out_of_band.is_empty());
    assert_eq!(story.refused(set(told("!a:other.org", "invite", "$a"))), ErrorReason::UserDeactivated);
}
