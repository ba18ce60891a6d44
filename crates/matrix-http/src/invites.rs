//! Account data that tells whether a user wants invites: [invite
//! permission](https://spec.matrix.org/v1.19/client-server-api/#invite-permission).

use serde::Deserialize;

/// Type of the account data.
pub const INVITE_PERMISSION: &str = "m.invite_permission_config";

#[derive(Deserialize)]
struct InvitePermission {
    default_action: Option<String>,
}

/// Whether account data of that type say that the user wants no invites. What cannot be read does not say so.
#[must_use]
pub fn blocks_invites(content: &[u8]) -> bool {
    let permission = serde_json::from_slice::<InvitePermission>(content);
    permission.is_ok_and(|permission| permission.default_action.as_deref() == Some("block"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_block_is_a_block() {
        for (content, expected) in [
            (r#"{"default_action":"block"}"#, true),
            (r#"{"default_action":"allow"}"#, false),
            (r#"{"default_action":null}"#, false),
            (r#"{"default_action":7}"#, false),
            ("{}", false),
            ("[]", false),
            ("", false),
        ] {
            assert_eq!(blocks_invites(content.as_bytes()), expected, "{content}");
        }
    }
}
