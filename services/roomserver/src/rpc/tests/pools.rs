//! Reads of one kind do not wait for those of another.

use std::time::Instant;

use diesel_async::RunQueryDsl as _;
use plexus_proto::{
    room::v1::{ListPublicRoomsRequest, SearchUsersRequest, WalkSpaceRequest},
    user::v1::{AuthenticateRequest, GetAccountRequest},
};
use tonic::Code;

use super::fixture::Fixture;
use crate::store::{StoreError, pool};

const ALICE: &str = "@alice:example.org";

fn search() -> SearchUsersRequest {
    SearchUsersRequest { viewer: ALICE.to_owned(), search_term: "alice".to_owned(), limit: 10 }
}

/// Keeps all connections of a pool busy until they are cancelled.
async fn fill(
    pool: &pool::ReadPool,
    connections: usize,
) -> Vec<tokio::task::JoinHandle<Result<(), StoreError>>> {
    let mut sleepers = Vec::new();
    for _ in 0..connections {
        let mut conn = pool::get(pool).await.expect("the pool is empty");
        sleepers.push(tokio::spawn(async move {
            let slept = diesel::sql_query("SELECT pg_sleep(60)").execute(&mut conn).await;
            slept.map(|_| ()).map_err(StoreError::query("tests.sleep"))
        }));
    }
    sleepers
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_searches_keep_nobody_from_logging_in_or_reading() {
    let mut fixture = Fixture::start().await;
    fixture.account(ALICE, Some("Alice")).await;
    fixture.sql("INSERT INTO access_tokens VALUES (decode(repeat('07', 32), 'hex'), '@alice:example.org', 'D', 0)").await;
    let sleepers = fill(&fixture.app.search_pool, 2).await;
    // Two more may wait; they are refused when they have waited for as long as a search may.
    let (first, second) = (fixture.summaries(), fixture.summaries());
    let waiting =
        [first, second].map(|mut client| tokio::spawn(async move { client.search_users(search()).await }));
    while fixture.app.search_pool.free_places() > 0 {
        tokio::task::yield_now().await;
    }
    let began = Instant::now();
    let refused = fixture.summaries().search_users(search()).await.expect_err("no place is left");
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    let walk =
        WalkSpaceRequest { room_id: "!r:example.org".to_owned(), limit: 1, ..WalkSpaceRequest::default() };
    assert_eq!(
        fixture.summaries().walk_space(walk).await.expect_err("likewise").code(),
        Code::ResourceExhausted
    );
    for _ in 0..10 {
        let token = AuthenticateRequest {
            access_token_hash: vec![7; 32].into(),
            fresh: true,
            ..AuthenticateRequest::default()
        };
        let session = fixture.users().authenticate(token).await.expect("the token is known").into_inner();
        assert_eq!(session.user_id, ALICE);
        let account = GetAccountRequest { user_id: ALICE.to_owned() };
        fixture.users().get_account(account).await.expect("the account is read");
        let first = ListPublicRoomsRequest { limit: 1, ..ListPublicRoomsRequest::default() };
        fixture.summaries().list_public_rooms(first).await.expect("the directory is read");
    }
    let over = sleepers.iter().filter(|sleeper| sleeper.is_finished()).count();
    assert_eq!(
        over,
        0,
        "all this happened while the connections for searches were busy: {:?}",
        began.elapsed()
    );
    for search in waiting {
        if let Err(refused) = search.await.expect("no panic") {
            assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        }
    }
    for sleeper in sleepers {
        let failure = sleeper.await.expect("no panic").expect_err("Postgres cancels what takes too long");
        assert!(!failure.is_our_fault(), "{failure:?}");
    }
    let found = fixture.summaries().search_users(search()).await.expect("there are connections again");
    assert!(found.into_inner().users.is_empty(), "who is in no room cannot be met");
}
