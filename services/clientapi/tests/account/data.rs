//! Account data and filters.

use plexus_proto::common::v1::ErrorReason;
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn account_data_comes_back_as_it_was_put() {
    let world = World::start();
    let token = world.register("alice").await;
    for path in ["/user/@alice:test/account_data/org.x", "/user/@alice:test/rooms/!r:test/account_data/org.x"]
    {
        world.call("GET", path, &token, Value::Null).await.refused(404, "M_NOT_FOUND");
        world.call("PUT", path, &token, json!({ "a": 1.5 })).await.ok();
        assert_eq!(world.call("GET", path, &token, Value::Null).await.ok(), json!({ "a": 1.5 }));
        world.call("PUT", path, &token, json!([1])).await.refused(400, "M_BAD_JSON");
    }
}

#[tokio::test]
async fn account_data_belongs_to_its_user() {
    let world = World::start();
    let token = world.register("alice").await;
    let bobs = "/user/@bob:test/account_data/org.x";
    world.call("GET", bobs, &token, Value::Null).await.refused(403, "M_FORBIDDEN");
    world.call("PUT", bobs, &token, json!({})).await.refused(403, "M_FORBIDDEN");
    let odd = "/user/@alice:test/rooms/nonsense/account_data/org.x";
    world.call("PUT", odd, &token, json!({})).await.refused(400, "M_INVALID_PARAM");
}

#[tokio::test]
async fn what_the_server_keeps_is_not_for_clients_to_set() {
    let world = World::start();
    let token = world.register("alice").await;
    for event_type in ["m.push_rules", "m.fully_read"] {
        for scope in ["", "/rooms/!r:test"] {
            let path = format!("/user/@alice:test{scope}/account_data/{event_type}");
            world.call("PUT", &path, &token, json!({})).await.refused(405, "M_BAD_JSON");
        }
    }
}

#[tokio::test]
async fn filters_are_kept_under_an_id() {
    let world = World::start();
    let token = world.register("alice").await;
    let path = "/user/@alice:test/filter";
    let filter = json!({ "room": { "timeline": { "limit": 5, "types": ["m.*"] } }, "org.x": 1 });
    let id = world.call("POST", path, &token, filter.clone()).await.ok()["filter_id"].clone();
    assert_eq!(world.call("POST", path, &token, filter.clone()).await.ok()["filter_id"], id);
    let stored = format!("{path}/{}", id.as_str().unwrap());
    assert_eq!(world.call("GET", &stored, &token, Value::Null).await.ok(), filter);
    world.call("GET", &format!("{path}/x"), &token, Value::Null).await.refused(404, "M_NOT_FOUND");
    for bad in [
        json!({ "room": { "timeline": "x" } }),
        json!({ "room": { "rooms": ["nonsense"] } }),
        json!({ "room": { "timeline": { "types": [{}] } } }),
        json!({ "presence": { "senders": [7] } }),
    ] {
        world.call("POST", path, &token, bad).await.refused(400, "M_BAD_JSON");
    }
}

#[tokio::test]
async fn refusals_of_the_room_server_reach_the_client() {
    let world = World::start();
    let token = world.register("alice").await;
    world.users.lock().unwrap().refuse_next = Some(ErrorReason::LimitExceeded);
    let path = "/user/@alice:test/account_data/org.x";
    world.call("PUT", path, &token, json!({})).await.refused(413, "M_TOO_LARGE");
}
