//! Loads profiles for member events.

use std::marker::PhantomData;

use diesel::sql_types::{Array, Binary, Int8, Nullable, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use ruma::OwnedUserId;

use super::corrupt;
use crate::{
    rooms::MemberProfile,
    store::{StoreError, statement::query},
};

query! {
    /// Names and avatars of users of this server, and which version of the profile that is.
    FindProfiles { user_id: Array<Text> => Vec<&'a str> }
        -> (Text, Int8, Nullable<Binary>, Nullable<Binary>),
    "SELECT a.user_id, a.profile_version, n.value, v.value FROM accounts AS a \
     LEFT JOIN profiles AS n ON n.user_id = a.user_id AND n.field = 'displayname' \
     LEFT JOIN profiles AS v ON v.user_id = a.user_id AND v.field = 'avatar_url' \
     WHERE a.user_id = ANY(", ")"
}

/// Finds profiles. Who has no account has none.
pub(crate) async fn find_profiles(
    mut conn: &AsyncPgConnection,
    users: &[&str],
) -> Result<Vec<(OwnedUserId, MemberProfile)>, StoreError> {
    type Row = (String, i64, Option<Vec<u8>>, Option<Vec<u8>>);
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let statement = FindProfiles { user_id: users.to_vec(), lifetime: PhantomData };
    let rows: Vec<Row> = statement.load(&mut conn).await.map_err(StoreError::query(FindProfiles::NAME))?;
    // A value that is no string says nothing in a member event.
    let text = |value: Option<Vec<u8>>| value.and_then(|value| serde_json::from_slice::<String>(&value).ok());
    rows.into_iter()
        .map(|(user, version, displayname, avatar_url)| {
            let user = OwnedUserId::try_from(user).map_err(|error| corrupt("user ID", &error))?;
            let profile =
                MemberProfile { displayname: text(displayname), avatar_url: text(avatar_url), version };
            Ok((user, profile))
        })
        .collect()
}
