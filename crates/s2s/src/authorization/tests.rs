use proptest::prelude::*;

use super::*;

fn key() -> SigningKey {
    SigningKey::from_seed("a_1", &[7; 32]).unwrap()
}

fn name(text: &str) -> &ServerName {
    text.try_into().unwrap()
}

fn claim(origin: &str, destination: Option<&str>, key_id: &str, signature: &str) -> Authorization {
    Authorization {
        origin: name(origin).to_owned(),
        destination: destination.map(|destination| name(destination).to_owned()),
        key_id: key_id.to_owned(),
        signature: signature.to_owned(),
    }
}

#[test]
fn headers_of_all_kinds_are_read() {
    let whole = claim("origin.org", Some("destination.org"), "ed25519:a_1", "c2ln+/==");
    let old = Authorization { destination: None, ..whole.clone() };
    for (header, expected) in [
        // As the specification writes it, and as servers have written it.
        (
            r#"X-Matrix origin="origin.org",destination="destination.org",key="ed25519:a_1",sig="c2ln+/==""#,
            &whole,
        ),
        (r#"X-Matrix origin=origin.org,key="ed25519:a_1",sig="c2ln+/==""#, &old),
        (r"X-Matrix origin=origin.org,key=ed25519:a_1,sig=c2ln+/==", &old),
        (
            r#"x-mAtRiX   SIG="c2ln+/==" , Key=ed25519:a_1 ,	origin="origin.org" , destination=destination.org  "#,
            &whole,
        ),
        (
            r#"X-Matrix origin="origin\.org",destination="destination.org",key="ed\25519:a_1",sig="c2ln+\/==""#,
            &whole,
        ),
        (
            r#"X-Matrix unknown="a,b=\"c\"",origin="origin.org",other=1,key="ed25519:a_1",sig="c2ln+/==",,"#,
            &old,
        ),
        (r#"X-Matrix origin = "origin.org", key= "ed25519:a_1", sig ="c2ln+/==""#, &old),
    ] {
        assert_eq!(Authorization::parse(header.as_bytes()).as_ref(), Ok(expected), "{header}");
    }
    let with_port = claim("[::1]:8448", Some("1.2.3.4:99"), "ed25519:x", "s");
    let header = r#"X-Matrix origin=[::1]:8448,destination="1.2.3.4:99",key="ed25519:x",sig=s"#;
    assert_eq!(Authorization::parse(header.as_bytes()), Ok(with_port));
}

#[test]
fn headers_that_say_something_else_are_refused() {
    for (header, error) in [
        ("", HeaderError::Scheme),
        ("X-Matrix", HeaderError::Scheme),
        ("Bearer abc", HeaderError::Scheme),
        ("X-Matrixx origin=a", HeaderError::Scheme),
        (r#"X-Matrix origin="a.org""#, HeaderError::Missing("key")),
        (r#"X-Matrix key="ed25519:a",sig="s""#, HeaderError::Missing("origin")),
        (r#"X-Matrix origin="a.org",key="ed25519:a""#, HeaderError::Missing("sig")),
        (r#"X-Matrix origin="a.org",origin="b.org",key="ed25519:a",sig="s""#, HeaderError::Repeated),
        (r#"X-Matrix origin="a.org",ORIGIN="a.org",key="ed25519:a",sig="s""#, HeaderError::Repeated),
        (r#"X-Matrix origin="a b",key="ed25519:a",sig="s""#, HeaderError::Value("origin")),
        (r#"X-Matrix origin="a.org.",key="ed25519:a",sig="s""#, HeaderError::Value("origin")),
        (r#"X-Matrix origin="",key="ed25519:a",sig="s""#, HeaderError::Value("origin")),
        (
            r#"X-Matrix origin="a.org",destination="",key="ed25519:a",sig="s""#,
            HeaderError::Value("destination"),
        ),
        (r#"X-Matrix origin="a.org",key="ed25519",sig="s""#, HeaderError::Value("key")),
        (r#"X-Matrix origin="a.org",key=":a",sig="s""#, HeaderError::Value("key")),
        (r#"X-Matrix origin="a.org" key="ed25519:a",sig="s""#, HeaderError::Malformed),
        (r#"X-Matrix origin="a.org,key="ed25519:a",sig="s""#, HeaderError::Malformed),
        (r#"X-Matrix origin="a.org\"#, HeaderError::Malformed),
        (r#"X-Matrix origin=,key="ed25519:a",sig="s""#, HeaderError::Malformed),
        (r#"X-Matrix "a.org""#, HeaderError::Malformed),
        (r#"X-Matrix =a"#, HeaderError::Malformed),
    ] {
        assert_eq!(Authorization::parse(header.as_bytes()), Err(error), "{header}");
    }
    assert_eq!(Authorization::parse(b"X-Matrix origin=\"\xff\""), Err(HeaderError::Malformed));
    let long = format!(r#"X-Matrix x="{}",origin="a.org",key="ed25519:a",sig="s""#, "x".repeat(2048));
    assert_eq!(Authorization::parse(long.as_bytes()), Err(HeaderError::Malformed));
}

#[test]
fn what_is_signed_is_canonical() {
    let signed = Signed {
        method: "PUT",
        uri: "/_matrix/federation/v1/send/%21a?b=%20",
        origin: name("origin.org"),
        destination: name("destination.org"),
        content: Some(br#"{"b": [1.50, -0, 123456789012345678901234567890], "a": "\u00e9/\/"}"#),
    };
    let expected = concat!(
        r#"{"content":{"a":"é//","b":[1.5,0,123456789012345678901234567890]},"#,
        r#""destination":"destination.org","method":"PUT","origin":"origin.org","#,
        r#""uri":"/_matrix/federation/v1/send/%21a?b=%20"}"#
    );
    assert_eq!(String::from_utf8(signed.bytes().unwrap()).unwrap(), expected);
    for content in [&b"[]"[..], b"1", b"{", b"{}{}", b"\xff", b"", br#"{"a":1e999}"#] {
        assert!(Signed { content: Some(content), ..signed }.bytes().is_err(), "{content:?}");
    }
    let without = Signed { content: None, ..signed };
    assert!(String::from_utf8(without.bytes().unwrap()).unwrap().starts_with(r#"{"destination""#));
}

#[test]
fn signatures_hold_for_nothing_else() {
    let signed = Signed {
        method: "POST",
        uri: "/a?b",
        origin: name("origin.org"),
        destination: name("destination.org"),
        content: Some(br#"{"a":1}"#),
    };
    let header = signed.sign(&key()).unwrap();
    let read = Authorization::parse(header.as_bytes()).unwrap();
    assert_eq!(header.to_str().unwrap().matches(", ").count(), 0);
    let public = key().public_key();
    let verifies = |signed: Signed<'_>| signed.is_signed(&read.signature, &public);
    assert!(verifies(signed));
    assert!(verifies(Signed { content: Some(br#" { "a" : 0, "a" : 1 } "#), ..signed }));
    for other in [
        Signed { method: "PUT", ..signed },
        Signed { uri: "/a", ..signed },
        Signed { uri: "/a?B", ..signed },
        Signed { origin: name("other.org"), ..signed },
        Signed { destination: name("other.org"), ..signed },
        Signed { content: Some(br#"{"a":2}"#), ..signed },
        Signed { content: None, ..signed },
    ] {
        assert!(!verifies(other), "{other:?}");
    }
    for signature in ["", "!", "c2ln", &read.signature[1..]] {
        assert!(!signed.is_signed(signature, &public), "{signature}");
    }
    assert!(!signed.is_signed(&read.signature, &[9; 32]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_is_read_or_refused(header in proptest::collection::vec(any::<u8>(), 0..200)) {
        Authorization::parse(&header).ok();
        let mut begun = b"X-Matrix ".to_vec();
        begun.extend_from_slice(&header);
        Authorization::parse(&begun).ok();
    }

    #[test]
    fn what_looks_like_a_header_is_read_or_refused(header in r#"(X-Matrix )?((origin|key|sig|destination|x) ?= ?("[a-z:\\",. ]{0,8}"|[a-z:]{0,5}) ?,? ?){0,6}"#) {
        if let Ok(read) = Authorization::parse(header.as_bytes()) {
            // Whatever was read is written in one way.
            if !read.signature.contains(['"', '\\']) {
                prop_assert_eq!(Authorization::parse(read.print().as_bytes()), Ok(read));
            }
        }
    }

    #[test]
    fn what_is_signed_is_verified(uri in "/[a-zA-Z0-9%/?=&._-]{0,40}", value in any::<String>(), number in any::<i64>(), float in any::<f64>()) {
        let float = if float.is_finite() { serde_json::json!(float) } else { serde_json::Value::Null };
        let content = serde_json::json!({ "value": value, "number": number, "float": [float] }).to_string();
        let signed = Signed {
            method: "PUT",
            uri: &uri,
            origin: name("a.org"),
            destination: name("b.org"),
            content: Some(content.as_bytes()),
        };
        let read = Authorization::parse(signed.sign(&key()).unwrap().as_bytes()).unwrap();
        prop_assert!(signed.is_signed(&read.signature, &key().public_key()));
    }
}
