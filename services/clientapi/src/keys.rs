//! Keys of devices and users, for end-to-end encryption.

mod claim_keys;
mod get_key_changes;
mod get_keys;
mod remote;
mod upload_keys;
mod upload_signatures;
mod upload_signing_keys;

use std::collections::BTreeMap;

use plexus_events::{Object, Value, canonical, keys::KeyError};
use plexus_matrix_http::{JsonObject, MatrixError, Policy, RawBody, Routes, UserLimit, get, post};
use ruma::UserId;
use serde_json::json;

use crate::{App, routes::ClientRoutes};

/// Most bytes of a body with keys: what becomes of it fits into one record.
const MAX_KEYS_BODY: usize = 240 * 1024;

const UPLOAD: Policy = Policy::change(UserLimit::Other).body(MAX_KEYS_BODY);
const QUERY: Policy = Policy::read(5).body(MAX_KEYS_BODY);
const CHANGES: Policy = Policy::expensive_read(10);

/// The routes of this file.
pub(crate) fn routes(routes: Routes<App>) -> Routes<App> {
    routes
        .client("/keys/upload", post(UPLOAD, upload_keys::handler))
        .client("/keys/query", post(QUERY, get_keys::handler))
        .client("/keys/claim", post(UPLOAD, claim_keys::handler))
        .client("/keys/changes", get(CHANGES, get_key_changes::handler))
        .client("/keys/device_signing/upload", post(UPLOAD, upload_signing_keys::handler))
        .client("/keys/signatures/upload", post(UPLOAD, upload_signatures::handler))
        .route(
            "/_matrix/client/unstable/keys/device_signing/upload",
            post(UPLOAD, upload_signing_keys::handler),
        )
        .route("/_matrix/client/unstable/keys/signatures/upload", post(UPLOAD, upload_signatures::handler))
}

/// Reads a body whose parts are stored or compared in canonical form. An empty one is `{}`.
fn read_body(RawBody(body): &RawBody) -> Result<Object, MatrixError> {
    if body.is_empty() {
        return Ok(Object::new());
    }
    canonical_object(JsonObject::from_body(body)?.get().as_bytes())
}

fn canonical_object(text: &[u8]) -> Result<Object, MatrixError> {
    canonical::parse_object(text)
        .map_err(|error| MatrixError::bad_json(format!("The body has no canonical form: {}", error.detail())))
}

/// Takes an object out of a body; none if it is not there. `null` is no object.
fn take_object(body: &mut Object, field: &str) -> Result<Option<Object>, MatrixError> {
    match body.remove(field) {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(MatrixError::bad_json(format!("`{field}` must be an object"))),
    }
}

fn wrong_key(error: &KeyError) -> MatrixError {
    MatrixError::bad_json(error.to_string())
}

/// The form in which a key is stored: canonical, without `unsigned`.
fn stored_form(mut object: Object) -> Vec<u8> {
    object.remove("unsigned");
    canonical::object_to_vec(&object)
}

fn user_id(text: &str) -> Result<&UserId, MatrixError> {
    let id = <&UserId>::try_from(text)
        .map_err(|error| MatrixError::invalid_param(format!("`{text}` is not a user ID: {error}")))?;
    if text.contains('\0') {
        return Err(MatrixError::invalid_param("a user ID has a NUL"));
    }
    Ok(id)
}

/// What is told of servers that could not be asked, with why.
fn failures(servers: &BTreeMap<String, String>) -> BTreeMap<&str, serde_json::Value> {
    servers
        .iter()
        .map(|(server, why)| (server.as_str(), json!({ "errcode": "M_UNREACHABLE", "error": why })))
        .collect()
}

/// How long other servers are to be waited for, in milliseconds; 0 if the client does not say.
fn timeout(body: &Object) -> Result<u32, MatrixError> {
    match body.get("timeout") {
        None => Ok(0),
        Some(Value::Integer(timeout)) if i64::from(*timeout) >= 0 => {
            Ok(u32::try_from(i64::from(*timeout)).unwrap_or(u32::MAX).max(1))
        }
        Some(_) => Err(MatrixError::bad_json("`timeout` must be a number of milliseconds")),
    }
}
