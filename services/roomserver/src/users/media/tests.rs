//! Names of media.

use plexus_events::mxc::is_media_id;

use super::parse_uri;

#[test]
fn names_that_are_none_go_no_further() {
    for good in ["a", "A-z_0", &"x".repeat(255)] {
        assert!(is_media_id(good), "{good}");
    }
    for wrong in ["", ".", "..", "a/b", "a.b", "a%2f", "ä", "a\0", " a", &"x".repeat(256)] {
        assert!(!is_media_id(wrong), "{wrong:?}");
    }
    assert_eq!(parse_uri("mxc://a.b:8448/x"), Some(("a.b:8448", "x")));
    assert_eq!(parse_uri("mxc://[::1]/x"), Some(("[::1]", "x")));
    for wrong in
        ["", "mxc://", "mxc:///x", "mxc://a.b", "mxc://a.b/", "mxc://a.b/x/y", "mxc://a b/x", "@a:b.c"]
    {
        assert_eq!(parse_uri(wrong), None, "{wrong}");
    }
}
