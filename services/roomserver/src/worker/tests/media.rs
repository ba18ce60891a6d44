//! Media: rows that name blobs.

use bytes::Bytes;
use diesel_async::SimpleAsyncConnection as _;
use plexus_proto::{
    common::v1::ErrorReason,
    log::v1::{
        AddThumbnail, CommitMedia, CommitRemoteMedia, Deactivate, DeleteMedia, EvictMedia, MediaThumbnail,
        MediaTotals, PurgeUserMedia, ReserveMedia, SetMediaQuarantine, StoredBlob, ThumbnailMethod,
        TouchMedia, input_user_event::Command,
    },
    media::v1::{
        FindMediaRequest, FindUnnamedBlobsRequest, GetCacheUsageRequest, GetUserUsageRequest,
        GetUserUsageResponse, ListEvictableRequest, ListUserMediaRequest, Media, MediaState,
        media_query_service_client::MediaQueryServiceClient,
    },
};
use prost::Message as _;

use super::{
    fixture::{ALICE, BOB, Server, World, Written, user_record},
    users::register,
};
use crate::store::media;

pub(super) const DAY: i64 = 24 * 60 * 60 * 1000;
const HOUR: i64 = DAY / 24;
const US: &str = "example.org";
const THERE: &str = "other.example";

/// When records of these tests are produced, if nothing else is said: the fixture's time lies in the past, and what has
/// expired is not told.
fn now() -> i64 {
    crate::worker::now_ms()
}

pub(super) async fn stage() -> (World, Server) {
    let world = World::new().await;
    let server = world.start().await;
    for user in [ALICE, BOB] {
        server.accepted(&world.write_user(&user_record(user, register_as(user))).await).await;
    }
    (world, server)
}

/// Tokens are the account's own.
fn register_as(user: &str) -> Command {
    let Command::Register(mut register) = register() else { unreachable!("it registers") };
    if user != ALICE {
        register.session = None;
    }
    Command::Register(register)
}

pub(super) async fn write(world: &World, key: &str, command: Command) -> Written {
    write_at(world, key, command, now()).await
}

pub(super) async fn write_at(world: &World, key: &str, command: Command, produced_ts: i64) -> Written {
    let mut record = user_record(key, command);
    record.produced_ts = produced_ts;
    world.write_user(&record).await
}

pub(super) fn id(name: &str) -> String {
    format!("{name}{}", "x".repeat(24))
}

pub(super) fn uri(server_name: &str, media_id: &str) -> String {
    format!("mxc://{server_name}/{media_id}")
}

fn hash(number: u8) -> Bytes {
    Bytes::from(vec![number; 32])
}

fn blob(number: u8, size: u64) -> Option<StoredBlob> {
    let (content_type, file_name) = ("image/png".to_owned(), format!("{number}.png"));
    Some(StoredBlob { sha256: hash(number), size, content_type, file_name })
}

pub(super) fn upload(name: &str, number: u8, size: u64) -> Command {
    Command::CommitMedia(CommitMedia { media_id: id(name), blob: blob(number, size), ..Default::default() })
}

fn fill(name: &str, number: u8, begun_ts: i64) -> Command {
    let (media_id, blob) = (id(name), blob(number, 10));
    Command::CommitMedia(CommitMedia { media_id, reserved: true, begun_ts, blob, ..Default::default() })
}

fn reserve(name: &str, expires_ts: i64, max_pending: u32) -> Command {
    Command::ReserveMedia(ReserveMedia { media_id: id(name), expires_ts, max_pending })
}

pub(super) fn fetched(number: u8, size: u64) -> Command {
    Command::CommitRemoteMedia(CommitRemoteMedia { blob: blob(number, size) })
}

fn thumbnail(name: &str, of: u8, width: u32, number: u8) -> Command {
    let thumbnail = MediaThumbnail {
        width,
        height: 32,
        method: ThumbnailMethod::Crop.into(),
        content_type: "image/png".to_owned(),
        size: 7,
        sha256: hash(number),
        ..MediaThumbnail::default()
    };
    Command::AddThumbnail(AddThumbnail {
        media_id: id(name),
        of_sha256: hash(of),
        thumbnail: Some(thumbnail),
    })
}

fn quarantine(name: &str, quarantined: bool) -> Command {
    let (by, reason) = ("an operator".to_owned(), "spam".to_owned());
    Command::SetMediaQuarantine(SetMediaQuarantine { media_id: id(name), quarantined, by, reason })
}

fn delete(name: &str, by_operator: bool) -> Command {
    Command::DeleteMedia(DeleteMedia { media_id: id(name), by_operator, accessed_before_ts: 0 })
}

pub(super) async fn find(server: &Server, server_name: &str, name: &str) -> Option<Media> {
    let request = FindMediaRequest { server_name: server_name.to_owned(), media_id: id(name) };
    let answer = MediaQueryServiceClient::new(server.channel.clone()).find_media(request).await;
    answer.expect("it is looked for").into_inner().media
}

async fn usage(server: &Server, user_id: &str) -> GetUserUsageResponse {
    let request = GetUserUsageRequest { user_id: user_id.to_owned() };
    let answer = MediaQueryServiceClient::new(server.channel.clone()).get_user_usage(request).await;
    answer.expect("it is told").into_inner()
}

/// Which of the blobs up to a number no row names.
async fn unnamed(server: &Server, upto: u8) -> Vec<u8> {
    let request = FindUnnamedBlobsRequest { sha256: (1..=upto).map(hash).collect() };
    let answer = MediaQueryServiceClient::new(server.channel.clone()).find_unnamed_blobs(request).await;
    let mut found: Vec<u8> =
        answer.expect("they are told").into_inner().sha256.iter().map(|hash| hash[0]).collect();
    found.sort_unstable();
    found
}

async fn totals(server: &Server, written: &Written) -> (u64, u64) {
    let payload = server.accepted(written).await.payload;
    let totals = MediaTotals::decode(payload).expect("it answers with sums");
    (totals.files, totals.bytes)
}

async fn reason(server: &Server, written: &Written) -> ErrorReason {
    server.rejected(written).await.reason()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reserved_id_is_uploaded_once_and_by_who_reserved_it() {
    let (world, server) = stage().await;
    let later = now() + DAY;
    server.accepted(&write(&world, ALICE, reserve("a", later, 2)).await).await;
    server.accepted(&write(&world, ALICE, reserve("b", later, 2)).await).await;
    assert_eq!(
        reason(&server, &write(&world, ALICE, reserve("c", later, 2)).await).await,
        ErrorReason::LimitExceeded
    );
    assert_eq!(
        reason(&server, &write(&world, BOB, reserve("a", later, 2)).await).await,
        ErrorReason::InvalidParam
    );
    let found = find(&server, US, "a").await.expect("it is known");
    assert_eq!((found.state(), found.user_id.as_str(), found.blob), (MediaState::Pending, ALICE, None));
    assert_eq!(usage(&server, ALICE).await.pending, 2);

    assert_eq!(reason(&server, &write(&world, BOB, fill("a", 1, now())).await).await, ErrorReason::NotFound);
    let filled = write(&world, ALICE, fill("a", 1, now())).await;
    server.accepted(&filled).await;
    let again = write(&world, ALICE, fill("a", 1, now())).await;
    assert_eq!(reason(&server, &again).await, ErrorReason::CannotOverwriteMedia);
    server.accepted(&filled).await;
    let found = find(&server, US, "a").await.expect("it is known");
    assert_eq!((found.state(), found.blob, found.expires_ts), (MediaState::Ready, blob(1, 10), 0));
    let sums = usage(&server, ALICE).await;
    assert_eq!((sums.files, sums.bytes, sums.pending, sums.day_bytes), (1, 10, 1, 10));

    // A reservation that has expired makes room, and is good for an hour more for uploads that began before.
    let expired = now() - HOUR / 2;
    let old = expired - HOUR;
    for (name, at) in [("late", old), ("later", old), ("over", old)] {
        server.accepted(&write_at(&world, ALICE, reserve(name, expired, 5), at).await).await;
    }
    assert!(find(&server, US, "late").await.is_none(), "it is not told any more");
    let begun_late = write(&world, ALICE, fill("later", 1, expired + 1)).await;
    assert_eq!(reason(&server, &begun_late).await, ErrorReason::NotFound);
    let ended_late = write_at(&world, ALICE, fill("over", 1, expired), expired + HOUR + 1).await;
    assert_eq!(reason(&server, &ended_late).await, ErrorReason::NotFound);
    server.accepted(&write(&world, ALICE, fill("late", 1, expired)).await).await;
    assert_eq!(find(&server, US, "late").await.expect("it is known").state(), MediaState::Ready);
    server.accepted(&write(&world, ALICE, reserve("d", later, 2)).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_hold() {
    let (world, server) = stage().await;
    let today = now();
    let upload = |name: &str, size: u64, limits: [u64; 3]| {
        Command::CommitMedia(CommitMedia {
            media_id: id(name),
            blob: blob(1, size),
            max_user_bytes: limits[0],
            max_user_bytes_per_day: limits[1],
            max_user_files: limits[2],
            ..CommitMedia::default()
        })
    };
    let steps = [
        ("a", 60, [100, 0, 0], today, true),
        ("b", 41, [100, 0, 0], today, false),
        ("c", 40, [100, 100, 2], today, true),
        ("d", 1, [0, 100, 0], today, false),
        ("e", 1, [0, 0, 2], today, false),
        ("f", 1, [0, 100, 0], today + DAY, true),
        ("g", 99, [0, 100, 0], today + DAY, true),
        // It comes late and counts for the day that is noted.
        ("h", 1, [0, 100, 0], today, false),
    ];
    for (name, size, limits, at, fits) in steps {
        let written = write_at(&world, ALICE, upload(name, size, limits), at).await;
        if fits {
            server.accepted(&written).await;
        } else {
            assert_eq!(reason(&server, &written).await, ErrorReason::QuotaExceeded, "{name}");
        }
    }
    let sums = usage(&server, ALICE).await;
    assert_eq!((sums.files, sums.bytes, sums.day_bytes), (4, 200, 100));
    assert_eq!(totals(&server, &write(&world, ALICE, delete("a", false)).await).await, (1, 60));
    let sums = usage(&server, ALICE).await;
    assert_eq!((sums.files, sums.bytes, sums.day_bytes), (3, 140, 100));
}

#[tokio::test(flavor = "multi_thread")]
async fn quarantine_outlives_the_cache() {
    let (world, server) = stage().await;
    let key = uri(THERE, &id("a"));
    server.accepted(&write(&world, &key, fetched(1, 100)).await).await;
    server.accepted(&write(&world, &key, thumbnail("a", 1, 32, 2)).await).await;
    let other = write(&world, &key, thumbnail("a", 9, 96, 2)).await;
    assert_eq!(reason(&server, &other).await, ErrorReason::NotFound, "it was made of other bytes");
    let found = find(&server, THERE, "a").await.expect("it is known");
    assert_eq!((found.state(), found.thumbnails.len(), found.quarantined), (MediaState::Ready, 1, false));
    assert_eq!(unnamed(&server, 3).await, [3]);

    server.accepted(&write(&world, &key, quarantine("a", true)).await).await;
    let evict = |accessed_before_ts| Command::EvictMedia(EvictMedia { accessed_before_ts });
    assert_eq!(totals(&server, &write(&world, &key, evict(1)).await).await, (0, 0), "it was read since");
    assert_eq!(totals(&server, &write(&world, &key, evict(0)).await).await, (1, 100));
    assert_eq!(totals(&server, &write(&world, &key, evict(0)).await).await, (0, 0));
    let found = find(&server, THERE, "a").await.expect("it is known");
    assert_eq!((found.state(), found.blob, found.quarantined), (MediaState::Absent, None, true));
    assert_eq!((found.thumbnails, unnamed(&server, 3).await), (vec![], vec![1, 2, 3]));
    assert_eq!(reason(&server, &write(&world, &key, fetched(1, 100)).await).await, ErrorReason::Quarantined);
    server.accepted(&write(&world, &key, quarantine("a", false)).await).await;
    assert!(find(&server, THERE, "a").await.is_none(), "nothing else was known of it");

    // What was never cached may be quarantined; of ours, only what there is.
    let never = uri(THERE, &id("b"));
    server.accepted(&write(&world, &never, quarantine("b", true)).await).await;
    assert_eq!(reason(&server, &write(&world, &never, fetched(1, 1)).await).await, ErrorReason::Quarantined);
    assert_eq!(
        reason(&server, &write(&world, ALICE, quarantine("b", true)).await).await,
        ErrorReason::NotFound
    );
    server.accepted(&write(&world, ALICE, upload("c", 5, 10)).await).await;
    server.accepted(&write(&world, ALICE, quarantine("c", true)).await).await;
    assert_eq!(reason(&server, &write(&world, ALICE, delete("c", false)).await).await, ErrorReason::NotFound);
    assert_eq!(totals(&server, &write(&world, ALICE, delete("c", true)).await).await, (1, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_have_other_thumbnails_and_few() {
    let (world, server) = stage().await;
    let key = uri(THERE, &id("a"));
    // All in one batch: what was dropped in it and what came after do not mix.
    let mut held = world.hold_up().await;
    let mut written = Vec::new();
    for command in [
        fetched(1, 100),
        thumbnail("a", 1, 32, 2),
        fetched(1, 100),
        thumbnail("a", 1, 96, 3),
        fetched(4, 100),
        thumbnail("a", 4, 32, 5),
    ] {
        written.push(write(&world, &key, command).await);
    }
    held.batch_execute("ROLLBACK").await.expect("it ends");
    for written in &written {
        server.accepted(written).await;
    }
    let found = find(&server, THERE, "a").await.expect("it is known");
    let thumbnails: Vec<_> = found.thumbnails.iter().map(|one| (one.width, one.sha256[0])).collect();
    assert_eq!((thumbnails, unnamed(&server, 5).await), (vec![(32, 5)], vec![1, 2, 3]));
    for width in 100..131 {
        server.accepted(&write(&world, &key, thumbnail("a", 4, width, 6)).await).await;
    }
    let one_more = write(&world, &key, thumbnail("a", 4, 200, 6)).await;
    assert_eq!(reason(&server, &one_more).await, ErrorReason::LimitExceeded);
    server.accepted(&write(&world, &key, thumbnail("a", 4, 100, 7)).await).await;
    let bytes = "SELECT thumbnail_bytes FROM media WHERE thumbnail_bytes = \
                 (SELECT sum(size) FROM media_thumbnails)::bigint";
    assert_eq!(world.number(bytes).await, 32 * 7);
    let mut client = MediaQueryServiceClient::new(server.channel.clone());
    let cached = client.get_cache_usage(GetCacheUsageRequest::default()).await.expect("told").into_inner();
    assert_eq!((cached.files, cached.bytes, cached.servers.len()), (1, 100 + 32 * 7, 1));
    let evictable = client.list_evictable(ListEvictableRequest::default()).await.expect("told").into_inner();
    assert_eq!((evictable.media.len(), evictable.media[0].bytes), (1, 100 + 32 * 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn media_goes_with_who_is_erased() {
    let (world, server) = stage().await;
    for number in 0..25 {
        server.accepted(&write(&world, ALICE, upload(&format!("a{number}"), number + 1, 10)).await).await;
    }
    server.accepted(&write(&world, ALICE, reserve("r", now() + DAY, 5)).await).await;
    server.accepted(&write(&world, ALICE, quarantine("a1", true)).await).await;
    server.accepted(&write(&world, BOB, upload("b", 1, 10)).await).await;
    let list = async |page_token: String| {
        let request = ListUserMediaRequest { user_id: ALICE.to_owned(), page_token, limit: 20 };
        let answer = MediaQueryServiceClient::new(server.channel.clone()).list_user_media(request).await;
        let answer = answer.expect("it is listed").into_inner();
        (answer.media, answer.next_page_token)
    };
    let (first, token) = list(String::new()).await;
    let (second, end) = list(token).await;
    assert_eq!((first.len(), second.len(), end.as_str()), (20, 6, ""));
    assert_eq!((first[0].media_id.as_str(), first[0].state()), (id("r").as_str(), MediaState::Pending));

    // An account that is only deactivated keeps what it has uploaded, and uploads no more.
    server.accepted(&write(&world, ALICE, Command::Deactivate(Deactivate { erase: false })).await).await;
    assert_eq!(
        reason(&server, &write(&world, ALICE, upload("n", 1, 1)).await).await,
        ErrorReason::UserDeactivated
    );
    server.accepted(&write(&world, ALICE, thumbnail("a0", 1, 32, 40)).await).await;
    assert_eq!(usage(&server, ALICE).await.files, 25);
    server.accepted(&write(&world, ALICE, Command::Deactivate(Deactivate { erase: true })).await).await;
    for name in ["a0", "a1", "a24", "r"] {
        assert!(find(&server, US, name).await.is_none(), "{name}");
    }
    assert_eq!((list(String::new()).await.0.len(), usage(&server, ALICE).await.files), (0, 0));
    assert_eq!(reason(&server, &write(&world, ALICE, delete("a0", true)).await).await, ErrorReason::NotFound);
    // Its rows go in steps, and then nobody names its blobs.
    assert!(unnamed(&server, 25).await.is_empty());
    let mut conn = world.connect().await;
    assert_eq!(media::collect_garbage(&mut conn, now(), 7, || false).await.expect("it goes"), 26);
    assert_eq!(unnamed(&server, 25).await, (2..=25).collect::<Vec<u8>>(), "Bob has the first, too");
    assert!(find(&server, US, "b").await.is_some());
    assert_eq!(world.number("SELECT count(*) FROM media_users WHERE has_garbage").await, 0);

    // What comes after a purge is there.
    let purge = || Command::PurgeUserMedia(PurgeUserMedia {});
    assert_eq!(totals(&server, &write(&world, BOB, purge()).await).await, (1, 10));
    assert_eq!(totals(&server, &write(&world, BOB, purge()).await).await, (0, 0));
    let taken = write(&world, BOB, upload("b", 1, 10)).await;
    assert_eq!(reason(&server, &taken).await, ErrorReason::CannotOverwriteMedia);
    server.accepted(&write(&world, BOB, upload("c", 1, 10)).await).await;
    assert_eq!(media::collect_garbage(&mut conn, now(), 7, || false).await.expect("it goes"), 1);
    assert!(find(&server, US, "b").await.is_none() && find(&server, US, "c").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_is_noted_once_a_day_and_what_expires_goes() {
    let (world, server) = stage().await;
    let begun = now() - now() % DAY - 10 * DAY;
    server.accepted(&write_at(&world, ALICE, upload("a", 1, 10), begun).await).await;
    let touch = || Command::TouchMedia(TouchMedia { media_id: id("a") });
    for (at, day) in [(HOUR, 0), (DAY, 1), (DAY + HOUR, 1), (3 * DAY + HOUR, 3), (2 * DAY, 3)] {
        server.accepted(&write_at(&world, ALICE, touch(), begun + at).await).await;
        let found = find(&server, US, "a").await.expect("it is known");
        assert_eq!((found.accessed_ts - begun) / DAY, day, "{at}");
    }
    server.accepted(&write(&world, BOB, touch()).await).await;

    let key = |name: &str| uri(US, &id(name));
    let preview = |name: &str, expires_ts| {
        let (media_id, blob) = (id(name), blob(2, 10));
        Command::CommitMedia(CommitMedia { media_id, blob, expires_ts, ..Default::default() })
    };
    server.accepted(&write(&world, &key("p"), preview("p", now() + DAY)).await).await;
    server.accepted(&write_at(&world, &key("q"), preview("q", now() - 3 * HOUR), begun).await).await;
    server.accepted(&write_at(&world, ALICE, reserve("r", now() - 3 * HOUR, 5), begun).await).await;
    let never = write(&world, &key("n"), preview("n", 0)).await;
    assert_eq!(reason(&server, &never).await, ErrorReason::InvalidParam);
    let of_user = write(&world, ALICE, preview("n", now() + DAY)).await;
    assert_eq!(reason(&server, &of_user).await, ErrorReason::InvalidParam);
    assert!(find(&server, US, "p").await.is_some_and(|found| found.user_id.is_empty()));
    assert!(find(&server, US, "q").await.is_none());
    let late = write(&world, &key("q"), thumbnail("q", 2, 32, 3)).await;
    assert_eq!(reason(&server, &late).await, ErrorReason::NotFound);
    let mut conn = world.connect().await;
    assert_eq!(media::collect_garbage(&mut conn, now(), 1, || false).await.expect("it goes"), 2);
    assert!(find(&server, US, "p").await.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_the_wrong_key_are_set_aside_or_refused() {
    let (world, server) = stage().await;
    let there = uri(THERE, &id("a"));
    let evict = Command::EvictMedia(EvictMedia::default());
    for (key, command) in [
        (ALICE, fetched(1, 1)),
        (ALICE, evict.clone()),
        (there.as_str(), upload("a", 1, 1)),
        (there.as_str(), Command::PurgeUserMedia(PurgeUserMedia {})),
        (there.as_str(), Command::Deactivate(Deactivate { erase: true })),
        (&uri(US, &id("a")), fetched(1, 1)),
        (&uri(US, &id("a")), evict),
        ("mxc://other.example", fetched(1, 1)),
        ("mxc://other.example/a/b", fetched(1, 1)),
        ("mxc://not a server/aa", fetched(1, 1)),
    ] {
        let refused = reason(&server, &write(&world, key, command).await).await;
        assert_eq!(refused, ErrorReason::DeadLettered, "{key}");
    }
    let wrong_id = |command: CommitMedia| Command::CommitMedia(command);
    for command in [
        wrong_id(CommitMedia { media_id: "short".to_owned(), blob: blob(1, 1), ..Default::default() }),
        wrong_id(CommitMedia { media_id: format!("{}/", id("a")), blob: blob(1, 1), ..Default::default() }),
        wrong_id(CommitMedia { media_id: format!("{}\0", id("a")), blob: blob(1, 1), ..Default::default() }),
        wrong_id(CommitMedia { media_id: id("a"), blob: None, ..Default::default() }),
        Command::ReserveMedia(ReserveMedia { media_id: id("a"), expires_ts: 1, max_pending: 5 }),
        Command::TouchMedia(TouchMedia { media_id: "..".to_owned() }),
    ] {
        assert_eq!(reason(&server, &write(&world, ALICE, command).await).await, ErrorReason::InvalidParam);
    }
    let other = write(&world, &there, thumbnail("b", 1, 32, 1)).await;
    assert_eq!(reason(&server, &other).await, ErrorReason::InvalidParam);
}
