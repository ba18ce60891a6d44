use std::{fs, net::SocketAddr, path::Path, time::Duration};

use plexus_proto::operator::v1::{ListPartitionsRequest, partition_service_client::PartitionServiceClient};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::Code;

use crate::{
    Readiness, Shutdown, Token,
    config::{CallConfig, Listener},
    grpc,
    rpc::Dialer,
};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes NAME.pem and NAME.key.
fn issue(authority: &Authority, folder: &Path, name: &str) {
    let key = KeyPair::generate().unwrap();
    let names = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, authority).unwrap();
    fs::write(folder.join(format!("{name}.pem")), certificate.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

fn listener(folder: &Path) -> Listener {
    Listener {
        tls_certificate: Some(folder.join("server.pem")),
        tls_key: Some(folder.join("server.key")),
        tls_client_ca: Some(folder.join("ca.pem")),
        ..Listener::at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

fn caller(folder: &Path, authorities: &str, name: Option<&str>) -> Dialer {
    let config = CallConfig {
        token: "a-token-for-the-tests".to_owned(),
        tls_ca: Some(folder.join(authorities)),
        tls_certificate: name.map(|name| folder.join(format!("{name}.pem"))),
        tls_key: name.map(|name| folder.join(format!("{name}.key"))),
        ..CallConfig::default()
    };
    Dialer::new("rpc", &config).unwrap()
}

/// Asks for something that is not served, on a new connection: whoever is told so has got through.
async fn gets_through(caller: &Dialer, address: &str) -> bool {
    let channel = caller.connect(address).unwrap();
    let answer = PartitionServiceClient::new(channel).list_partitions(ListPartitionsRequest {}).await;
    answer.unwrap_err().code() == Code::Unimplemented
}

#[tokio::test]
async fn callers_and_listeners_know_each_other_by_certificates_that_are_renewed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (ours, another) = (authority(), authority());
    fs::write(folder.join("ca.pem"), ours.pem()).unwrap();
    fs::write(folder.join("another-ca.pem"), another.pem()).unwrap();
    issue(&ours, folder, "server");
    issue(&ours, folder, "client");
    issue(&another, folder, "stranger");

    let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
    let token = Token::new("a-token-for-the-tests", "of a test").unwrap();
    let routes = tonic::service::Routes::default();
    let address =
        grpc::serve("test", &listener(folder), routes, &[], &token, &readiness, &shutdown).await.unwrap();
    let address = format!("https://{address}");
    let known = caller(folder, "ca.pem", Some("client"));
    assert!(gets_through(&known, &address).await);
    assert!(!gets_through(&known, &address.replace("https", "http")).await, "it takes no plain calls");
    assert!(!gets_through(&caller(folder, "ca.pem", None), &address).await, "it wants a certificate");
    assert!(!gets_through(&caller(folder, "ca.pem", Some("stranger")), &address).await, "of its authority");
    assert!(
        !gets_through(&caller(folder, "another-ca.pem", Some("client")), &address).await,
        "so do callers"
    );

    // All are renewed, by another authority, one after the other; the same listener and the same caller go on.
    fs::write(folder.join("ca.pem"), format!("{}{}", ours.pem(), another.pem())).unwrap();
    issue(&another, folder, "server");
    issue(&another, folder, "client");
    let new = caller(folder, "another-ca.pem", Some("client"));
    for caller in [&new, &known] {
        tokio::time::timeout(Duration::from_secs(20), async {
            while !gets_through(caller, &address).await {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await
        .expect("renewed certificates are used");
    }

    // A key that does not fit its certificate changes nothing.
    fs::write(folder.join("server.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let looked_at_again = std::time::Instant::now() + Duration::from_millis(1500);
    while std::time::Instant::now() < looked_at_again {
        assert!(gets_through(&new, &address).await);
    }
}
