use HistoryVisibility::{Invited, Joined, Shared, WorldReadable};

use super::*;

/// The specification's five rules, word by word, over a list of every event of a line.
/// `memberships[n]` is the viewer's membership in the state after event `n`.
pub(crate) fn oracle(
    memberships: &[Membership],
    n: usize,
    visibility: HistoryVisibility,
    own_member: bool,
) -> bool {
    let before = if n == 0 { Membership::Leave } else { memberships[n - 1] };
    let rules = |membership: Membership| {
        visibility == WorldReadable
            || membership == Membership::Join
            || (visibility == Shared
                && (n + 1..memberships.len()).any(|later| {
                    memberships[later] == Membership::Join && memberships[later - 1] != Membership::Join
                }))
            || (membership == Membership::Invite && visibility == Invited)
    };
    if own_member { rules(before) || rules(memberships[n]) } else { rules(before) }
}

const MEMBERSHIPS: [Membership; 5] =
    [Membership::Join, Membership::Invite, Membership::Knock, Membership::Leave, Membership::Ban];

fn history(memberships: &[Membership]) -> MemberHistory {
    let mut last = Membership::Leave;
    MemberHistory::new(memberships.iter().enumerate().filter_map(|(seq, membership)| {
        let changed = std::mem::replace(&mut last, *membership) != *membership;
        // Time goes by ten milliseconds from one event to the next.
        let seq = i64::try_from(seq).unwrap();
        changed.then_some((seq, *membership, seq * 10))
    }))
}

#[test]
fn verdicts_equal_the_rules_for_all_short_histories() {
    // Four changes of membership with an ordinary event after each.
    for code in 0..5_usize.pow(4) {
        let mut memberships = Vec::new();
        for place in 0..4 {
            let membership = MEMBERSHIPS[code / 5_usize.pow(place) % 5];
            memberships.extend([membership, membership]);
        }
        let history = history(&memberships);
        for n in 0..memberships.len() {
            let own_member = n % 2 == 0;
            for visibility in [Joined, Invited, Shared, WorldReadable] {
                let facts = EventFacts { seq: i64::try_from(n).unwrap(), visibility, own_member };
                let before = if n == 0 { Membership::Leave } else { memberships[n - 1] };
                let removed = own_member
                    && matches!(memberships[n], Membership::Leave | Membership::Ban)
                    && matches!(before, Membership::Invite | Membership::Knock);
                let expected = removed || oracle(&memberships, n, visibility, own_member);
                assert_eq!(
                    may_see(&history, facts),
                    expected,
                    "event {n} of {memberships:?}, {visibility:?}"
                );
                assert_eq!(history.at(facts.seq), memberships[n]);
            }
        }
    }
}

#[test]
fn who_was_there_or_came_before_the_erasure_sees_the_full_text() {
    use Membership::{Invite, Join, Leave};
    let sees =
        |memberships: &[Membership], seq, erased_ts| may_see_erased(&history(memberships), seq, erased_ts);
    // Was in the room at the event; whatever happened since.
    assert!(sees(&[Join, Join, Leave, Leave], 1, 5));
    assert!(sees(&[Leave, Join], 1, 0));
    // Left by this event.
    assert!(sees(&[Join, Leave], 1, 0));
    // Came after the event: before the erasure, at its time, after it.
    let late = [Leave, Leave, Join, Join];
    assert_eq!([25, 20, 19].map(|erased_ts| sees(&late, 1, erased_ts)), [true, true, false]);
    // An invite is not a join, and who was there before the event only did not see it.
    assert!(!sees(&[Leave, Invite, Join], 1, 15));
    assert!(!sees(&[Join, Leave, Leave, Join], 2, 25));
    assert!(sees(&[Join, Leave, Leave, Join], 2, 35));
    assert!(!sees(&[], 1, i64::MAX));
}

#[test]
fn departure_is_the_end_of_the_last_stay() {
    let at = |memberships: &[Membership]| history(memberships).departure();
    use Membership::{Ban, Invite, Join, Leave};
    assert_eq!(at(&[]), None);
    assert_eq!(at(&[Invite, Leave]), None);
    assert_eq!(at(&[Invite, Join]), None);
    assert_eq!(at(&[Join, Leave]), Some(1));
    assert_eq!(at(&[Join, Leave, Ban]), Some(1));
    assert_eq!(at(&[Join, Leave, Invite]), Some(1));
    assert_eq!(at(&[Join, Leave, Join]), None);
    assert_eq!(at(&[Join, Leave, Join, Join, Ban, Leave]), Some(4));
}

#[test]
fn next_join_is_the_first_after() {
    use Membership::{Invite, Join, Leave};
    let history = history(&[Invite, Join, Join, Leave, Join]);
    assert_eq!(
        [-1, 0, 1, 3, 4].map(|seq| history.next_join(seq)),
        [Some(1), Some(1), Some(4), Some(4), None]
    );
}

#[test]
fn column_that_is_not_set_counts_as_shared() {
    assert_eq!(HistoryVisibility::from_column(0), Shared);
    assert_eq!(HistoryVisibility::from_column(-1), Shared);
    assert_eq!(HistoryVisibility::from_column(1), Joined);
    assert_eq!(HistoryVisibility::from_column(4), WorldReadable);
}
