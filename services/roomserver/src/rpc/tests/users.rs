use bytes::Bytes;
use plexus_log::{InputUser, StartAt, partition_of};
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::input_user_event::Command,
    user::v1::{
        AuthenticateRequest, FindRefreshTokenRequest, GetAccountDataRequest, GetAccountRequest,
        GetFilterRequest, GetPasswordHashRequest, GetProfileRequest, ListDevicesRequest,
    },
};
use ruma::user_id;

use super::fixture::{Fixture, reason};

const ALICE: &str = "@alice:example.org";

async fn accounts() -> Fixture {
    let mut fixture = Fixture::start().await;
    fixture
        .sql(
            "INSERT INTO accounts (user_id, password_hash, admin, created_ts) \
               VALUES ('@alice:example.org', 'phc', true, 5), ('@bare:example.org', NULL, false, 6); \
             INSERT INTO accounts (user_id, deactivated, erased_ts, created_ts) VALUES ('@gone:example.org', true, 7, 7); \
             INSERT INTO devices VALUES ('@alice:example.org', 'B', 'phone', 2), ('@alice:example.org', 'A', NULL, 1); \
             INSERT INTO access_tokens (token_hash, user_id, device_id, expires_ts) VALUES \
               (decode(repeat('01', 32), 'hex'), '@alice:example.org', 'A', 0), \
               (decode(repeat('02', 32), 'hex'), '@alice:example.org', 'B', 1), \
               (decode(repeat('03', 32), 'hex'), '@gone:example.org', 'C', 0); \
             INSERT INTO refresh_tokens (token_hash, user_id, device_id) VALUES \
               (decode(repeat('04', 32), 'hex'), '@alice:example.org', 'B'), \
               (decode(repeat('05', 32), 'hex'), '@gone:example.org', 'C'); \
             INSERT INTO profiles VALUES ('@alice:example.org', 'displayname', '\"Alice\"'); \
             INSERT INTO account_data VALUES ('@alice:example.org', '', 'm.direct', '{}', 1), \
               ('@alice:example.org', '!r:example.org', 'm.tag', '{\"tags\":{}}', 2); \
             INSERT INTO filters VALUES ('@alice:example.org', 'f', '{\"room\":{}}')",
        )
        .await;
    fixture
}

async fn authenticate(fixture: &Fixture, byte: u8) -> Result<(String, String, bool), tonic::Status> {
    let request = AuthenticateRequest {
        access_token_hash: Bytes::from(vec![byte; 32]),
        ..AuthenticateRequest::default()
    };
    let answer = fixture.users().authenticate(request).await?.into_inner();
    Ok((answer.user_id, answer.device_id, answer.admin))
}

#[tokio::test]
async fn tokens_stand_for_sessions() {
    let fixture = accounts().await;
    assert_eq!(authenticate(&fixture, 1).await.expect("a session"), (ALICE.to_owned(), "A".to_owned(), true));
    assert_eq!(reason(authenticate(&fixture, 2).await), ErrorReason::ExpiredToken);
    assert_eq!(reason(authenticate(&fixture, 3).await), ErrorReason::UserDeactivated);
    assert_eq!(reason(authenticate(&fixture, 9).await), ErrorReason::UnknownToken);
    let request = AuthenticateRequest {
        access_token_hash: Bytes::from_static(b"short"),
        ..AuthenticateRequest::default()
    };
    assert_eq!(reason(fixture.users().authenticate(request).await), ErrorReason::InvalidParam);
    let refresh = async |byte: u8| {
        let request = FindRefreshTokenRequest { refresh_token_hash: Bytes::from(vec![byte; 32]) };
        fixture.users().find_refresh_token(request).await
    };
    assert_eq!(refresh(4).await.expect("a session").into_inner().device_id, "B");
    assert_eq!(reason(refresh(5).await), ErrorReason::UnknownToken);
    assert_eq!(reason(refresh(1).await), ErrorReason::UnknownToken);
}

#[tokio::test]
async fn session_ends_with_the_commit_that_ends_it() {
    let mut fixture = accounts().await;
    let alice = user_id!("@alice:example.org");
    let partition = partition_of(ALICE);
    // Not ours: every request asks the database.
    authenticate(&fixture, 1).await.expect("a session");
    fixture.sql("UPDATE access_tokens SET device_id = 'X' WHERE device_id = 'A'").await;
    assert_eq!(authenticate(&fixture, 1).await.expect("a session").1, "X");
    // Ours: only what the worker tells of ends a session.
    fixture.app.sessions.hold_partition(partition, None);
    authenticate(&fixture, 1).await.expect("a session");
    fixture.sql("DELETE FROM access_tokens WHERE device_id = 'X'").await;
    authenticate(&fixture, 1).await.expect("the session is held");
    let fresh = AuthenticateRequest {
        access_token_hash: Bytes::from(vec![1; 32]),
        fresh: true,
        ..Default::default()
    };
    assert_eq!(reason(fixture.users().authenticate(fresh).await), ErrorReason::UnknownToken);
    fixture.app.sessions.evict_user(alice);
    assert_eq!(reason(authenticate(&fixture, 1).await), ErrorReason::UnknownToken);
    // An expiry needs no telling.
    fixture.sql("UPDATE access_tokens SET expires_ts = 0 WHERE device_id = 'B'").await;
    authenticate(&fixture, 2).await.expect("a session");
    fixture.app.sessions.evict_partition(partition);
    fixture.sql("UPDATE access_tokens SET expires_ts = 1 WHERE device_id = 'B'").await;
    assert_eq!(reason(authenticate(&fixture, 2).await), ErrorReason::ExpiredToken);
}

#[tokio::test]
async fn first_use_of_refreshed_tokens_is_noted() {
    let mut fixture = accounts().await;
    fixture
        .sql(
            "UPDATE refresh_tokens SET next_token_hash = decode(repeat('06', 32), 'hex') WHERE device_id = 'B'; \
             UPDATE access_tokens SET expires_ts = 0, refresh_token_hash = decode(repeat('06', 32), 'hex') \
               WHERE device_id = 'B'; \
             UPDATE devices SET last_seen_ts = 9000000000000",
        )
        .await;
    let partition = partition_of(ALICE);
    let mut reader = fixture.app.log.reader::<InputUser>().expect("reader opens");
    reader.assign(partition, StartAt::Oldest).await.expect("partition is read");
    fixture.app.sessions.hold_partition(partition, None);
    for _ in 0..3 {
        authenticate(&fixture, 2).await.expect("a session");
    }
    let entries = reader.next_batch(10).await.expect("records are read");
    let [entry] = entries.as_slice() else { panic!("it is noted once: {entries:?}") };
    let record = entry.record.as_ref().expect("it can be decoded");
    assert_eq!((record.user_id.as_str(), record.input_id.len(), record.version), (ALICE, 16, 1));
    let Some(Command::ConfirmTokens(confirm)) = &record.command else { panic!("it confirms: {record:?}") };
    assert_eq!(confirm.access_token_hash.as_ref(), [2; 32]);
}

#[tokio::test]
async fn a_device_is_noted_as_seen_once_for_many_requests() {
    let mut fixture = accounts().await;
    let mut reader = fixture.app.log.reader::<InputUser>().expect("reader opens");
    reader.assign(partition_of(ALICE), StartAt::Oldest).await.expect("partition is read");
    let ask = async |fixture: &Fixture| {
        let access_token_hash = Bytes::from(vec![1; 32]);
        let request = AuthenticateRequest { access_token_hash, fresh: true, ip: "192.0.2.7".to_owned() };
        fixture.users().authenticate(request).await.expect("a session");
    };
    for _ in 0..3 {
        ask(&fixture).await;
    }
    let entries = reader.next_batch(10).await.expect("records are read");
    let [entry] = entries.as_slice() else { panic!("it is noted once: {entries:?}") };
    let record = entry.record.as_ref().expect("it can be decoded");
    let Some(Command::NoteSeen(seen)) = &record.command else { panic!("it notes: {record:?}") };
    assert_eq!((record.user_id.as_str(), &*seen.device_id, &*seen.ip), (ALICE, "A", "192.0.2.7"));
    // What was seen within the hour is not noted at all, whoever asks.
    let now = record.produced_ts - 59 * 60 * 1_000;
    fixture.sql(&format!("UPDATE devices SET last_seen_ts = {now}")).await;
    let other = plexus_proto::user::v1::user_query_service_client::UserQueryServiceClient::new(
        plexus_service::RpcChannel::in_process(crate::rpc::routes(&fixture.app)),
    );
    let access_token_hash = Bytes::from(vec![1; 32]);
    let request = AuthenticateRequest { access_token_hash, fresh: true, ip: String::new() };
    other.clone().authenticate(request).await.expect("a session");
    assert_eq!(fixture.app.log.watermarks::<InputUser>(partition_of(ALICE)).await.expect("marks").high, 1);
}

#[tokio::test]
async fn accounts_and_what_belongs_to_them_are_read() {
    let fixture = accounts().await;
    let mut users = fixture.users();
    let account = users
        .get_account(GetAccountRequest { user_id: ALICE.to_owned() })
        .await
        .expect("it exists")
        .into_inner();
    assert_eq!((account.admin, account.created_ts), (true, 5));
    let request = GetPasswordHashRequest { user_id: ALICE.to_owned() };
    let secret = fixture.credentials().get_password_hash(request).await.expect("it exists").into_inner();
    assert_eq!((secret.password_hash.as_str(), secret.deactivated), ("phc", false));
    let request = GetPasswordHashRequest { user_id: "@nobody:example.org".to_owned() };
    assert_eq!(reason(fixture.credentials().get_password_hash(request).await), ErrorReason::NotFound);
    let request = GetAccountRequest { user_id: "@nobody:example.org".to_owned() };
    assert_eq!(reason(users.get_account(request).await), ErrorReason::NotFound);
    let request = GetAccountRequest { user_id: "nobody".to_owned() };
    assert_eq!(reason(users.get_account(request).await), ErrorReason::InvalidParam);

    let devices = async |device_ids: &[&str]| {
        let device_ids = device_ids.iter().map(|id| (*id).to_owned()).collect();
        let request = ListDevicesRequest { user_id: ALICE.to_owned(), device_ids };
        let answer = fixture.users().list_devices(request).await.expect("devices are read").into_inner();
        answer.devices.into_iter().map(|device| (device.device_id, device.display_name)).collect::<Vec<_>>()
    };
    let (a, b) = (("A".to_owned(), None), ("B".to_owned(), Some("phone".to_owned())));
    assert_eq!(devices(&[]).await, [a, b.clone()]);
    assert_eq!(devices(&["B", "Z"]).await, [b]);

    let profile = async |user_id: &str| {
        let request = GetProfileRequest { user_id: user_id.to_owned() };
        fixture.users().get_profile(request).await.map(|answer| answer.into_inner().fields)
    };
    assert_eq!(
        profile(ALICE).await.expect("it exists").get("displayname").expect("it is set").as_ref(),
        b"\"Alice\""
    );
    assert!(profile("@bare:example.org").await.expect("it exists").is_empty());
    assert_eq!(reason(profile("@gone:example.org").await), ErrorReason::NotFound);
    assert_eq!(reason(profile("@nobody:example.org").await), ErrorReason::NotFound);

    let data = async |room_id: &str, kind: &str| {
        let request = GetAccountDataRequest {
            user_id: ALICE.to_owned(),
            room_id: room_id.to_owned(),
            r#type: kind.to_owned(),
        };
        fixture.users().get_account_data(request).await.map(|answer| answer.into_inner().content)
    };
    assert_eq!(data("", "m.direct").await.expect("it is set").as_ref(), b"{}");
    assert_eq!(data("!r:example.org", "m.tag").await.expect("it is set").as_ref(), b"{\"tags\":{}}");
    assert_eq!(reason(data("", "m.tag").await), ErrorReason::NotFound);
    assert_eq!(reason(data("", "m.\0").await), ErrorReason::InvalidParam);

    let filter = async |filter_id: &str| {
        let request = GetFilterRequest { user_id: ALICE.to_owned(), filter_id: filter_id.to_owned() };
        fixture.users().get_filter(request).await.map(|answer| answer.into_inner().filter)
    };
    assert_eq!(filter("f").await.expect("it is set").as_ref(), b"{\"room\":{}}");
    assert_eq!(reason(filter("g").await), ErrorReason::NotFound);
}
