//! `GET /.well-known/matrix/support`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixsupport)

use axum::extract::State;
use plexus_matrix_http::{JsonObject, MatrixError};
use serde_json::{Map, json};
use tracing::instrument;

use crate::App;

#[instrument(name = "http.client.discover_support", skip_all)]
pub(crate) async fn handler(State(app): State<App>) -> Result<JsonObject, MatrixError> {
    let server = &app.config.server;
    let mut contact = Map::new();
    for (key, value) in [("email_address", &server.support_email), ("matrix_id", &server.support_matrix_id)] {
        if !value.is_empty() {
            contact.insert(key.to_owned(), value.as_str().into());
        }
    }
    let mut answer = Map::new();
    if !contact.is_empty() {
        contact.insert("role".to_owned(), "m.role.admin".into());
        answer.insert("contacts".to_owned(), json!([contact]));
    }
    if !server.support_page.is_empty() {
        answer.insert("support_page".to_owned(), server.support_page.as_str().into());
    }
    if answer.is_empty() {
        return Err(MatrixError::not_found("This server announces nobody to turn to"));
    }
    JsonObject::of(&answer)
}
