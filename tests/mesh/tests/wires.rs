//! gRPC answers those who show the token that is meant for the listener, and nobody else; a mesh whose wires are all
//! secured works, and takes nobody whom it does not know.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _, time::Duration};

use anyhow::{Context as _, Result, ensure};
use plexus_proto::{
    operator::v1::{ListPartitionsRequest, partition_service_client::PartitionServiceClient},
    user::v1::{
        GetAccountRequest, GetPasswordHashRequest, credential_service_client::CredentialServiceClient,
        user_query_service_client::UserQueryServiceClient,
    },
};
use plexus_service::{RpcChannel, Token};
use plexus_testkit::{
    actor::User,
    server::{Broker, Needs, Postgres, Process, RPC_TOKEN, Services, Wires, binary, repository},
};
use plexus_tests_mesh::stage::{Shape, Stage};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use tonic::Code;

/// Asks for the partitions, as an operator does.
async fn operate(channel: RpcChannel) -> Result<usize, Code> {
    let answer = PartitionServiceClient::new(channel).list_partitions(ListPartitionsRequest {}).await;
    answer.map(|answer| answer.into_inner().partitions.len()).map_err(|status| status.code())
}

/// Asks for the password hash of an account, as the service does that verifies it.
async fn password_hash(channel: RpcChannel, user_id: &str) -> Result<String, Code> {
    let request = GetPasswordHashRequest { user_id: user_id.to_owned() };
    let answer = CredentialServiceClient::new(channel).get_password_hash(request).await;
    answer.map(|answer| answer.into_inner().password_hash).map_err(|status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn standalone_opens_nothing_for_services() -> Result<()> {
    let stage = Stage::start(Shape::Standalone).await?;
    let service = stage.services.grpc.trim_start_matches("http://");
    let refused = tokio::net::TcpStream::connect(service).await;
    ensure!(refused.is_err(), "standalone listens at {service}");

    let stranger = RpcChannel::connect(&stage.services.operator(0)?)?;
    ensure!(operate(stranger.clone()).await == Err(Code::Unauthenticated), "a stranger operates it");
    let answer = operate(stranger.with_token(&Token::new(RPC_TOKEN, "of a test")?)).await;
    ensure!(answer == Err(Code::Unauthenticated), "a service operates it");
    ensure!(operate(stage.operator(0)?).await.is_ok_and(|partitions| partitions > 0), "nobody operates it");
    // Not even operators are told what only services have to know.
    let answer = password_hash(stage.operator(0)?, "@probe:plexus.test").await;
    ensure!(answer == Err(Code::Unimplemented), "operators read password hashes: {answer:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_one_listener() -> Result<()> {
    let stage = Stage::start(Shape::Mesh(1)).await?;
    let alice = User::register(&stage.services.homeserver, "alice").await?;
    let stranger = RpcChannel::connect(&stage.services.grpc)?;
    let operator = Token::new(&stage.services.operator_token()?, "of a test")?;
    let service = Token::new(RPC_TOKEN, "of a test")?;

    for caller in [stranger.clone(), stranger.clone().with_token(&operator)] {
        let request = GetAccountRequest { user_id: alice.id.clone() };
        let refused = UserQueryServiceClient::new(caller.clone()).get_account(request).await;
        let refused = refused.err().context("anybody reads accounts")?;
        ensure!(refused.code() == Code::Unauthenticated, "{refused}");
        let refused = password_hash(caller, &alice.id).await;
        ensure!(refused == Err(Code::Unauthenticated), "anybody reads password hashes: {refused:?}");
    }
    let hash = password_hash(stranger.with_token(&service), &alice.id).await;
    ensure!(hash.as_ref().is_ok_and(|hash| hash.starts_with("$argon2id$")), "{hash:?}");

    let listener = RpcChannel::connect(&stage.services.operator(0)?)?;
    ensure!(
        operate(listener.clone().with_token(&service)).await == Err(Code::Unauthenticated),
        "a service operates"
    );
    ensure!(operate(listener.with_token(&operator)).await.is_ok(), "operators are refused");
    Ok(())
}

/// The certificate of an authority, and one that it has issued for 127.0.0.1, with its key; all PEM.
struct Certificates {
    authority: String,
    certificate: String,
    key: String,
}

fn certificates() -> Result<Certificates> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // OpenSSL takes a certificate for one that signs itself if it has the name of who signed it.
    params.distinguished_name.push(DnType::CommonName, "authority");
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
    Ok(Certificates { authority: issuer.pem(), certificate: certificate.pem(), key: key.serialize_pem() })
}

const BROKER_PASSWORD: &str = "correct-horse-of-the-broker";

/// Everything between the parts of a mesh is secured.
struct Secured {
    services: Services,
    postgres_port: u16,
    _broker: Broker,
    _postgres: Postgres,
    _folder: tempfile::TempDir,
}

async fn secured_mesh() -> Result<Secured> {
    let folder = tempfile::Builder::new().prefix("plexus-wires-").tempdir_in("/tmp")?;
    let Certificates { authority, certificate, key } = certificates()?;
    let file = |name: &str, text: &str| -> Result<String> {
        let path = folder.path().join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let (ca, pem, private) =
        (file("ca.pem", &authority)?, file("cert.pem", &certificate)?, file("cert.key", &key)?);
    let store = file("store.pem", &format!("{key}{certificate}{authority}"))?;
    let user = file("user", &format!("plexus:{BROKER_PASSWORD}\n"))?;
    let password = file("password", &format!("{BROKER_PASSWORD}\n"))?;

    let (postgres, postgres_port) = Postgres::start_with_tls(&certificate, &key).await?;
    postgres.database("plexus").await?;
    let broker = Broker::start_with(vec!["--tls".to_owned(), store, "--user".to_owned(), user]).await?;
    let identity = format!("tls_certificate = \"{pem}\"\ntls_key = \"{private}\"\n");
    let needs = Needs {
        database: format!(
            "postgres://postgres@127.0.0.1:{postgres_port}/plexus?sslmode=verify-full&sslrootcert={ca}"
        ),
        brokers: broker.address.clone(),
        topic_prefix: "secured.".to_owned(),
        wires: Wires {
            log: format!(
                "tls = true\ntls_ca = \"{ca}\"\nsasl_mechanism = \"SCRAM-SHA-512\"\n\
                 sasl_username = \"plexus\"\nsasl_password_file = \"{password}\"\n",
            ),
            calls: format!("tls_ca = \"{ca}\"\n{identity}"),
            listeners: format!("{}, tls_client_ca = \"{ca}\"", identity.trim().replace('\n', ", ")),
        },
    };
    let services = Services::mesh(&needs, 2).await?;
    Ok(Secured { services, postgres_port, _broker: broker, _postgres: postgres, _folder: folder })
}

/// Starts a sync like that of the mesh, but for one line of its configuration, and waits until it says why it cannot.
async fn says_why(mesh: &Secured, from: &str, to: &str, why: &str) -> Result<()> {
    let folder = mesh.services.folder();
    let config = fs::read_to_string(folder.join("sync.toml"))?;
    ensure!(config.contains(from), "there is no {from} in the configuration");
    let file = folder.join("stranger.toml");
    fs::write(&file, config.replace(from, to))?;
    let program = binary("plexus-sync")?;
    let mut process = Process::start("stranger", folder.join("stranger.log"), move || {
        let mut command = tokio::process::Command::new(&program);
        command.arg("--config").arg(&file);
        command
    })?;
    let told = tokio::time::timeout(Duration::from_secs(30), async {
        while !process.output().contains(why) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let told = told.await;
    process.kill().await?;
    ensure!(told.is_ok(), "it does not say {why:?}:\n{}", process.last_words());
    ensure!(!process.output().contains("horse"), "a password is in a log");
    Ok(fs::remove_file(folder.join("stranger.log"))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mesh_works_with_all_its_wires_secured() -> Result<()> {
    let mesh = secured_mesh().await?;
    let server = &mesh.services.homeserver;
    let (alice, bob) = (User::register(server, "alice").await?, User::register(server, "bob").await?);
    let room = alice.create_room(&json!({ "preset": "public_chat" })).await?;
    bob.join(&room).await?.ok()?;
    let sent = alice.send(&room, "hello").await?;
    let is_sent = |sync: &Value| -> Option<Value> {
        let events = sync.pointer("/rooms/join")?.get(&room)?.pointer("/timeline/events")?.as_array()?;
        events.iter().find(|event| event["event_id"] == sent.as_str()).cloned()
    };
    let (seen, _) = bob.sync_until("the message", None, Duration::from_secs(30), is_sent).await?;
    ensure!(seen["content"]["body"] == "hello", "{seen}");

    // Who has the token but no certificate, or speaks no TLS.
    let service = Token::new(RPC_TOKEN, "of a test")?;
    let plain = mesh.services.grpc.replace("https://", "http://");
    let answer = password_hash(RpcChannel::connect(&plain)?.with_token(&service), &alice.id).await;
    ensure!(answer.is_err(), "gRPC is served without TLS: {answer:?}");
    // Its own socket lets `postgres` in; by TCP nobody comes in without TLS.
    let url = format!("host=127.0.0.1 port={} user=postgres dbname=plexus", mesh.postgres_port);
    for (mode, works) in [("disable", false), ("require", true)] {
        let output = tokio::process::Command::new("psql")
            .args(["-d", &format!("{url} sslmode={mode}"), "-qtAc", "select 1"])
            .output()
            .await?;
        ensure!(output.status.success() == works, "sslmode={mode}: {output:?}");
    }

    let password = mesh.services.folder().join("wrong");
    fs::write(&password, "wrong-horse\n")?;
    let named = line(&mesh, "sasl_password_file")?;
    let wrong = format!("sasl_password_file = \"{}\"", password.display());
    says_why(&mesh, &named, &wrong, "sasl_username").await?;
    says_why(&mesh, &line(&mesh, "tls_ca")?, "", "tls_ca").await?;
    for label in ["roomserver-0", "roomserver-1", "clientapi", "sync"] {
        let log = fs::read_to_string(mesh.services.folder().join(format!("{label}.log")))?;
        ensure!(!log.contains("horse"), "a password is in the log of {label}");
    }
    Ok(())
}

/// The first line of the configuration of sync that sets a key.
fn line(mesh: &Secured, key: &str) -> Result<String> {
    let config = fs::read_to_string(mesh.services.folder().join("sync.toml"))?;
    let found = config.lines().find(|line| line.starts_with(&format!("{key} =")));
    found.map(str::to_owned).with_context(|| format!("{key} is not set"))
}

/// The paths of all methods of our services.
fn methods() -> Result<Vec<String>> {
    let mut files = vec![repository().join("proto")];
    let mut methods = Vec::new();
    while let Some(path) = files.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                files.push(entry?.path());
            }
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let word = |line: &str, keyword: &str| {
            let rest = line.trim().strip_prefix(keyword)?;
            rest.split([' ', '(', ';']).next().map(str::to_owned)
        };
        let (mut package, mut service) = (String::new(), String::new());
        for line in text.lines() {
            package = word(line, "package ").unwrap_or(package);
            service = word(line, "service ").unwrap_or(service);
            methods.extend(word(line, "rpc ").map(|method| format!("/{package}.{service}/{method}")));
        }
    }
    ensure!(methods.len() > 40, "only {methods:?} were found");
    Ok(methods)
}

/// How a request is answered: HTTP status, `grpc-status`, and whether it lets pages in.
type Answered = (u16, String, bool);

/// Makes the same request of every method at a listener; returns the different ways in which it is answered.
async fn ask_all(
    http: &reqwest::Client,
    listener: &str,
    verb: &reqwest::Method,
    headers: &[(&str, &str)],
) -> Result<BTreeSet<Answered>> {
    let mut answers = BTreeSet::new();
    for method in methods()? {
        let mut request = http.request(verb.clone(), format!("{listener}{method}")).body(vec![0; 5]);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await?;
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let lets_in = header("access-control-allow-origin").is_some();
        let status = header("grpc-status").unwrap_or("none").to_owned();
        answers.insert((answer.status().as_u16(), status, lets_in));
    }
    Ok(answers)
}

/// Calls a method in a process of another user of the machine, which only root can start; returns what curl prints.
async fn as_nobody(listener: &str) -> Result<String> {
    let method = methods()?.pop().context("there is no method")?;
    let is_root = fs::metadata("/proc/self")?.uid() == 0;
    let mut command = tokio::process::Command::new(if is_root { "setpriv" } else { "curl" });
    if is_root {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", "curl"]);
    }
    command.args(["-s", "-i", "-m", "20", "--http2-prior-knowledge", "-X", "POST"]);
    command.args(["-H", "content-type: application/grpc"]).arg(format!("{listener}{method}"));
    Ok(String::from_utf8_lossy(&command.output().await?.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_another_user_of_the_machine_nor_a_page_calls_grpc() -> Result<()> {
    let stage = Stage::start(Shape::Mesh(1)).await?;
    let mode = fs::metadata(stage.services.folder().join("operator.token"))?.mode() & 0o777;
    ensure!(mode == 0o600, "others may read the token: {mode:o}");

    let timeout = Duration::from_secs(20);
    let http2 = reqwest::Client::builder().http2_prior_knowledge().timeout(timeout).build()?;
    let http1 = reqwest::Client::builder().http1_only().timeout(timeout).build()?;
    let operator = format!("Bearer {}", stage.services.operator_token()?);
    let service = format!("Bearer {RPC_TOKEN}");
    let grpc = ("content-type", "application/grpc");
    let page =
        [("origin", "https://example.org"), ("sec-fetch-mode", "cors"), ("sec-fetch-site", "cross-site")];
    let operators = stage.services.operator(0)?;
    for (listener, token) in [(&operators, operator.as_str()), (&stage.services.grpc, service.as_str())] {
        let all_are = async |http, verb: &str, headers: &[(&str, &str)], status: u16, grpc_status: &str| {
            let verb = verb.parse::<reqwest::Method>()?;
            let answers = ask_all(http, listener, &verb, headers).await?;
            let expected = BTreeSet::from([(status, grpc_status.to_owned(), false)]);
            ensure!(answers == expected, "{listener}, {verb} {headers:?}: {answers:?}");
            anyhow::Ok(())
        };
        // A program of another user, which speaks gRPC and knows no token, or guesses.
        for guess in ["", "Bearer guess", "Bearer", "Basic Og=="] {
            all_are(&http2, "POST", &[grpc, ("authorization", guess)], 200, "16").await?;
        }
        let answer = as_nobody(listener).await?;
        ensure!(answer.contains("grpc-status: 16"), "another user was answered {answer}");
        // A page, with and without a preflight, even if it knows the token.
        let text = [&page[..], &[("content-type", "text/plain")]].concat();
        let full = [&page[..], &[grpc, ("authorization", token)]].concat();
        let asks = [
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization,content-type"),
        ];
        let preflight = [&page[..], &asks].concat();
        for (verb, headers) in [("POST", &text), ("POST", &full), ("OPTIONS", &preflight)] {
            all_are(&http1, verb, headers, 505, "none").await?;
            all_are(&http2, verb, headers, 403, "none").await?;
        }
        // A program with the token is served: what was refused was not the request.
        let answers =
            ask_all(&http2, listener, &reqwest::Method::POST, &[grpc, ("authorization", token)]).await?;
        let known = answers.iter().all(|(status, grpc_status, _)| *status == 200 && grpc_status != "16");
        ensure!(known, "{listener} does not know its token: {answers:?}");
    }
    Ok(())
}
