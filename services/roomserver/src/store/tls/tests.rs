use std::fs;

use plexus_testkit::server::Postgres;

use crate::store::pool;

/// A certificate that signs itself.
fn certificate(name: &str) -> (String, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate is made");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

#[tokio::test]
async fn the_url_says_what_is_verified() {
    let (pem, key) = certificate("localhost");
    let (server, port) = Postgres::start_with_tls(&pem, &key).await.expect("Postgres starts");
    let folder = tempfile::tempdir().expect("there is a folder");
    let file = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        fs::write(&path, pem).expect("it is written");
        path.display().to_string()
    };
    let (right, wrong) = (file("right.pem", &pem), file("wrong.pem", &certificate("localhost").0));
    let connects = async |host: &str, how: &str| {
        let url = format!("postgres://postgres@{host}:{port}/postgres{how}");
        pool::connect(&url).await.map(drop)
    };
    for how in ["?sslmode=require", &format!("?sslmode=verify-full&sslrootcert={right}")] {
        connects("localhost", how).await.unwrap_or_else(|error| panic!("{how}: {error:?}"));
    }
    // The address is not in the certificate.
    for how in [
        "?sslmode=require".to_owned(),
        format!("?sslmode=require&sslrootcert={right}"),
        format!("?sslmode=verify-ca&sslrootcert={right}"),
    ] {
        connects("127.0.0.1", &how).await.unwrap_or_else(|error| panic!("{how}: {error:?}"));
    }
    assert!(connects("127.0.0.1", &format!("?sslmode=verify-full&sslrootcert={right}")).await.is_err());
    for mode in ["require", "verify-ca", "verify-full"] {
        let how = format!("?sslmode={mode}&sslrootcert={wrong}");
        assert!(connects("localhost", &how).await.is_err(), "{how}");
    }
    assert!(connects("localhost", "?sslmode=verify-full").await.is_err(), "there is nothing to verify by");
    // The server takes nobody who speaks no TLS.
    assert!(connects("localhost", "").await.is_err());
    drop(server);
}
