//! Tests what operators ask of media.

use futures::TryStreamExt as _;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{CommitMedia, input_user_event::Command},
    operator::v1::{
        DeleteMediaRequest, GetMediaRequest, GetMediaUsageRequest, ListMediaRequest, PurgeMediaRequest,
        PurgeMediaResponse, PurgeScope, PurgeUserMediaRequest, SetQuarantineRequest,
        SetUserQuarantineRequest, media_admin_service_client::MediaAdminServiceClient,
    },
};
use plexus_service::{RpcChannel, refusal::reason_of};

use super::{
    fixture::{ALICE, BOB, Server},
    media::{DAY, fetched, find, id, stage, upload, uri, write, write_at},
};
use crate::worker::now_ms;

const US: &str = "example.org";
const THERE: &str = "other.example";
const ELSEWHERE: &str = "third.example";

fn client(server: &Server) -> MediaAdminServiceClient<RpcChannel> {
    MediaAdminServiceClient::new(RpcChannel::in_process(server.server.operator_routes()))
}

async fn list(server: &Server, request: ListMediaRequest) -> Vec<String> {
    let mut names = Vec::new();
    let mut request = ListMediaRequest { limit: 2, ..request };
    loop {
        let page = client(server).list_media(request.clone()).await.expect("it is listed").into_inner();
        names.extend(page.media.into_iter().map(|media| media.media_id.trim_end_matches('x').to_owned()));
        if page.next_page_token.is_empty() {
            return names;
        }
        request.page_token = page.next_page_token;
    }
}

async fn purge(server: &Server, request: PurgeMediaRequest) -> PurgeMediaResponse {
    let told = client(server).purge_media(request).await.expect("it begins").into_inner();
    let told: Vec<_> = told.try_collect().await.expect("it ends");
    assert!(told.iter().rev().skip(1).all(|progress| !progress.done));
    *told.last().expect("the end is told")
}

#[tokio::test(flavor = "multi_thread")]
async fn media_is_listed_and_counted() {
    let (world, server) = stage().await;
    for (name, number) in [("a", 1), ("b", 2), ("c", 1)] {
        server.accepted(&write(&world, ALICE, upload(name, number, 10)).await).await;
    }
    server.accepted(&write(&world, BOB, upload("d", 3, 5)).await).await;
    server.accepted(&write(&world, &uri(THERE, &id("e")), fetched(1, 100)).await).await;
    server.accepted(&write(&world, &uri(ELSEWHERE, &id("f")), fetched(4, 7)).await).await;
    let all = ListMediaRequest::default;
    assert_eq!(list(&server, all()).await, ["a", "b", "c", "d", "e", "f"]);
    let of_alice = ListMediaRequest { user_id: ALICE.to_owned(), ..all() };
    assert_eq!(list(&server, of_alice).await, ["c", "b", "a"]);
    let of_server = ListMediaRequest { server_name: US.to_owned(), ..all() };
    assert_eq!(list(&server, of_server).await, ["a", "b", "c", "d"]);
    let of_bytes = ListMediaRequest { sha256: vec![1; 32].into(), ..all() };
    assert_eq!(list(&server, of_bytes).await, ["a", "c", "e"]);
    let both = ListMediaRequest { user_id: ALICE.to_owned(), quarantined: true, ..all() };
    let refused = client(&server).list_media(both).await.expect_err("one at a time");
    assert_eq!(reason_of(&refused), Some(ErrorReason::InvalidParam));

    let mut operator = client(&server);
    let request = GetMediaRequest { server_name: US.to_owned(), media_id: id("a") };
    let found = operator.get_media(request).await.expect("it is known").into_inner();
    assert_eq!(found.same_bytes.len(), 2);
    assert_eq!(found.media.expect("it is told").user_id, ALICE);
    let request = GetMediaRequest { server_name: THERE.to_owned(), media_id: id("z") };
    let refused = operator.get_media(request).await.expect_err("it is not known");
    assert_eq!(reason_of(&refused), Some(ErrorReason::NotFound));

    let usage = operator.get_media_usage(GetMediaUsageRequest { limit: 1 }).await.expect("told").into_inner();
    let (local, remote) = (usage.local.expect("told"), usage.remote.expect("told"));
    assert_eq!((local.files, local.bytes, remote.files, remote.bytes), (4, 35, 2, 107));
    assert_eq!((usage.users.len(), usage.users[0].name.as_str(), usage.users[0].bytes), (1, ALICE, 30));
    assert_eq!((usage.servers.len(), usage.servers[0].name.as_str()), (1, THERE));
}

#[tokio::test(flavor = "multi_thread")]
async fn quarantine_takes_the_same_bytes_along_or_all_of_a_user() {
    let (world, server) = stage().await;
    for (name, number) in [("a", 1), ("b", 2)] {
        server.accepted(&write(&world, ALICE, upload(name, number, 10)).await).await;
    }
    server.accepted(&write(&world, BOB, upload("c", 1, 10)).await).await;
    server.accepted(&write(&world, &uri(THERE, &id("d")), fetched(1, 100)).await).await;
    let set = |server_name: &str, name: &str, quarantined, same_bytes| SetQuarantineRequest {
        server_name: server_name.to_owned(),
        media_id: id(name),
        quarantined,
        same_bytes,
        by: "op".to_owned(),
        reason: "spam".to_owned(),
    };
    let mut operator = client(&server);
    let answer = operator.set_quarantine(set(US, "a", true, true)).await.expect("it is done");
    assert_eq!(answer.into_inner().files, 3);
    operator.set_quarantine(set(THERE, "never", true, true)).await.expect("it need not be known");
    let refused = operator.set_quarantine(set(US, "never", true, true)).await.expect_err("ours has to be");
    assert_eq!(reason_of(&refused), Some(ErrorReason::NotFound));
    let quarantined = || ListMediaRequest { quarantined: true, ..ListMediaRequest::default() };
    assert_eq!(list(&server, quarantined()).await, ["a", "c", "d", "never"]);
    operator.set_quarantine(set(US, "a", false, false)).await.expect("it is done");
    assert_eq!(list(&server, quarantined()).await, ["c", "d", "never"]);
    for (is_quarantined, files) in [(true, 2), (true, 0), (false, 2)] {
        let request = SetUserQuarantineRequest {
            user_id: ALICE.to_owned(),
            quarantined: is_quarantined,
            ..SetUserQuarantineRequest::default()
        };
        let told = operator.set_user_quarantine(request).await.expect("it begins").into_inner();
        let told: Vec<_> = told.try_collect().await.expect("it ends");
        let last = told.last().expect("the end is told");
        assert_eq!((last.files, last.done), (files, true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn old_media_is_purged_by_where_it_is_of() {
    let (world, server) = stage().await;
    let now = now_ms();
    let old = now - 30 * DAY;
    let mut operator = client(&server);
    for number in 0..5_u8 {
        let key = uri(if number < 3 { THERE } else { ELSEWHERE }, &id(&format!("r{number}")));
        server.accepted(&write_at(&world, &key, fetched(number + 1, 10), old).await).await;
    }
    server.accepted(&write(&world, &uri(THERE, &id("new")), fetched(9, 10)).await).await;
    for name in ["a", "b"] {
        server.accepted(&write_at(&world, ALICE, upload(name, 1, 10), old).await).await;
    }
    let preview = CommitMedia {
        media_id: id("p"),
        expires_ts: now + DAY,
        ..match upload("p", 1, 10) {
            Command::CommitMedia(commit) => commit,
            other => panic!("{other:?}"),
        }
    };
    let key = uri(US, &id("p"));
    server.accepted(&write_at(&world, &key, Command::CommitMedia(preview), old).await).await;
    let quarantine = |server_name: &str, name: &str| SetQuarantineRequest {
        server_name: server_name.to_owned(),
        media_id: id(name),
        quarantined: true,
        ..SetQuarantineRequest::default()
    };
    for (server_name, name) in [(THERE, "r0"), (US, "b")] {
        operator.set_quarantine(quarantine(server_name, name)).await.expect("it is done");
    }
    let request = |scope: PurgeScope, server_name: &str, dry_run| PurgeMediaRequest {
        scope: scope.into(),
        accessed_before_ts: now - DAY,
        server_name: server_name.to_owned(),
        dry_run,
    };
    for wrong in [
        request(PurgeScope::Unspecified, "", false),
        request(PurgeScope::Local, THERE, false),
        PurgeMediaRequest { accessed_before_ts: 0, ..request(PurgeScope::Remote, "", false) },
        PurgeMediaRequest { accessed_before_ts: now + DAY, ..request(PurgeScope::Remote, "", false) },
    ] {
        let refused = operator.purge_media(wrong).await.expect_err("it makes no sense");
        assert_eq!(reason_of(&refused), Some(ErrorReason::InvalidParam));
    }
    let files = async |request| {
        let done = purge(&server, request).await;
        (done.files, done.bytes)
    };
    assert_eq!(files(request(PurgeScope::Remote, "", true)).await, (5, 50));
    assert_eq!(files(request(PurgeScope::Remote, ELSEWHERE, false)).await, (2, 20));
    assert_eq!(files(request(PurgeScope::Remote, "", false)).await, (3, 30));
    assert_eq!(files(request(PurgeScope::Remote, "", false)).await, (0, 0));
    assert!(find(&server, THERE, "new").await.is_some());
    assert!(find(&server, THERE, "r0").await.is_some_and(|found| found.quarantined && found.blob.is_none()));
    assert_eq!(files(request(PurgeScope::Local, "", false)).await, (2, 20));
    assert!(find(&server, US, "b").await.is_some(), "it is quarantined");
    assert!(find(&server, US, "a").await.is_none() && find(&server, US, "p").await.is_none());

    let delete = |server_name: &str, name: &str| DeleteMediaRequest {
        server_name: server_name.to_owned(),
        media_id: id(name),
    };
    for (server_name, name) in [(US, "b"), (THERE, "new")] {
        let answer = operator.delete_media(delete(server_name, name)).await.expect("it is deleted");
        assert_eq!(answer.into_inner().bytes, 10);
        let refused = operator.delete_media(delete(server_name, name)).await.expect_err("it is gone");
        assert_eq!(reason_of(&refused), Some(ErrorReason::NotFound));
    }
    server.accepted(&write(&world, ALICE, upload("c", 1, 10)).await).await;
    let all = |user_id: &str| PurgeUserMediaRequest { user_id: user_id.to_owned() };
    let gone = operator.purge_user_media(all(ALICE)).await.expect("it is deleted").into_inner();
    assert_eq!((gone.files, gone.bytes), (1, 10));
    let refused = operator.purge_user_media(all("@nobody:example.org")).await.expect_err("nobody");
    assert_eq!(reason_of(&refused), Some(ErrorReason::NotFound));
}
