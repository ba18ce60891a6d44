//! Brokers that want TLS, certificates of clients, or a password.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use plexus_log::{
    InputRoom, StartAt,
    kafka::{self, KafkaConfig, Sasl, Security},
    partition_of,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::{
    broker::Broker,
    world::{World, config, read_numbers, record, rooms},
};

const NAME: &str = "plexus";
const PASSWORD: &str = "correct-horse";

/// An authority, with a folder for its certificate and those that it issues.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // OpenSSL takes a certificate for one that signs itself if it has the name of who signed it.
        params.distinguished_name.push(DnType::CommonName, "authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes NAME.pem and NAME.key, and both with the authority in NAME.store, as brokers want them.
    fn issue(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (pem, key) = (certificate.pem(), key.serialize_pem());
        fs::write(self.file(&format!("{name}.store")), format!("{key}{pem}{}", self.issuer.pem())).unwrap();
        fs::write(self.file(&format!("{name}.pem")), pem).unwrap();
        fs::write(self.file(&format!("{name}.key")), key).unwrap();
    }

    fn security(&self) -> Security {
        Security { tls: true, tls_ca: Some(self.file("ca.pem")), ..Security::default() }
    }
}

fn sasl(mechanism: &str, password: &str) -> Option<Sasl> {
    let (mechanism, username, password) = (mechanism.to_owned(), NAME.to_owned(), password.to_owned());
    Some(Sasl { mechanism, username, password })
}

fn arguments(all: &[(&str, &Path)]) -> Vec<String> {
    all.iter().flat_map(|(key, path)| [(*key).to_owned(), path.display().to_string()]).collect()
}

fn with(broker: &Broker, security: Security) -> KafkaConfig {
    KafkaConfig { security, ..config(broker.address()) }
}

/// Makes sure that whoever connects like this gets nothing done. A refusal looks like a broker that is away, which is
/// waited for.
async fn is_refused(broker: &Broker, what: &str, security: Security) {
    let config = KafkaConfig { append_timeout: Duration::from_secs(2), ..with(broker, security) };
    let appended = tokio::time::timeout(Duration::from_secs(5), async {
        kafka::open(config).await?.append::<InputRoom>(&record(&rooms(1)[0], 0)).await
    });
    assert!(!matches!(appended.await, Ok(Ok(_))), "{what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secured_broker_takes_those_whom_it_knows() {
    let (ours, another) = (Authority::new(), Authority::new());
    ours.issue("broker");
    let (store, user) = (ours.file("broker.store"), ours.file("user"));
    fs::write(&user, format!("{NAME}:{PASSWORD}\n")).unwrap();
    let mut broker = Broker::start_with(arguments(&[("--tls", &store), ("--user", &user)])).await;

    let tls = ours.security();
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let security = Security { sasl: sasl(mechanism, PASSWORD), ..tls.clone() };
        let world = World::at(with(&broker, security)).await;
        let room = &rooms(1)[0];
        world.append(room, 0).await;
        let mut reader = world.reader_at(partition_of(room), StartAt::Oldest).await;
        assert_eq!(read_numbers(&mut reader, 1).await, [0], "{mechanism}");
    }

    is_refused(&broker, "no TLS", Security::default()).await;
    is_refused(
        &broker,
        "no TLS, but a password",
        Security { sasl: sasl("PLAIN", PASSWORD), ..Security::default() },
    )
    .await;
    is_refused(&broker, "no name", tls.clone()).await;
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let security = Security { sasl: sasl(mechanism, "wrong"), ..tls.clone() };
        is_refused(&broker, "a wrong password", security).await;
    }
    let security = Security { sasl: sasl("SCRAM-SHA-512", PASSWORD), ..another.security() };
    is_refused(&broker, "another authority", security).await;

    // Brokers renew their certificates without us.
    let security = Security { sasl: sasl("SCRAM-SHA-512", PASSWORD), ..tls };
    let world = World::at(with(&broker, security)).await;
    let room = &rooms(1)[0];
    world.append(room, 0).await;
    let mut reader = world.reader_at(partition_of(room), StartAt::Oldest).await;
    broker.kill().await;
    ours.issue("broker");
    broker.run().await;
    world.append(room, 1).await;
    assert_eq!(read_numbers(&mut reader, 2).await, [0, 1], "the certificate is another");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_may_want_certificates() {
    let (ours, another) = (Authority::new(), Authority::new());
    ours.issue("broker");
    ours.issue("service");
    another.issue("service");
    let (store, authority) = (ours.file("broker.store"), ours.file("ca.pem"));
    let broker = Broker::start_with(arguments(&[("--tls", &store), ("--client-ca", &authority)])).await;

    let identity =
        |authority: &Authority| Some((authority.file("service.pem"), authority.file("service.key")));
    let known = Security { tls_identity: identity(&ours), ..ours.security() };
    let world = World::at(with(&broker, known)).await;
    world.append(&rooms(1)[0], 0).await;
    is_refused(&broker, "no certificate", ours.security()).await;
    let stranger = Security { tls_identity: identity(&another), ..ours.security() };
    is_refused(&broker, "a certificate of another authority", stranger).await;
}
