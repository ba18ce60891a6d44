//! What holds of many endpoints alike: their
//! [tokens](https://spec.matrix.org/v1.19/client-server-api/#using-access-tokens) and their
//! [bodies](https://spec.matrix.org/v1.19/client-server-api/#standard-error-response).
//!
//! Each line of the tables makes a test of its own.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{harness::Test, server::Server, wire::Client};

/// Endpoints that need a token. Names in braces stand for things that exist for nobody.
const WITH_TOKEN: &[&str] = &[
    "GET /account/whoami",
    "POST /account/deactivate",
    "GET /admin/whois/{user}",
    "GET /account/3pid",
    "POST /account/3pid/add",
    "POST /account/3pid/bind",
    "POST /account/3pid/delete",
    "POST /account/3pid/unbind",
    "GET /presence/{user}/status",
    "PUT /presence/{user}/status",
    "GET /thirdparty/location",
    "GET /thirdparty/location/{x}",
    "GET /thirdparty/user",
    "GET /thirdparty/user/{x}",
    "POST /logout",
    "POST /logout/all",
    "GET /devices",
    "GET /devices/{x}",
    "PUT /devices/{x}",
    "DELETE /devices/{x}",
    "POST /delete_devices",
    "PUT /profile/{user}/displayname",
    "DELETE /profile/{user}/displayname",
    "GET /user/{user}/account_data/{x}",
    "PUT /user/{user}/account_data/{x}",
    "GET /user/{user}/rooms/{room}/account_data/{x}",
    "PUT /user/{user}/rooms/{room}/account_data/{x}",
    "POST /user/{user}/filter",
    "GET /user/{user}/filter/{x}",
    "GET /capabilities",
    "POST /createRoom",
    "GET /joined_rooms",
    "POST /join/{room}",
    "POST /knock/{room}",
    "POST /rooms/{room}/join",
    "POST /rooms/{room}/invite",
    "POST /rooms/{room}/leave",
    "POST /rooms/{room}/kick",
    "POST /rooms/{room}/ban",
    "POST /rooms/{room}/unban",
    "POST /rooms/{room}/forget",
    "GET /rooms/{room}/members",
    "GET /rooms/{room}/joined_members",
    "GET /rooms/{room}/state",
    "GET /rooms/{room}/state/m.room.name/",
    "PUT /rooms/{room}/state/m.room.name/",
    "PUT /rooms/{room}/send/m.room.message/{x}",
    "PUT /rooms/{room}/redact/{event}/{x}",
    "GET /rooms/{room}/event/{event}",
    "GET /rooms/{room}/context/{event}",
    "GET /rooms/{room}/messages",
    "GET /rooms/{room}/initialSync",
    "GET /initialSync",
    "GET /events",
    "GET /events/{event}",
    "POST /rooms/{room}/upgrade",
    "POST /rooms/{room}/report",
    "POST /rooms/{room}/report/{event}",
    "POST /users/{user}/report",
    "POST /user_directory/search",
    "GET /rooms/{room}/aliases",
    "DELETE /directory/room/{alias}",
    "PUT /directory/list/room/{room}",
    "GET /sync",
    "GET /_matrix/client/v1/rooms/{room}/relations/{event}",
    "GET /_matrix/client/v1/rooms/{room}/relations/{event}/m.thread",
    "GET /_matrix/client/v1/rooms/{room}/relations/{event}/m.thread/m.room.message",
    "GET /_matrix/client/v1/rooms/{room}/threads",
    "GET /_matrix/client/v1/rooms/{room}/timestamp_to_event",
    "GET /_matrix/client/v1/rooms/{room}/hierarchy",
    "PUT /rooms/{room}/typing/{user}",
    "POST /rooms/{room}/receipt/m.read/{event}",
    "POST /rooms/{room}/read_markers",
    "GET /user/{user}/rooms/{room}/tags",
    "PUT /user/{user}/rooms/{room}/tags/{x}",
    "DELETE /user/{user}/rooms/{room}/tags/{x}",
    "PUT /sendToDevice/{x}/{x}",
    "GET /room_keys/version",
    "POST /room_keys/version",
    "GET /room_keys/version/{x}",
    "PUT /room_keys/version/{x}",
    "DELETE /room_keys/version/{x}",
    "GET /room_keys/keys",
    "PUT /room_keys/keys",
    "DELETE /room_keys/keys",
    "GET /room_keys/keys/{room}",
    "PUT /room_keys/keys/{room}",
    "DELETE /room_keys/keys/{room}",
    "GET /room_keys/keys/{room}/{x}",
    "PUT /room_keys/keys/{room}/{x}",
    "DELETE /room_keys/keys/{room}/{x}",
    "GET /pushrules/",
    "GET /pushrules/global/",
    "GET /pushrules/global/override/{x}",
    "PUT /pushrules/global/override/{x}",
    "DELETE /pushrules/global/override/{x}",
    "GET /pushrules/global/override/{x}/enabled",
    "PUT /pushrules/global/override/{x}/enabled",
    "GET /pushrules/global/override/{x}/actions",
    "PUT /pushrules/global/override/{x}/actions",
    "GET /notifications",
    "POST /keys/upload",
    "POST /keys/query",
    "POST /keys/claim",
    "POST /keys/device_signing/upload",
    "POST /keys/signatures/upload",
    "GET /keys/changes",
    "POST /publicRooms",
];

/// Endpoints whose body must be a JSON object.
const WITH_BODY: &[&str] = &[
    "POST /register",
    "POST /login",
    "POST /refresh",
    "POST /account/password",
    "POST /account/3pid/delete",
    "POST /account/3pid/unbind",
    "PUT /presence/{user}/status",
    "PUT /devices/{device}",
    "POST /delete_devices",
    "PUT /profile/{user}/displayname",
    "PUT /user/{user}/account_data/{x}",
    "PUT /user/{user}/rooms/{room}/account_data/{x}",
    "POST /user/{user}/filter",
    "POST /createRoom",
    "POST /rooms/{room}/join",
    "POST /rooms/{room}/invite",
    "POST /rooms/{room}/leave",
    "POST /rooms/{room}/kick",
    "POST /rooms/{room}/ban",
    "POST /rooms/{room}/unban",
    "PUT /rooms/{room}/state/m.room.name/",
    "PUT /rooms/{room}/send/m.room.message/{x}",
    "PUT /directory/room/{alias}",
    "PUT /directory/list/room/{room}",
    "POST /join/{room}",
    "POST /knock/{room}",
    "POST /rooms/{room}/upgrade",
    "PUT /rooms/{room}/redact/{event}/{x}",
    "PUT /rooms/{room}/typing/{user}",
    "POST /rooms/{room}/receipt/m.read/{event}",
    "POST /rooms/{room}/read_markers",
    "POST /rooms/{room}/report",
    "POST /rooms/{room}/report/{event}",
    "POST /users/{user}/report",
    "PUT /user/{user}/rooms/{room}/tags/{x}",
    "PUT /sendToDevice/{x}/{x}",
    "POST /room_keys/version",
    "PUT /room_keys/version/{x}",
    "PUT /room_keys/keys?version=1",
    "PUT /room_keys/keys/{room}?version=1",
    "PUT /room_keys/keys/{room}/{x}?version=1",
    "PUT /pushrules/global/underride/{x}",
    "PUT /pushrules/global/override/.m.rule.master/enabled",
    "PUT /pushrules/global/override/.m.rule.master/actions",
    "POST /publicRooms",
    "POST /user_directory/search",
    "POST /keys/upload",
    "POST /keys/query",
    "POST /keys/claim",
    "POST /keys/device_signing/upload",
    "POST /keys/signatures/upload",
];

/// The tests of this file.
pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for &endpoint in WITH_TOKEN {
        tests.push(test("no_token_is_a_missing_token", endpoint, |server| {
            Box::pin(without_token(server, endpoint))
        }));
        tests.push(test("a_token_that_was_never_given_is_unknown", endpoint, |server| {
            Box::pin(with_unknown_token(server, endpoint))
        }));
    }
    for &endpoint in WITH_BODY {
        tests.push(test("a_body_that_is_not_json_is_refused", endpoint, |server| {
            Box::pin(with_nonsense(server, endpoint))
        }));
        tests.push(test("a_body_that_is_not_an_object_is_refused", endpoint, |server| {
            Box::pin(with_list(server, endpoint))
        }));
    }
    tests
}

fn test(
    name: &str,
    endpoint: &str,
    body: impl Fn(Server) -> futures::future::BoxFuture<'static, ()> + Send + Sync + 'static,
) -> Test {
    Test::new(module_path!(), &format!("{name}/{}", endpoint.replacen(' ', "", 1)), body)
}

fn request(client: &Client, endpoint: &str, names: &[(&str, &str)]) -> crate::wire::Request {
    let (method, path) = endpoint.split_once(' ').expect("an endpoint is a method and a path");
    let mut path = path.to_owned();
    for (name, value) in names {
        path = path.replace(name, &path!("{}", value));
    }
    let method: Method = method.parse().expect("an endpoint has a method");
    let request = client.request(method.clone(), path);
    if method == Method::GET { request } else { request.json(body()) }
}

/// A body in which every endpoint finds what it needs.
fn body() -> Value {
    json!({
        "room_id": "!nowhere:elsewhere.example",
        "user_id": "@nobody:elsewhere.example",
        "displayname": "Nobody",
        "visibility": "private",
        "devices": [],
        "msgtype": "m.text",
        "body": "hello",
    })
}

/// Things that do not exist, but are of the right form.
fn names(server: &Server) -> Vec<(&'static str, String)> {
    vec![
        ("{user}", server.nobody()),
        ("{room}", server.nowhere().0),
        ("{alias}", server.alias()),
        ("{event}", format!("${}", "A".repeat(43))),
        ("{x}", "x".to_owned()),
    ]
}

fn borrowed<'a>(names: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    names.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

async fn without_token(server: Server, endpoint: &'static str) {
    let names = names(&server);
    let request = request(&server.anybody(), endpoint, &borrowed(&names));
    request.await.refused(401, "M_MISSING_TOKEN");
}

async fn with_unknown_token(server: Server, endpoint: &'static str) {
    let names = names(&server);
    let stranger = server.anybody().with_token(Some("never_given"));
    request(&stranger, endpoint, &borrowed(&names)).await.refused(401, "M_UNKNOWN_TOKEN");
}

/// Makes the request with things that do exist, so that nothing but the body is wrong.
async fn with_body(server: &Server, endpoint: &str, body: &str) -> crate::wire::Answer {
    let alice = server.user("alice").await;
    let room = alice.creates_room().await;
    let event = alice.says(&room, "hello").await;
    let names = [
        ("{user}", alice.id.as_str()),
        ("{room}", room.0.as_str()),
        ("{event}", &event),
        ("{alias}", &server.alias()),
        ("{device}", &alice.device),
        ("{x}", "org.example.x"),
    ];
    request(&alice, endpoint, &names).raw(body).await
}

async fn with_nonsense(server: Server, endpoint: &'static str) {
    with_body(&server, endpoint, "{\"a\":").await.refused(400, "M_NOT_JSON");
}

async fn with_list(server: Server, endpoint: &'static str) {
    let answer = with_body(&server, endpoint, "[1]").await;
    answer.refused_as(&[(400, "M_BAD_JSON"), (400, "M_NOT_JSON")]);
}
