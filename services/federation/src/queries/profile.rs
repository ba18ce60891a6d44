//! `OutboundQueryService.GetProfile`

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use plexus_proto::federation::v1::{GetProfileRequest, GetProfileResponse};
use plexus_s2s::encoded;
use ruma::OwnedUserId;
use serde_json::{Map, Value};
use tonic::Status;
use tracing::instrument;

use super::{ask, invalid};
use crate::Federation;

const KEPT: Duration = Duration::from_secs(60);
/// Bounds of a profile, which the specification has for our own ones.
const MAX_FIELDS: usize = 256;
const MAX_BYTES: usize = 64 * 1024;
const MAX_NAME: usize = 255;

#[instrument(name = "rpc.outbound_query.get_profile", skip_all)]
pub(super) async fn answer(
    federation: &Federation,
    request: GetProfileRequest,
) -> Result<GetProfileResponse, Status> {
    let user_id = OwnedUserId::try_from(request.user_id).map_err(|error| invalid("user_id", error))?;
    let path = format!("/_matrix/federation/v1/query/profile?user_id={}", encoded(user_id.as_str()));
    let fields: Map<String, Value> = ask(federation, user_id.server_name(), (path, None), KEPT).await?;
    Ok(GetProfileResponse { fields: shown(fields) })
}

/// The fields that are passed on. Names and avatars are texts; one that is not, or is empty, is as good as none.
fn shown(fields: Map<String, Value>) -> HashMap<String, Bytes> {
    let mut left = MAX_BYTES;
    let is_told = |name: &str, value: &Value| match name {
        "displayname" | "avatar_url" => value.as_str().is_some_and(|text| !text.is_empty()),
        name => name.len() <= MAX_NAME && !value.is_null(),
    };
    let fields = fields.into_iter().filter(|(name, value)| is_told(name, value));
    let fields = fields.map(|(name, value)| (name, Bytes::from(value.to_string())));
    let fits = |(name, value): &(String, Bytes)| match left.checked_sub(name.len() + value.len()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    fields.take(MAX_FIELDS).filter(fits).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_makes_sense_is_passed_on() {
        let Value::Object(fields) = json!({
            "displayname": "Bob", "avatar_url": 7, "m.tz": "Europe/Berlin", "none": null, "long": "x".repeat(70_000),
        }) else {
            unreachable!()
        };
        let mut names: Vec<_> = shown(fields).into_keys().collect();
        names.sort();
        assert_eq!(names, ["displayname", "m.tz"]);
    }
}
