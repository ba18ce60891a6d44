use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{
        DirectoryPosition, GetSummariesRequest, ListMutualRoomsRequest, ListPublicRoomsRequest,
        ListPublicRoomsResponse, RoomSummary, SearchUsersRequest, WalkSpaceRequest,
    },
};
use serde_json::{Value, json};

use super::fixture::{Fixture, Room, reason};

const ALICE: &str = "@alice:example.org";
const BOB: &str = "@bob:example.org";
const CAROL: &str = "@carol:example.org";

async fn summary(fixture: &Fixture, room: &Room, viewer: &str) -> Option<RoomSummary> {
    let request = GetSummariesRequest { room_ids: vec![room.room_id.clone()], viewer: viewer.to_owned() };
    let answer = fixture.summaries().get_summaries(request).await.expect("summaries are read");
    answer.into_inner().rooms.into_iter().next()
}

async fn rule(room: &mut Room, fixture: &mut Fixture, join_rule: &str, allow: &[&Room]) {
    let allow: Vec<Value> =
        allow.iter().map(|room| json!({ "type": "m.room_membership", "room_id": room.room_id })).collect();
    room.state(fixture, ALICE, "m.room.join_rules", "", json!({ "join_rule": join_rule, "allow": allow }))
        .await;
}

#[tokio::test]
async fn rooms_are_told_to_those_who_may_know_of_them() {
    let mut fixture = Fixture::start().await;
    let mut club = fixture.room(ALICE).await;
    club.member(&mut fixture, ALICE, "join").await;
    club.member(&mut fixture, CAROL, "join").await;
    let mut room = fixture.room_with(ALICE, json!({ "type": "org.example.kind" })).await;
    room.member(&mut fixture, ALICE, "join").await;
    for (event_type, content) in [
        ("m.room.name", json!({ "name": "Pub" })),
        ("m.room.topic", json!({ "topic": "Beer" })),
        ("m.room.avatar", json!({ "url": "mxc://a/b" })),
        ("m.room.canonical_alias", json!({ "alias": "#pub:example.org" })),
        ("m.room.encryption", json!({ "algorithm": "m.megolm.v1.aes-sha2" })),
        ("m.room.guest_access", json!({ "guest_access": "can_join" })),
    ] {
        room.state(&mut fixture, ALICE, event_type, "", content).await;
    }
    // Without join rules, only members know of it.
    assert_eq!(summary(&fixture, &room, BOB).await, None);
    assert_eq!(summary(&fixture, &room, "").await, None);
    let expected = RoomSummary {
        room_id: room.room_id.clone(),
        room_version: "12".to_owned(),
        joined_members: 1,
        name: "Pub".to_owned(),
        topic: "Beer".to_owned(),
        avatar_url: "mxc://a/b".to_owned(),
        canonical_alias: "#pub:example.org".to_owned(),
        join_rule: "invite".to_owned(),
        guest_can_join: true,
        world_readable: false,
        room_type: "org.example.kind".to_owned(),
        encryption: "m.megolm.v1.aes-sha2".to_owned(),
        allowed_room_ids: Vec::new(),
        membership: "join".to_owned(),
    };
    assert_eq!(summary(&fixture, &room, ALICE).await, Some(expected));

    rule(&mut room, &mut fixture, "restricted", &[&club]).await;
    assert_eq!(summary(&fixture, &room, BOB).await, None);
    let told = summary(&fixture, &room, CAROL).await.expect("she is in the club");
    assert_eq!(told.allowed_room_ids, [club.room_id.clone()]);
    rule(&mut room, &mut fixture, "knock", &[]).await;
    assert_eq!(summary(&fixture, &room, BOB).await.unwrap().membership, "");
    room.member(&mut fixture, BOB, "ban").await;
    assert_eq!(summary(&fixture, &room, BOB).await, None);
    let open = json!({ "history_visibility": "world_readable" });
    room.state(&mut fixture, ALICE, "m.room.history_visibility", "", open).await;
    let told = summary(&fixture, &room, BOB).await.expect("all may read it");
    assert!(told.world_readable && told.membership == "ban");
    assert!(summary(&fixture, &room, "").await.is_some());
}

async fn space(fixture: &mut Fixture, join_rule: &str) -> Room {
    let mut space = fixture.room_with(ALICE, json!({ "type": "m.space" })).await;
    space.member(fixture, ALICE, "join").await;
    rule(&mut space, fixture, join_rule, &[]).await;
    space
}

async fn adopt(space: &mut Room, fixture: &mut Fixture, child: &Room, more: Value) {
    let mut content = json!({ "via": ["example.org"] });
    content.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    space.state(fixture, ALICE, "m.space.child", &child.room_id, content).await;
}

#[tokio::test]
async fn spaces_are_walked_depth_first() {
    let mut fixture = Fixture::start().await;
    let mut root = space(&mut fixture, "public").await;
    let mut inner = space(&mut fixture, "public").await;
    let mut hidden = space(&mut fixture, "invite").await;
    let mut rooms = Vec::new();
    for _ in 0..4 {
        let mut room = fixture.room(ALICE).await;
        rule(&mut room, &mut fixture, "public", &[]).await;
        rooms.push(room);
    }
    adopt(&mut root, &mut fixture, &rooms[0], json!({ "order": "b" })).await;
    adopt(&mut root, &mut fixture, &inner, json!({ "order": "a", "suggested": true })).await;
    adopt(&mut root, &mut fixture, &hidden, json!({})).await;
    adopt(&mut inner, &mut fixture, &rooms[1], json!({ "suggested": true })).await;
    adopt(&mut inner, &mut fixture, &rooms[2], json!({})).await;
    // A loop, a room told already, and one that nobody knows.
    adopt(&mut inner, &mut fixture, &root, json!({})).await;
    adopt(&mut hidden, &mut fixture, &rooms[3], json!({})).await;
    let unknown = json!({ "via": ["example.org"] });
    inner.state(&mut fixture, ALICE, "m.space.child", "!unknown:example.org", unknown).await;

    let ids = |rooms: &[&Room]| rooms.iter().map(|room| room.room_id.clone()).collect::<Vec<_>>();
    let walk = async |viewer: &str, suggested_only: bool, max_depth: u32, limit: u32| {
        let mut found = Vec::new();
        loop {
            let request = WalkSpaceRequest {
                room_id: root.room_id.clone(),
                viewer: viewer.to_owned(),
                suggested_only,
                max_depth,
                offset: u32::try_from(found.len()).unwrap(),
                limit,
                server: String::new(),
            };
            let page = fixture.summaries().walk_space(request).await?.into_inner();
            assert!(page.rooms.len() <= usize::try_from(limit).unwrap());
            found.extend(page.rooms);
            if !page.more {
                return Ok::<_, tonic::Status>(found);
            }
        }
    };
    let told = async |viewer: &str, suggested_only: bool, max_depth: u32, limit: u32| {
        let found = walk(viewer, suggested_only, max_depth, limit).await.expect("it is walked");
        found.into_iter().map(|room| room.summary.unwrap().room_id).collect::<Vec<_>>()
    };
    for limit in [1, 2, 100] {
        let seen = ids(&[&root, &inner, &rooms[1], &rooms[2], &rooms[0]]);
        assert_eq!(told(BOB, false, 9, limit).await, seen, "{limit}");
        let all = ids(&[&root, &inner, &rooms[1], &rooms[2], &rooms[0], &hidden, &rooms[3]]);
        assert_eq!(told(ALICE, false, 9, limit).await, all);
        assert_eq!(told(BOB, true, 9, limit).await, ids(&[&root, &inner, &rooms[1]]));
        assert_eq!(told(BOB, false, 1, limit).await, ids(&[&root, &inner, &rooms[0]]));
        assert_eq!(told(BOB, false, 0, limit).await, ids(&[&root]));
    }
    let found = walk(BOB, false, 9, 100).await.unwrap();
    assert_eq!(found.iter().map(|room| room.children.len()).collect::<Vec<_>>(), [3, 4, 0, 0, 0]);
    let first: Value = serde_json::from_slice(&found[0].children[0]).unwrap();
    assert_eq!(first["state_key"], inner.room_id);

    let request = WalkSpaceRequest {
        room_id: hidden.room_id.clone(),
        viewer: BOB.to_owned(),
        limit: 1,
        ..WalkSpaceRequest::default()
    };
    assert_eq!(reason(fixture.summaries().walk_space(request).await), ErrorReason::Forbidden);
    let request = WalkSpaceRequest {
        room_id: "!none:example.org".to_owned(),
        viewer: BOB.to_owned(),
        limit: 1,
        ..WalkSpaceRequest::default()
    };
    assert_eq!(reason(fixture.summaries().walk_space(request).await), ErrorReason::Forbidden);
}

#[tokio::test]
async fn the_directory_is_paged_and_searched() {
    let mut fixture = Fixture::start().await;
    let mut expected = Vec::new();
    for number in 0..6 {
        let create = if number == 2 { json!({ "type": "m.space" }) } else { json!({}) };
        let mut room = fixture.room_with(ALICE, create).await;
        for member in 0..number % 3 {
            room.member(&mut fixture, &format!("@user{member}:example.org"), "join").await;
        }
        let name = ["Café", "Pub", "Bar", "Pub", "a\0b", "Pub"][number];
        room.state(&mut fixture, ALICE, "m.room.name", "", json!({ "name": name })).await;
        if number != 5 {
            fixture
                .sql(&format!(
                    "UPDATE rooms SET published = true WHERE room_id = '{}'; \
                     UPDATE partition_state SET published_rooms = published_rooms + 1 WHERE partition = 0",
                    room.room_id
                ))
                .await;
            expected.push((std::cmp::Reverse(number % 3), room.room_id.clone()));
        }
    }
    expected.sort();
    let expected = expected.into_iter().map(|(_, room_id)| room_id).collect::<Vec<_>>();
    let ids = |page: &ListPublicRoomsResponse| {
        page.rooms.iter().map(|room| room.room_id.clone()).collect::<Vec<_>>()
    };
    let list = async |request: ListPublicRoomsRequest| {
        fixture.summaries().list_public_rooms(request).await.expect("the directory is read").into_inner()
    };
    let place = |room: &RoomSummary, before: bool| {
        Some(DirectoryPosition { joined_members: room.joined_members, room_id: room.room_id.clone(), before })
    };
    let first = list(ListPublicRoomsRequest { limit: 2, ..ListPublicRoomsRequest::default() }).await;
    assert_eq!(
        (ids(&first), first.more_before, first.more_after, first.total),
        (expected[..2].to_vec(), false, true, 5)
    );
    let second = ListPublicRoomsRequest {
        limit: 2,
        position: place(&first.rooms[1], false),
        ..ListPublicRoomsRequest::default()
    };
    let second = list(second).await;
    assert_eq!((ids(&second), second.more_before, second.more_after), (expected[2..4].to_vec(), true, true));
    let last = ListPublicRoomsRequest {
        limit: 2,
        position: place(&second.rooms[1], false),
        ..ListPublicRoomsRequest::default()
    };
    let last = list(last).await;
    assert_eq!((ids(&last), last.more_before, last.more_after), (expected[4..].to_vec(), true, false));
    let back = ListPublicRoomsRequest {
        limit: 3,
        position: place(&last.rooms[0], true),
        ..ListPublicRoomsRequest::default()
    };
    let back = list(back).await;
    assert_eq!((ids(&back), back.more_before, back.more_after), (expected[1..4].to_vec(), true, true));

    let search = async |term: &str| {
        list(ListPublicRoomsRequest {
            search_term: term.to_owned(),
            limit: 10,
            ..ListPublicRoomsRequest::default()
        })
        .await
        .rooms
        .into_iter()
        .map(|room| room.name)
        .collect::<Vec<_>>()
    };
    assert_eq!(search("PU").await, ["Pub", "Pub"]);
    assert_eq!(search("CAFÉ").await, ["Café"]);
    assert_eq!(search("%").await, Vec::<String>::new());
    let typed = async |types: &[&str]| {
        let request = ListPublicRoomsRequest {
            room_types: types.iter().map(|text| (*text).to_owned()).collect(),
            has_room_types: true,
            limit: 10,
            ..ListPublicRoomsRequest::default()
        };
        list(request).await.rooms.len()
    };
    assert_eq!((typed(&["m.space"]).await, typed(&[""]).await, typed(&["", "m.space"]).await), (1, 4, 5));
}

#[tokio::test]
async fn users_are_found_where_they_can_be_met() {
    let mut fixture = Fixture::start().await;
    for (user, name) in [(ALICE, Some("Wonder Ünique")), (BOB, Some("Builder")), (CAROL, None)] {
        fixture.account(user, name).await;
    }
    fixture.account("@dave:example.org", Some("Builder")).await;
    let mut private = fixture.room(ALICE).await;
    private.member(&mut fixture, ALICE, "join").await;
    let nick = json!({ "membership": "join", "displayname": "Secret" });
    private.state(&mut fixture, BOB, "m.room.member", BOB, nick).await;
    let remote = json!({ "membership": "join", "displayname": "Far Away" });
    private.state(&mut fixture, "@zoe:elsewhere.org", "m.room.member", "@zoe:elsewhere.org", remote).await;
    let find = async |viewer: &str, term: &str, limit: u32| {
        let request = SearchUsersRequest { viewer: viewer.to_owned(), search_term: term.to_owned(), limit };
        let found = fixture.summaries().search_users(request).await.expect("users are found").into_inner();
        (found.users.into_iter().map(|user| user.user_id).collect::<Vec<_>>(), found.limited)
    };
    assert_eq!(find(ALICE, "BUILD", 10).await, (vec![BOB.to_owned()], false));
    assert_eq!(find(BOB, "ünique", 10).await.0, [ALICE]);
    assert_eq!(find(ALICE, "secret", 10).await.0, Vec::<String>::new());
    assert_eq!(find(ALICE, "far", 10).await.0, ["@zoe:elsewhere.org"]);
    assert_eq!(find(CAROL, "build", 10).await.0, Vec::<String>::new());
    assert_eq!(find(ALICE, "  ", 10).await, (Vec::new(), false));
    assert_eq!(find(ALICE, "far aw", 10).await.0, ["@zoe:elsewhere.org"]);
    assert_eq!(find(ALICE, "@ZOE:else", 10).await.0, ["@zoe:elsewhere.org"]);
    assert_eq!(find(ALICE, "wonder", 10).await.0, Vec::<String>::new(), "one meets others in one's rooms");
    assert_eq!(find(BOB, "üni wond", 10).await.0, [ALICE], "in any order");
    assert_eq!(find(BOB, "wonder build", 10).await.0, Vec::<String>::new());
    assert_eq!(find(CAROL, "carol", 10).await.0, Vec::<String>::new(), "who is in no room cannot be met");
    private.member(&mut fixture, "@dave:example.org", "join").await;
    let find = async |term: &str, limit: u32| {
        let request = SearchUsersRequest { viewer: ALICE.to_owned(), search_term: term.to_owned(), limit };
        let found = fixture.summaries().search_users(request).await.expect("users are found").into_inner();
        (found.users.into_iter().map(|user| user.user_id).collect::<Vec<_>>(), found.limited)
    };
    assert_eq!(find("b", 1).await, (vec![BOB.to_owned()], true));
    assert_eq!(find("b", 2).await, (vec![BOB.to_owned(), "@dave:example.org".to_owned()], false));
    private.member(&mut fixture, "@dave:example.org", "leave").await;
    let mut public = fixture.room(ALICE).await;
    rule(&mut public, &mut fixture, "public", &[]).await;
    public.member(&mut fixture, "@dave:example.org", "join").await;
    let found = async |viewer: &str, term: &str| {
        let request =
            SearchUsersRequest { viewer: viewer.to_owned(), search_term: term.to_owned(), limit: 10 };
        let found = fixture.summaries().search_users(request).await.expect("users are found").into_inner();
        found.users.into_iter().map(|user| user.user_id).collect::<Vec<_>>()
    };
    assert_eq!(found(CAROL, "dave").await, ["@dave:example.org"]);
    assert_eq!(
        found("@dave:example.org", "dave").await,
        ["@dave:example.org"],
        "whom all find finds himself"
    );
    fixture.sql("DELETE FROM user_directory WHERE user_id = '@dave:example.org'").await;
    let request = SearchUsersRequest { viewer: CAROL.to_owned(), search_term: "dave".to_owned(), limit: 10 };
    let gone = fixture.summaries().search_users(request).await.unwrap().into_inner();
    assert!(gone.users.is_empty());
}

#[tokio::test]
async fn mutual_rooms_are_those_that_both_are_in() {
    let mut fixture = Fixture::start().await;
    let mut shared = Vec::new();
    for number in 0..5 {
        let mut room = fixture.room(ALICE).await;
        room.member(&mut fixture, ALICE, "join").await;
        if number != 2 {
            room.member(&mut fixture, BOB, "join").await;
        }
        if number == 3 {
            room.member(&mut fixture, BOB, "leave").await;
        }
        if number != 2 && number != 3 {
            shared.push(room.room_id.clone());
        }
    }
    shared.sort();
    let request = ListMutualRoomsRequest {
        user_id: ALICE.to_owned(),
        other_user_id: BOB.to_owned(),
        after_room_id: String::new(),
        limit: 2,
    };
    let first = fixture.summaries().list_mutual_rooms(request.clone()).await.unwrap().into_inner();
    assert_eq!((first.room_ids.as_slice(), first.total), (&shared[..2], 3));
    let request = ListMutualRoomsRequest { after_room_id: shared[1].clone(), ..request };
    let second = fixture.summaries().list_mutual_rooms(request.clone()).await.unwrap().into_inner();
    assert_eq!((second.room_ids.as_slice(), second.total), (&shared[2..], 3));
    let request = ListMutualRoomsRequest { other_user_id: CAROL.to_owned(), ..request };
    assert_eq!(fixture.summaries().list_mutual_rooms(request).await.unwrap().into_inner().total, 0);
}
