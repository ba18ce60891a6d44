use std::collections::BTreeMap;

use plexus_events::canonical;

use super::*;

fn name(name: &str) -> &ServerName {
    name.try_into().unwrap()
}

#[tokio::test]
async fn our_keys_are_told_as_they_were_signed() {
    let old = json!([{ "id": "ed25519:old", "key": "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw", "expired_ts": 7 }]);
    let fixture = Fixture::new(&json!({ "old_signing_keys": old }));
    for path in ["", "/", "/ed25519:whatever"] {
        let (status, _, body) = fixture.get(&format!("/_matrix/key/v2/server{path}")).await;
        assert_eq!(status, StatusCode::OK);
        let keys = response::read(&body, name("us.test"), now_ms(), true).unwrap();
        assert_eq!(canonical::object_to_vec(&canonical::parse_object(&body).unwrap()), body);
        assert_eq!(keys.keys["ed25519:old"].expired_ts, Some(7));
        let left = keys.valid_until_ts - now_ms();
        assert!(left > 12 * HOUR && left <= 24 * HOUR, "{left}");
    }
}

#[tokio::test]
async fn keys_of_others_are_passed_on_with_both_signatures() {
    let fixture = Fixture::new(&json!({}));
    let key = key("a", 1);
    fixture.know("a.test", &key, HOUR, None);
    // It is gone; its last word is still passed on.
    fixture.know("127.0.0.1:1", &key, -HOUR, None);
    let (_, _, body) = fixture.get("/_matrix/key/v2/server").await;
    let ours = response::read(&body, name("us.test"), now_ms(), true).unwrap();
    let ours: BTreeMap<String, [u8; 32]> = ours.keys.into_iter().map(|(id, key)| (id, key.public)).collect();
    for server in ["a.test", "127.0.0.1:1"] {
        let (status, body, _) = fixture.get(&format!("/_matrix/key/v2/query/{server}")).await;
        assert_eq!(status, StatusCode::OK);
        let text = body["server_keys"][0].to_string();
        let object = canonical::parse_object(text.as_bytes()).unwrap();
        assert!(response::is_signed(&object, name("us.test"), &ours));
        let keys = response::read(text.as_bytes(), name(server), now_ms(), false).unwrap();
        assert_eq!(keys.keys["ed25519:a"].public, key.public_key());
    }
}

#[tokio::test]
async fn notaries_answer_for_many_within_bounds() {
    let fixture = Fixture::new(&json!({}));
    for number in 0..30 {
        fixture.know(&format!("s{number}.test"), &key("a", 1), HOUR, None);
    }
    let post = async |body: Value| {
        let request =
            Request::builder().method("POST").uri("/_matrix/key/v2/query").body(Body::from(body.to_string()));
        let (status, body, _) = fixture.ask(request.unwrap()).await;
        (status, body["server_keys"].as_array().map_or(0, Vec::len))
    };
    let servers = |range: std::ops::Range<usize>| {
        let all = range.map(|number| (format!("s{number}.test"), json!({ "ed25519:a": {} })));
        json!({ "server_keys": all.collect::<serde_json::Map<_, _>>() })
    };
    assert_eq!(post(servers(0..30)).await, (StatusCode::OK, 30));
    assert_eq!(post(servers(0..0)).await, (StatusCode::OK, 0));
    assert_eq!(post(servers(0..51)).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(post(json!({})).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(
        post(json!({ "server_keys": { "us.test": {}, "127.0.0.1:1": {}, "no name": {} } })).await,
        (StatusCode::OK, 1)
    );
    assert_eq!(fixture.get("/_matrix/key/v2/query/no%20name").await.0, StatusCode::BAD_REQUEST);
}
