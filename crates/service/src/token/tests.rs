use super::*;

fn config(token: &str, token_file: &Path) -> CallConfig {
    CallConfig { token: token.to_owned(), token_file: token_file.to_owned(), ..CallConfig::default() }
}

#[test]
fn a_token_is_made_once_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rpc.token");
    let config = config("", &path);
    assert!(matches!(find("rpc", &config), Err(TokenError::Missing { .. })));
    let made = find_or_make("rpc", &config).unwrap();
    assert_eq!(made.as_str().len(), 64);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(find_or_make("rpc", &config).unwrap(), made);
    assert_eq!(find("rpc", &config).unwrap(), made);
    let files = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 1, "nothing but the token is left");
}

#[test]
fn many_who_make_it_at_once_have_the_same() {
    let folder = tempfile::tempdir().unwrap();
    // Processes, so that each has a name of its own for what it has not finished: here one makes, the others find.
    let config = config("", &folder.path().join("operator.token"));
    make(&config.token_file).unwrap();
    let first = find("operator", &config).unwrap();
    make(&config.token_file).unwrap();
    assert_eq!(find_or_make("operator", &config).unwrap(), first);
}

#[test]
fn a_value_goes_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let config = config("0123456789abcdef", &folder.path().join("rpc.token"));
    assert_eq!(find_or_make("rpc", &config).unwrap().as_str(), "0123456789abcdef");
    assert!(!config.token_file.exists());
}

#[test]
fn what_can_be_guessed_or_is_cut_short_is_no_token() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rpc.token");
    for text in ["", "\n", "short", "with spaces in it, and long", "ümläute-und-mehr-davon"] {
        fs::write(&path, text).unwrap();
        let error = find_or_make("rpc", &config("", &path)).unwrap_err();
        assert!(matches!(error, TokenError::Malformed { .. }), "{text}: {error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text, "what is there is not replaced");
    }
    assert!(find("rpc", &config("short", &path)).is_err());
}

#[test]
fn a_folder_that_cannot_be_written_to_says_what_to_do() {
    let error = find_or_make("operator", &config("", Path::new("/proc/operator.token"))).unwrap_err();
    assert!(error.to_string().contains("`token_file` in [operator]"), "{error}");
}

#[test]
fn a_token_is_not_printed() {
    assert_eq!(format!("{:?}", Token::random()), "Token(…)");
}
