//! `POST /_matrix/client/*/user_directory/search`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3user_directorysearch)

use axum::extract::State;
use plexus_matrix_http::{AuthedUser, JsonObject, Matrix, MatrixError};
use ruma::api::client::user_directory::search_users;
use serde_json::{Map, Value, json};
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.search_users", skip_all)]
pub(crate) async fn handler(
    State(app): State<App>,
    user: AuthedUser,
    Matrix(request): Matrix<search_users::v3::Request>,
) -> Result<JsonObject, MatrixError> {
    let found = app.rooms.search_users(&user.id, &request.search_term, request.limit.into()).await?;
    let users = found.users.into_iter().map(|user| {
        let mut told = Map::new();
        told.insert("user_id".to_owned(), Value::from(user.user_id));
        for (key, text) in [("display_name", user.display_name), ("avatar_url", user.avatar_url)] {
            if !text.is_empty() {
                told.insert(key.to_owned(), Value::from(text));
            }
        }
        Value::Object(told)
    });
    JsonObject::of(&json!({ "results": users.collect::<Vec<_>>(), "limited": found.limited }))
}
