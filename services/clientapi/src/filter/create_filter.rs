//! `POST /_matrix/client/*/user/{userId}/filter`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridfilter)

use axum::extract::State;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use plexus_matrix_http::{AuthedUser, JsonObject, Matrix, MatrixError, PathArgs};
use plexus_proto::log::v1::{SetFilter, input_user_event::Command};
use ruma::{OwnedUserId, api::client::filter::create_filter::v3::Response};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tracing::instrument;

use super::check::check;
use crate::{App, account};

/// Largest filter, in bytes.
const MAX_FILTER: usize = 64 * 1024;

#[instrument(name = "http.client.create_filter", skip_all, fields(user.id = %user.id))]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    PathArgs((user_id,)): PathArgs<(OwnedUserId,)>,
    body: JsonObject,
) -> Result<Matrix<Response>, MatrixError> {
    account::check_own(&user.id, &user_id)?;
    if body.get().len() > MAX_FILTER {
        return Err(MatrixError::too_large("The filter is too large"));
    }
    check(body.get())?;
    let filter_id = filter_id(&body)?;
    let command =
        Command::SetFilter(SetFilter { filter_id: filter_id.clone(), filter: body.into_bytes().into() });
    app.input.submit_user(&user_id, command).await?;
    Ok(Matrix(Response::new(filter_id)))
}

/// The hash of the filter, however its keys are ordered and spaced. It never begins with `{`, which is how sync tells
/// an ID from a filter.
fn filter_id(filter: &JsonObject) -> Result<String, MatrixError> {
    // Maps of this type are sorted by key.
    let value: Value = serde_json::from_str(filter.get())
        .map_err(|error| MatrixError::not_json(format!("The filter does not fit: {error}")))?;
    let hash = Sha256::digest(value.to_string());
    Ok(URL_SAFE_NO_PAD.encode(&hash[..12]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_filters_have_one_id() {
        let id = |text: &str| filter_id(&JsonObject::parse(text.as_bytes()).unwrap()).unwrap();
        assert_eq!(id(r#"{"a":1,"b":2}"#), id(r#"{ "b": 2, "a": 1 }"#));
        assert_ne!(id(r#"{"a":1}"#), id(r#"{"a":2}"#));
        assert_eq!(id("{}").len(), 16);
    }
}
