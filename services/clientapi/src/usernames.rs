//! Decides which names users may have.

use http::StatusCode;
use plexus_matrix_http::MatrixError;
use ruma::{OwnedUserId, ServerName, UserId};

/// Longest user ID, in bytes.
const MAX_USER_ID: usize = 255;

/// Makes the user ID that a new account with this name gets. Capitals become small letters.
pub(crate) fn new_user_id(name: &str, server_name: &ServerName) -> Result<OwnedUserId, MatrixError> {
    let localpart = name.to_ascii_lowercase();
    if localpart.is_empty() {
        return Err(invalid("The username must not be empty"));
    }
    if !localpart.bytes().all(is_allowed) {
        return Err(invalid("The username may only contain a-z, 0-9, and the characters . _ = - / +"));
    }
    // Names of bridged users and the like begin with it.
    if localpart.starts_with('_') {
        return Err(invalid("The username must not begin with an underscore"));
    }
    let user_id = format!("@{localpart}:{server_name}");
    if user_id.len() > MAX_USER_ID {
        return Err(invalid("The username is too long"));
    }
    UserId::parse(user_id).map_err(|_| invalid("The username is not valid"))
}

/// Finds out whom a client means by a full user ID or a localpart; `None` if it can be nobody here.
pub(crate) fn find_user_id(name: &str, server_name: &ServerName) -> Option<OwnedUserId> {
    let user_id = if name.starts_with('@') {
        UserId::parse(name.to_ascii_lowercase()).ok()?
    } else {
        UserId::parse(format!("@{}:{server_name}", name.to_ascii_lowercase())).ok()?
    };
    (user_id.server_name() == server_name).then_some(user_id)
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._=-/+".contains(&byte)
}

fn invalid(error: &'static str) -> MatrixError {
    MatrixError::new(StatusCode::BAD_REQUEST, "M_INVALID_USERNAME", error)
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    #[test]
    fn capitals_become_small() {
        let user_id = new_user_id("User-UPPER", server_name!("test")).unwrap();
        assert_eq!(user_id, "@user-upper:test");
    }

    #[test]
    fn odd_names_are_refused() {
        for name in ["", "_x", "é", "a b", "a:b", "a\n", "a\0", "@a", "a@b", "'"] {
            let error = new_user_id(name, server_name!("test")).unwrap_err();
            assert!(error.is("M_INVALID_USERNAME"), "{name}");
        }
        let longest = "a".repeat(MAX_USER_ID - "@:test".len());
        new_user_id(&longest, server_name!("test")).unwrap();
        new_user_id(&format!("{longest}a"), server_name!("test")).unwrap_err();
    }

    #[test]
    fn users_are_found_by_id_and_by_localpart() {
        let server = server_name!("test");
        for name in ["@alice:test", "alice", "Alice"] {
            assert_eq!(find_user_id(name, server).unwrap(), "@alice:test");
        }
        for name in ["@alice:elsewhere", "@alice", "a:b", "", "@:x:y"] {
            assert_eq!(find_user_id(name, server).filter(|id| id.localpart() == "alice"), None, "{name}");
        }
    }
}
