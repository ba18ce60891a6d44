//! Tests of commands.

mod out_of_band;
mod push_rules;

use bytes::Bytes;
use plexus_proto::{
    common::v1::ErrorReason,
    input::v1::verdict,
    log::v1::{
        ConfirmTokens, Deactivate, DeleteDevices, DevicesChanged, InputUserEvent, Login, NewSession,
        RefreshTokens, Register, SetAccountData, SetFilter, SetPassword, SetProfileField, UpdateDevice,
        input_user_event::Command, output_user_event::Fact,
    },
};
use ruma::server_name;

use super::{Applied, At, Change, MemberJob, Outcome, User, apply};

const ALICE: &str = "@alice:example.org";

/// A user to whom commands happen.
struct Story {
    user: User,
    next_seq: i64,
}

impl Story {
    fn new() -> Self {
        Self { user: User::default(), next_seq: 1 }
    }

    fn try_command(&mut self, user_id: &str, command: Option<Command>) -> Outcome {
        let record = InputUserEvent {
            version: 1,
            input_id: Bytes::from_static(b"0123456789abcdef"),
            user_id: user_id.to_owned(),
            produced_ts: 1000,
            traceparent: String::new(),
            command,
        };
        let at = At { partition: 3, next_seq: self.next_seq, epoch: 7 };
        apply(self.user.clone(), &record, at, server_name!("example.org"))
    }

    /// Carries a command out and returns the facts.
    fn happens(&mut self, command: Command) -> Vec<Fact> {
        match self.try_command(ALICE, Some(command)) {
            Outcome::Applied(applied) => {
                let Applied { user, outputs, next_seq, verdict, .. } = *applied;
                let seqs: Vec<u64> = outputs.iter().map(|output| output.seq).collect();
                let expected: Vec<u64> = (self.next_seq..next_seq).map(i64::unsigned_abs).collect();
                assert_eq!(seqs, expected, "seqs are contiguous");
                let Some(verdict::Outcome::Accepted(accepted)) = verdict.outcome else { panic!("accepted") };
                assert_eq!(accepted.seq, seqs.last().copied().unwrap_or(0));
                self.user = user;
                // Each command is a batch of its own.
                self.user.told.clear();
                self.next_seq = next_seq;
                outputs.into_iter().filter_map(|output| output.fact).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    fn refused(&mut self, command: Command) -> ErrorReason {
        match self.try_command(ALICE, Some(command)) {
            Outcome::Refused(verdict) => match verdict.outcome {
                Some(verdict::Outcome::Rejected(rejected)) => rejected.reason(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    fn registered() -> Self {
        let mut story = Self::new();
        story.happens(Command::Register(Register {
            password_hash: "hash".to_owned(),
            session: Some(session("PHONE", 1, 101)),
            ..Register::default()
        }));
        story
    }

    fn access_tokens(&self) -> Vec<u8> {
        let mut tokens: Vec<u8> = self.user.access_tokens.keys().map(|hash| hash[0]).collect();
        tokens.sort_unstable();
        tokens
    }

    fn refresh_tokens(&self) -> Vec<u8> {
        let mut tokens: Vec<u8> = self.user.refresh_tokens.keys().map(|hash| hash[0]).collect();
        tokens.sort_unstable();
        tokens
    }
}

fn token(number: u8) -> Bytes {
    Bytes::from(vec![number; 32])
}

fn session(device_id: &str, access: u8, refresh: u8) -> NewSession {
    NewSession {
        device_id: device_id.to_owned(),
        access_token_hash: token(access),
        refresh_token_hash: if refresh == 0 { Bytes::new() } else { token(refresh) },
        ..NewSession::default()
    }
}

fn login(device_id: &str, access: u8, refresh: u8) -> Command {
    Command::Login(Login { session: Some(session(device_id, access, refresh)) })
}

fn refresh(presented: u8, access: u8, next: u8) -> Command {
    Command::RefreshTokens(RefreshTokens {
        refresh_token_hash: token(presented),
        new_access_token_hash: token(access),
        new_refresh_token_hash: token(next),
        expires_ts: 0,
    })
}

fn confirm(access: u8) -> Command {
    Command::ConfirmTokens(ConfirmTokens { access_token_hash: token(access) })
}

#[test]
fn a_user_id_is_taken_for_ever() {
    let mut story = Story::registered();
    assert_eq!(story.refused(Command::Register(Register::default())), ErrorReason::UserInUse);
    story.happens(Command::Deactivate(Deactivate { erase: true }));
    assert_eq!(story.refused(Command::Register(Register::default())), ErrorReason::UserInUse);
    assert_eq!(story.refused(login("X", 2, 0)), ErrorReason::UserDeactivated);
}

#[test]
fn a_login_on_a_known_device_revokes_its_tokens() {
    let mut story = Story::registered();
    story.happens(login("LAPTOP", 2, 102));
    let facts = story.happens(login("PHONE", 3, 0));
    let [Fact::DevicesChanged(changed)] = facts.as_slice() else { panic!("{facts:?}") };
    assert_eq!(changed.changed, ["PHONE"]);
    assert_eq!((story.access_tokens(), story.refresh_tokens()), (vec![2, 3], vec![102]));
    assert_eq!(Story::new().refused(login("X", 2, 0)), ErrorReason::NotFound);
}

#[test]
fn old_tokens_live_until_the_new_ones_are_used() {
    let mut story = Story::registered();
    story.happens(refresh(101, 2, 102));
    assert_eq!((story.access_tokens(), story.refresh_tokens()), (vec![1, 2], vec![101, 102]));
    // The answer got lost: the client asks again, and what it never saw is replaced.
    story.happens(refresh(101, 3, 103));
    assert_eq!((story.access_tokens(), story.refresh_tokens()), (vec![1, 3], vec![101, 103]));
    // It uses the new access token.
    let facts = story.happens(confirm(3));
    assert_eq!((story.access_tokens(), story.refresh_tokens()), (vec![3], vec![103]));
    assert_eq!(facts, [Fact::DevicesChanged(DevicesChanged::default())]);
    assert_eq!(story.refused(refresh(101, 4, 104)), ErrorReason::UnknownToken);
    assert!(story.happens(confirm(3)).is_empty());
    assert!(story.happens(confirm(99)).is_empty());
}

#[test]
fn the_use_of_the_new_refresh_token_revokes_the_old_one() {
    let mut story = Story::registered();
    story.happens(refresh(101, 2, 102));
    story.happens(refresh(102, 3, 103));
    assert_eq!((story.access_tokens(), story.refresh_tokens()), (vec![2, 3], vec![102, 103]));
    assert_eq!(story.refused(refresh(101, 4, 104)), ErrorReason::UnknownToken);
}

#[test]
fn devices_go_with_their_tokens() {
    let mut story = Story::registered();
    story.happens(login("LAPTOP", 2, 0));
    let rename = |device_id: &str| {
        Command::UpdateDevice(UpdateDevice {
            device_id: device_id.to_owned(),
            display_name: Some("mine".to_owned()),
        })
    };
    assert_eq!(story.refused(rename("NONE")), ErrorReason::NotFound);
    assert_eq!(story.happens(rename("LAPTOP")).len(), 1);
    assert!(story.happens(rename("LAPTOP")).is_empty());
    let delete = |ids: &[&str], all| {
        let device_ids = ids.iter().map(|id| (*id).to_owned()).collect();
        Command::DeleteDevices(DeleteDevices { device_ids, all })
    };
    assert!(story.happens(delete(&["NONE"], false)).is_empty());
    story.happens(delete(&["LAPTOP", "LAPTOP", "NONE"], false));
    assert_eq!(story.access_tokens(), [1]);
    story.happens(delete(&[], true));
    assert!(story.access_tokens().is_empty() && story.refresh_tokens().is_empty());
    assert!(story.user.devices.is_empty());
}

#[test]
fn a_new_password_may_end_other_sessions() {
    let mut story = Story::registered();
    story.happens(login("LAPTOP", 2, 0));
    story.happens(Command::SetPassword(SetPassword {
        password_hash: "new".to_owned(),
        logout_devices: true,
        keep_device_id: "LAPTOP".to_owned(),
    }));
    assert_eq!(story.access_tokens(), [2]);
    assert_eq!(story.user.account.as_ref().unwrap().password_hash.as_deref(), Some("new"));
}

#[test]
fn profiles_are_limited_and_hold_json() {
    let mut story = Story::registered();
    let set = |field: &str, value: &str| {
        Command::SetProfileField(SetProfileField {
            field: field.to_owned(),
            value: Bytes::from(value.to_owned()),
        })
    };
    assert_eq!(story.happens(set("displayname", "\"Alice\"")).len(), 1);
    assert!(story.happens(set("displayname", "\"Alice\"")).is_empty());
    assert_eq!(story.refused(set("x", "{")), ErrorReason::BadJson);
    assert_eq!(story.refused(set("", "1")), ErrorReason::InvalidParam);
    assert_eq!(story.refused(set("x\0", "1")), ErrorReason::InvalidParam);
    assert_eq!(story.refused(set(&"x".repeat(256), "1")), ErrorReason::InvalidParam);
    let large = format!("\"{}\"", "x".repeat(40_000));
    story.happens(set("large", &large));
    assert_eq!(story.refused(set("larger", &large)), ErrorReason::TooLarge);
    story.happens(set("large", &large.replace('x', "y")));
    assert_eq!(story.happens(set("large", "")).len(), 1);
    assert!(story.happens(set("large", "")).is_empty());
}

#[test]
fn account_data_and_filters_are_objects() {
    let mut story = Story::registered();
    let data = |room_id: &str, content: &str| {
        Command::SetAccountData(SetAccountData {
            position: None,
            replaces: None,
            room_id: room_id.to_owned(),
            r#type: "m.tag".to_owned(),
            content: Bytes::from(content.to_owned()),
        })
    };
    assert_eq!(story.happens(data("", "{}")).len(), 1);
    assert_eq!(story.happens(data("!room:example.org", "{\"a\":1}")).len(), 1);
    assert_eq!(story.refused(data("", "[]")), ErrorReason::BadJson);
    assert_eq!(story.refused(data("", "nonsense")), ErrorReason::BadJson);
    assert_eq!(story.refused(data("no room", "{}")), ErrorReason::InvalidParam);
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(300_000));
    assert_eq!(story.refused(data("", &large)), ErrorReason::TooLarge);
    let filter = |id: &str, filter: &str| {
        Command::SetFilter(SetFilter { filter_id: id.to_owned(), filter: Bytes::from(filter.to_owned()) })
    };
    assert!(story.happens(filter("f1", "{}")).is_empty());
    assert!(story.happens(filter("f1", "{}")).is_empty());
    assert_eq!(story.refused(filter("f2", "7")), ErrorReason::BadJson);
    assert_eq!(story.user.filters.len(), 1);
}

#[test]
fn deactivating_leaves_nothing_to_log_in_with() {
    let mut story = Story::registered();
    story.happens(Command::SetProfileField(SetProfileField {
        field: "displayname".to_owned(),
        value: Bytes::from_static(b"\"A\""),
    }));
    story.happens(Command::Deactivate(Deactivate { erase: false }));
    assert!(story.access_tokens().is_empty());
    assert_eq!(story.user.profile.len(), 1);
    assert!(story.happens(Command::Deactivate(Deactivate { erase: false })).is_empty());
    assert_eq!(story.happens(Command::Deactivate(Deactivate { erase: true })).len(), 1);
    assert!(story.user.profile.is_empty());
}

#[test]
fn records_that_make_no_sense_are_poison() {
    let mut story = Story::registered();
    let poison = |outcome| assert!(matches!(outcome, Outcome::Poison(_)), "{outcome:?}");
    poison(story.try_command(ALICE, None));
    poison(story.try_command("nobody", Some(login("X", 2, 0))));
    poison(story.try_command("@alice:elsewhere.org", Some(login("X", 2, 0))));
    poison(story.try_command(ALICE, Some(Command::Login(Login { session: None }))));
    let session = NewSession { access_token_hash: Bytes::from_static(b"short"), ..session("X", 1, 0) };
    poison(story.try_command(ALICE, Some(Command::Login(Login { session: Some(session) }))));
}

#[test]
fn account_data_with_a_position_only_moves_forward() {
    let mut story = Story::registered();
    let marker = |event: &str, position: i64| {
        Command::SetAccountData(SetAccountData {
            room_id: "!room:example.org".to_owned(),
            r#type: "m.fully_read".to_owned(),
            content: format!("{{\"event_id\":\"{event}\"}}").into(),
            position: Some(position),
            replaces: None,
        })
    };
    assert_eq!(story.happens(marker("$b", 7)).len(), 1);
    // Of two that come at once the one that lies further ahead counts, in whatever order they come.
    for (event, position) in [("$a", 5), ("$b", 7), ("$before", -3)] {
        assert!(story.happens(marker(event, position)).is_empty(), "{event}");
    }
    assert_eq!(story.happens(marker("$c", 8)).len(), 1);
}

#[test]
fn account_data_that_was_made_of_other_data_does_not_go_over_it() {
    let mut story = Story::registered();
    let set = |content: &'static str, replaces: &'static str| {
        Command::SetAccountData(SetAccountData {
            room_id: String::new(),
            r#type: "m.direct".to_owned(),
            content: content.into(),
            position: None,
            replaces: Some(replaces.into()),
        })
    };
    assert_eq!(story.refused(set("{}", "{\"a\":[]}")), ErrorReason::BadState);
    story.happens(set("{}", ""));
    assert_eq!(story.refused(set("{\"a\":[]}", "")), ErrorReason::BadState);
    story.happens(set("{\"a\":[]}", "{}"));
}

#[test]
fn names_and_avatars_begin_jobs() {
    let mut story = Story::registered();
    let set = |field: &str, value: &str| {
        Command::SetProfileField(SetProfileField { field: field.to_owned(), value: value.to_owned().into() })
    };
    let jobs = |outcome: Outcome| match outcome {
        Outcome::Applied(applied) => {
            let jobs = applied.changes.iter().filter_map(|change| match change {
                Change::MemberJob(job, version, _) => Some((*job, *version)),
                _ => None,
            });
            let jobs: Vec<_> = jobs.collect();
            (applied.user.account.unwrap().profile_version, jobs)
        }
        other => panic!("{other:?}"),
    };
    let mut last = 0;
    for (field, value) in [("displayname", "\"A\""), ("avatar_url", "\"mxc://x/y\""), ("displayname", "")] {
        let (version, begun) = jobs(story.try_command(ALICE, Some(set(field, value))));
        assert!(version > last);
        assert_eq!(begun, [(MemberJob::UpdateProfile, version)]);
        last = version;
        story.happens(set(field, value));
        // The same again is no change.
        assert_eq!(jobs(story.try_command(ALICE, Some(set(field, value)))), (version, Vec::new()));
    }
    assert_eq!(jobs(story.try_command(ALICE, Some(set("org.x", "1")))), (last, Vec::new()));
    let (_, begun) = jobs(story.try_command(ALICE, Some(Command::Deactivate(Deactivate { erase: true }))));
    assert!(matches!(begun[..], [(MemberJob::Leave, _)]));
}
