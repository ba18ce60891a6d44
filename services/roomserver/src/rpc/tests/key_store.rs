use plexus_proto::{
    common::v1::ErrorReason,
    room::v1::{
        GetServerKeysRequest, PutServerKeysRequest, ServerKey, ServerKeys,
        key_store_service_client::KeyStoreServiceClient,
    },
};
use plexus_service::RpcChannel;

use super::fixture::{Fixture, reason};

const DAY: i64 = 24 * 60 * 60 * 1000;

type Client = KeyStoreServiceClient<RpcChannel>;

fn key(byte: u8, valid_until_ts: i64, fetched_ts: i64) -> ServerKey {
    ServerKey {
        key_id: "ed25519:a".to_owned(),
        public_key: vec![byte; 32].into(),
        valid_until_ts,
        expired_ts: None,
        fetched_ts,
        direct: false,
    }
}

fn of(server_name: &str, key: ServerKey) -> ServerKeys {
    let (valid_until_ts, fetched_ts) = (key.valid_until_ts, key.fetched_ts);
    let response = format!("until {valid_until_ts}").into_bytes().into();
    ServerKeys { server_name: server_name.to_owned(), keys: vec![key], response, valid_until_ts, fetched_ts }
}

/// Keeps a key and returns what is kept, and whether it was told differently before.
async fn put(client: &mut Client, key: ServerKey) -> (ServerKey, bool) {
    let request = PutServerKeysRequest { servers: vec![of("a.org", key)] };
    let conflicts = client.put_server_keys(request).await.expect("keys are kept").into_inner().conflicts;
    let kept = get(client, &["a.org"]).await.remove(0).keys.remove(0);
    (kept, !conflicts.is_empty())
}

async fn get(client: &mut Client, servers: &[&str]) -> Vec<ServerKeys> {
    let server_names = servers.iter().map(|server| (*server).to_owned()).collect();
    let answer = client.get_server_keys(GetServerKeysRequest { server_names }).await;
    answer.expect("keys are read").into_inner().servers
}

#[tokio::test]
async fn keys_are_kept_and_their_bytes_only_replaced_by_their_server() {
    let fixture = Fixture::start().await;
    let mut client = KeyStoreServiceClient::new(fixture.channel.clone());
    assert_eq!(get(&mut client, &["a.org"]).await, []);

    let by_notary = key(1, DAY, 10);
    assert_eq!(put(&mut client, by_notary.clone()).await, (by_notary.clone(), false));
    assert_eq!(put(&mut client, by_notary.clone()).await, (by_notary.clone(), false));
    // Another notary tells something else: the first word stays.
    assert_eq!(put(&mut client, key(2, 9 * DAY, 20)).await, (by_notary, true));
    // The server itself is believed, and then nobody else, not even the server.
    let by_server = ServerKey { direct: true, ..key(3, 2 * DAY, 30) };
    assert_eq!(put(&mut client, by_server.clone()).await, (by_server.clone(), false));
    assert_eq!(put(&mut client, key(1, 9 * DAY, 40)).await, (by_server.clone(), true));
    let another = ServerKey { direct: true, ..key(4, 9 * DAY, 50) };
    assert_eq!(put(&mut client, another).await, (by_server, true));
}

#[tokio::test]
async fn validity_only_grows_and_expiry_stays() {
    let fixture = Fixture::start().await;
    let mut client = KeyStoreServiceClient::new(fixture.channel.clone());
    put(&mut client, key(1, 2 * DAY, 10)).await;
    let (kept, _) = put(&mut client, key(1, DAY, 20)).await;
    assert_eq!((kept.valid_until_ts, kept.fetched_ts), (2 * DAY, 10));
    // What is said about years is believed for a week, so a later word counts more.
    put(&mut client, key(1, 1_000 * DAY, 20)).await;
    let (kept, _) = put(&mut client, key(1, 900 * DAY, 30 * DAY)).await;
    assert_eq!((kept.valid_until_ts, kept.fetched_ts), (900 * DAY, 30 * DAY));
    let old = ServerKey { expired_ts: Some(31 * DAY), ..key(1, 0, 32 * DAY) };
    let (kept, _) = put(&mut client, old).await;
    assert_eq!((kept.valid_until_ts, kept.expired_ts), (900 * DAY, Some(31 * DAY)));
    let (kept, _) = put(&mut client, key(1, 999 * DAY, 33 * DAY)).await;
    assert_eq!((kept.expired_ts, kept.direct), (Some(31 * DAY), false));
    // The last word is the one that is valid for longest.
    let words = get(&mut client, &["a.org"]).await.remove(0);
    assert_eq!(
        (words.response, words.valid_until_ts),
        (format!("until {}", 1_000 * DAY).into(), 1_000 * DAY)
    );
}

#[tokio::test]
async fn many_servers_are_one_request_and_bounds_hold() {
    let fixture = Fixture::start().await;
    let mut client = KeyStoreServiceClient::new(fixture.channel.clone());
    let servers = (0..100).map(|number| of(&format!("s{number}.org"), key(1, DAY, 1))).collect();
    client.put_server_keys(PutServerKeysRequest { servers }).await.expect("keys are kept");
    assert_eq!(get(&mut client, &["s7.org", "s8.org", "unknown.org"]).await.len(), 2);

    let many = |from: usize, to: usize| {
        let keys =
            (from..to).map(|number| ServerKey { key_id: format!("ed25519:{number}"), ..key(1, DAY, 1) });
        PutServerKeysRequest {
            servers: vec![ServerKeys { keys: keys.collect(), ..of("many.org", key(1, DAY, 1)) }],
        }
    };
    for from in (0..1_500).step_by(250) {
        client.put_server_keys(many(from, from + 250)).await.expect("keys are kept");
    }
    assert_eq!(get(&mut client, &["many.org"]).await[0].keys.len(), 1_000);

    let twice = ServerKeys { keys: vec![key(1, DAY, 1), key(2, DAY, 1)], ..of("a.org", key(1, DAY, 1)) };
    for wrong in [
        many(0, 257),
        PutServerKeysRequest { servers: vec![of("", key(1, DAY, 1))] },
        PutServerKeysRequest { servers: vec![of("a.org", key(1, i64::MAX, 1))] },
        PutServerKeysRequest { servers: vec![twice] },
        PutServerKeysRequest {
            servers: vec![of("a.org", ServerKey { public_key: vec![1; 31].into(), ..key(1, 1, 1) })],
        },
        PutServerKeysRequest {
            servers: vec![ServerKeys { response: vec![0; 65_537].into(), ..of("a.org", key(1, 1, 1)) }],
        },
    ] {
        assert_eq!(reason(client.put_server_keys(wrong).await), ErrorReason::InvalidParam);
    }
    let request = GetServerKeysRequest { server_names: vec!["a\0b".to_owned()] };
    assert_eq!(reason(client.get_server_keys(request).await), ErrorReason::InvalidParam);
}
