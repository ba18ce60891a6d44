use bytes::Bytes;

use super::*;
use crate::sender::outcome::Outcome;

const A: &str = "!a:us.test";
const B: &str = "!b:us.test";

fn room(text: &str) -> OwnedRoomId {
    text.try_into().unwrap()
}

fn pdu(room_id: &str, seq: u64) -> Arc<Pdu> {
    Arc::new(Pdu {
        room_id: room(room_id),
        event_id: format!("${seq}:us.test").try_into().unwrap(),
        partition: usize::from(room_id == B),
        seq,
        json: Bytes::from_static(b"{}"),
    })
}

fn seqs(plan: &Plan) -> Vec<u64> {
    plan.pdus.iter().map(|pdu| pdu.seq).collect()
}

/// A server as the room server and the peer see it: which events there are, which it takes, and what it has.
struct Peer {
    destination: Destination,
    /// Events of rooms, as the room server has them.
    events: Vec<(&'static str, u64)>,
    /// What came, in order.
    has: Vec<(String, u64)>,
    now: i64,
    transactions: usize,
}

impl Peer {
    fn new() -> Self {
        Self { destination: Destination::default(), events: vec![], has: vec![], now: 1_000, transactions: 0 }
    }

    /// Something happens here.
    fn send(&mut self, room_id: &'static str, seq: u64) {
        self.events.push((room_id, seq));
        self.destination.add(pdu(room_id, seq));
    }

    /// Plays one attempt, if its time has come: what is read of backlogs, and what comes of it.
    fn attempt(&mut self, answer: impl Fn(&[(String, u64)]) -> Outcome) -> Option<Outcome> {
        let plan = self.destination.next(self.now)?;
        let mut sent: Vec<(String, u64)> =
            plan.pdus.iter().map(|pdu| (pdu.room_id.to_string(), pdu.seq)).collect();
        let mut gathered = Vec::new();
        for backlog in &plan.rooms {
            let place = (50 - sent.len()).min(backlog.limit);
            if place == 0 {
                break;
            }
            let of_room = |(room_id, seq): &&(&str, u64)| *room_id == backlog.room_id && *seq > backlog.after;
            let all: Vec<u64> = self.events.iter().filter(of_room).map(|(_, seq)| *seq).collect();
            let page: Vec<u64> = all.iter().copied().take(place).collect();
            sent.extend(page.iter().map(|seq| (backlog.room_id.to_string(), *seq)));
            gathered.push(Gathered {
                room_id: backlog.room_id.clone(),
                reached: page.last().copied().unwrap_or(backlog.after),
                more: all.len() > page.len(),
                pdus: page.len(),
                last: page.last().map(|seq| (*seq, format!("${seq}:us.test").try_into().unwrap())),
            });
        }
        let outcome = if sent.is_empty() && plan.edus.is_empty() { Outcome::Nothing } else { answer(&sent) };
        self.transactions += 1;
        if outcome == Outcome::Delivered {
            self.has.extend(sent);
        }
        self.destination.finish(plan, (&gathered, false), &outcome, self.now, 1.0);
        Some(outcome)
    }

    /// Plays attempts until nothing is due, letting time pass up to an hour.
    fn settle(&mut self, answer: impl Fn(&[(String, u64)]) -> Outcome) {
        let end = self.now + 3_600_000;
        while let Some(due) = self.destination.due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.attempt(&answer);
        }
    }

    fn of(&self, room_id: &str) -> Vec<u64> {
        self.has.iter().filter(|(room, _)| room == room_id).map(|(_, seq)| *seq).collect()
    }
}

fn delivered(_: &[(String, u64)]) -> Outcome {
    Outcome::Delivered
}

fn down(_: &[(String, u64)]) -> Outcome {
    Outcome::Unreachable("nobody answers".to_owned())
}

#[test]
fn events_go_out_in_order_one_transaction_at_a_time() {
    let mut destination = Destination::default();
    assert_eq!((destination.due(), destination.next(0)), (None, None));
    for seq in 1..=70 {
        destination.add(pdu(A, seq));
    }
    let first = destination.next(0).unwrap();
    assert_eq!(seqs(&first), (1..=50).collect::<Vec<_>>());
    assert_eq!((destination.due(), destination.next(0)), (None, None));
    let mut positions = [100; 64];
    destination.hold_back(&mut positions);
    assert_eq!((positions[0], positions[1]), (0, 100));
    destination.finish(first, (&[], false), &Outcome::Delivered, 5, 1.0);
    let second = destination.next(0).unwrap();
    assert_eq!(seqs(&second), (51..=70).collect::<Vec<_>>());
    destination.finish(second, (&[], false), &Outcome::Delivered, 6, 1.0);
    assert!(destination.is_idle());
    assert_eq!(destination.take_change(), None);
}

#[test]
fn a_server_that_was_away_gets_everything_in_order_and_nothing_twice() {
    let mut peer = Peer::new();
    peer.send(A, 1);
    peer.send(B, 2);
    peer.send(A, 3);
    assert!(matches!(peer.attempt(down), Some(Outcome::Unreachable(_))));
    assert_eq!((peer.destination.failures(), peer.destination.rooms_behind()), (1, 2));
    // The positions need not wait for it: it is kept where it is behind.
    let mut positions = [100; 64];
    peer.destination.hold_back(&mut positions);
    assert_eq!(positions, [100; 64]);
    let Some(Change::Keep { row, mut rooms, .. }) = peer.destination.take_change() else { panic!() };
    rooms.sort();
    assert_eq!((row.failures, row.retry_ts, rooms), (1, 11_000, vec![(room(A), 0), (room(B), 1)]));
    for seq in 4..200 {
        peer.send(if seq % 3 == 0 { B } else { A }, seq);
    }
    assert_eq!(peer.attempt(delivered), None);
    peer.now = 11_000;
    peer.attempt(delivered);
    // While it catches up, what comes for its rooms waits its turn; other rooms do not.
    peer.send(A, 200);
    peer.send("!c:us.test", 201);
    peer.settle(delivered);
    for room_id in [A, B, "!c:us.test"] {
        let all: Vec<u64> =
            peer.events.iter().filter(|(room, _)| *room == room_id).map(|(_, seq)| *seq).collect();
        assert_eq!(peer.of(room_id), all, "{room_id}");
    }
    assert_eq!(peer.destination.take_change(), Some(Change::Recovered));
    assert!(peer.destination.is_idle());
}

#[test]
fn failures_make_pauses_longer_and_a_word_ends_them() {
    let mut peer = Peer::new();
    peer.send(A, 1);
    let mut dues = Vec::new();
    for _ in 0..4 {
        peer.attempt(down);
        let due = peer.destination.due().unwrap();
        dues.push(due - peer.now);
        peer.now = due;
    }
    assert_eq!(dues, [10_000, 20_000, 40_000, 80_000]);
    peer.attempt(down);
    peer.now += 1_000;
    assert!(peer.destination.hear(peer.now));
    assert_eq!(peer.destination.due(), Some(0));
    peer.attempt(down);
    // Whoever talks all the time is not asked all the time.
    assert!(!peer.destination.hear(peer.now + 1_000));
    assert!(peer.destination.hear(peer.now + 30_000));
    peer.attempt(delivered);
    assert_eq!((peer.of(A), peer.destination.failures()), (vec![1], 0));
    assert!(!peer.destination.hear(peer.now + 90_000));
}

#[test]
fn an_event_that_a_server_cannot_take_is_set_aside_and_holds_up_nothing_else() {
    for crash in [false, true] {
        let mut peer = Peer::new();
        for seq in 1..=40 {
            peer.send(if seq % 2 == 0 { A } else { B }, seq);
        }
        let answer = |sent: &[(String, u64)]| {
            if sent.iter().any(|(_, seq)| *seq == 21) {
                if crash { Outcome::Crashed("500".to_owned()) } else { Outcome::Refused("400".to_owned()) }
            } else {
                Outcome::Delivered
            }
        };
        let began = peer.now;
        // The room that nothing is wrong with has everything within a second or two.
        while peer.of(A).len() < 20 {
            peer.now = peer.now.max(peer.destination.due().unwrap());
            peer.attempt(answer);
        }
        assert!(peer.now - began <= if crash { 3_000 } else { 1_000 }, "{}", peer.now - began);
        peer.settle(answer);
        assert_eq!(peer.of(A), (1..=20).map(|n| n * 2).collect::<Vec<_>>());
        assert_eq!(peer.of(B), (1..=40).step_by(2).filter(|seq| *seq != 21).collect::<Vec<_>>());
        assert!(peer.transactions < 60, "{}", peer.transactions);
        // Then everything is as before.
        peer.send(B, 41);
        peer.settle(answer);
        assert_eq!((peer.of(B).last(), peer.destination.failures()), (Some(&41), 0));
        assert_eq!(peer.destination.rooms_behind(), 0);
    }
}

#[test]
fn who_wants_us_to_wait_is_not_failing() {
    let mut peer = Peer::new();
    peer.send(A, 1);
    assert_eq!(peer.attempt(|_| Outcome::Limited(7_000)), Some(Outcome::Limited(7_000)));
    peer.send(A, 2);
    assert_eq!((peer.destination.failures(), peer.destination.due()), (0, Some(8_000)));
    assert_eq!(peer.destination.take_change(), None);
    peer.settle(delivered);
    assert_eq!(peer.of(A), [1, 2]);
}

#[test]
fn more_than_fits_into_memory_is_read_again_also_while_something_is_under_way() {
    let mut destination = Destination::default();
    destination.add(pdu(A, 1));
    let under_way = destination.next(0).unwrap();
    for seq in 2..=2_003 {
        destination.add(pdu(A, seq));
    }
    assert_eq!(destination.rooms_behind(), 1);
    // What was under way fails: the server has nothing of the room.
    destination.finish(under_way, (&[], false), &down(&[]), 0, 1.0);
    let plan = destination.next(1_000_000).unwrap();
    assert_eq!((plan.pdus.len(), plan.rooms[0].after, plan.rooms[0].trim), (0, 0, true));
}

#[test]
fn what_was_kept_goes_on_after_a_restart() {
    let row = Row { failures: 3, first_failure_ts: 5, retry_ts: 900, ..Row::default() };
    let mut peer = Peer::new();
    peer.events = vec![(A, 1), (A, 2), (B, 3), (A, 4)];
    peer.destination = Destination::restore(row, 1_500);
    peer.destination.restore_room(room(A), 1);
    peer.destination.restore_room(room(B), 0);
    assert_eq!(peer.destination.take_change(), None);
    assert_eq!(peer.destination.due(), Some(1_500));
    peer.settle(delivered);
    assert_eq!((peer.of(A), peer.of(B)), (vec![2, 4], vec![3]));
    assert_eq!(peer.destination.take_change(), Some(Change::Recovered));
}

#[test]
fn what_could_not_be_kept_is_kept_the_next_time() {
    let mut peer = Peer::new();
    peer.send(A, 1);
    peer.send(B, 2);
    peer.attempt(down);
    let change = peer.destination.take_change().unwrap();
    assert_eq!(peer.destination.take_change(), None);
    peer.destination.put_change_back(change.clone());
    let Some(Change::Keep { mut rooms, .. }) = peer.destination.take_change() else { panic!() };
    rooms.sort();
    assert_eq!(rooms, [(room(A), 0), (room(B), 1)]);
    peer.settle(delivered);
    let recovered = peer.destination.take_change().unwrap();
    peer.destination.put_change_back(recovered.clone());
    assert_eq!((peer.destination.take_change(), recovered), (Some(Change::Recovered), Change::Recovered));
}

#[test]
fn ephemeral_data_are_for_those_who_have_everything() {
    let mut destination = Destination::default();
    let typing = |destination: &mut Destination| {
        let edus = destination.edus()?;
        edus.add_typing(room(A), "@u:us.test".try_into().unwrap(), true);
        Some(())
    };
    assert!(typing(&mut destination).is_some());
    destination.add(pdu(A, 1));
    let plan = destination.next(0).unwrap();
    assert_eq!((plan.pdus.len(), plan.edus.len()), (1, 1));
    destination.finish(plan, (&[], false), &down(&[]), 0, 1.0);
    assert!(typing(&mut destination).is_none());
    assert!(destination.next(1_000_000).unwrap().edus.is_empty());
}

#[test]
fn who_is_forgotten_is_sent_what_comes() {
    let mut peer = Peer::new();
    peer.send(A, 1);
    peer.attempt(down);
    peer.destination.take_change();
    peer.destination.forget();
    assert_eq!(peer.destination.take_change(), Some(Change::Recovered));
    peer.send(A, 2);
    peer.settle(delivered);
    assert_eq!(peer.of(A), [2]);
}
