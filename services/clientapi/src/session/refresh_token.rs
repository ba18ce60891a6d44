//! `POST /_matrix/client/*/refresh`
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3refresh)

use axum::extract::State;
use plexus_matrix_http::{Matrix, MatrixError, hash_token};
use plexus_proto::{
    log::v1::{RefreshTokens, input_user_event::Command},
    user::v1::FindRefreshTokenRequest,
};
use ruma::{
    UserId,
    api::client::session::refresh_token::v3::{Request, Response},
};
use tracing::instrument;

use crate::{App, secrets};

#[instrument(name = "http.client.refresh_token", skip_all)]
pub(crate) async fn handler(
    State(app): State<App>,
    Matrix(request): Matrix<Request>,
) -> Result<Matrix<Response>, MatrixError> {
    let old_hash = hash_token(&request.refresh_token).to_vec();
    let find = FindRefreshTokenRequest { refresh_token_hash: old_hash.clone().into() };
    let session = app.users.clone().find_refresh_token(find).await?.into_inner();
    let user_id = UserId::parse(&session.user_id).map_err(|error| {
        tracing::error!(%error, "session of an invalid user ID");
        MatrixError::internal()
    })?;
    let (access_token, refresh_token) = (secrets::access_token(), secrets::refresh_token());
    let (expires_in, expires_ts) = super::expiry(&app, true);
    let command = Command::RefreshTokens(RefreshTokens {
        refresh_token_hash: old_hash.into(),
        new_access_token_hash: hash_token(&access_token).to_vec().into(),
        new_refresh_token_hash: hash_token(&refresh_token).to_vec().into(),
        expires_ts,
    });
    app.input.submit_user(&user_id, command).await?;
    let mut response = Response::new(access_token);
    response.refresh_token = Some(refresh_token);
    response.expires_in_ms = expires_in;
    Ok(Matrix(response))
}
