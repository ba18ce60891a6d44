//! User-interactive authentication: a request is answered with 401 until the client has completed a flow.
//! [Spec](https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api)

mod request;
mod sessions;
mod stages;

use std::borrow::Cow;

use plexus_matrix_http::{AuthedUser, MatrixError};
use serde_json::{Map, Value, json};

use crate::App;

pub(crate) use request::{InteractiveRequest, read_params};
pub(crate) use sessions::Sessions;
pub(crate) use stages::{Stage, is_registration_token};

use sessions::Session;

/// Why a stage was not completed.
pub(crate) type StageFailure = (&'static str, Cow<'static, str>);

/// What is to be authenticated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation<'a> {
    /// Endpoint and path arguments.
    pub(crate) endpoint: &'a str,
    /// Whose it is; unset for registrations, where nobody is anybody yet.
    pub(crate) user: Option<&'a AuthedUser>,
    /// Flows of which one is to be completed.
    pub(crate) flows: &'a [&'a [Stage]],
}

impl Operation<'_> {
    /// What sessions are bound to.
    fn key(&self) -> String {
        format!("{} {}", self.endpoint, self.user.map_or("", |user| user.id.as_str()))
    }
}

/// Lets a request pass that completes a flow, and returns its parameters; all others get the 401 that says what to do.
///
/// A session is bound to the endpoint and the user; for users also to the parameters, which the client may repeat or
/// leave out. Before registering, clients ask for the flows with whatever parameters they have by then, so there the
/// last ones count.
pub(crate) async fn authenticate(
    app: &App,
    operation: Operation<'_>,
    request: InteractiveRequest,
) -> Result<Map<String, Value>, MatrixError> {
    let InteractiveRequest { auth, mut params } = request;
    let Some(auth) = auth else {
        let (id, session) = app.interactive.start(operation.key(), params);
        return Err(challenge(&operation, &id, &session, None));
    };
    let (id, mut session) = match auth.session.as_deref() {
        None => app.interactive.start(operation.key(), params.clone()),
        Some(id) => match app.interactive.find(id) {
            Some(session) => (id.to_owned(), session),
            None => {
                let (id, session) = app.interactive.start(operation.key(), params);
                let failure = ("M_UNKNOWN", Cow::Borrowed("The session is unknown or has expired"));
                return Err(challenge(&operation, &id, &session, Some(failure)));
            }
        },
    };
    if session.operation != operation.key() {
        return Err(MatrixError::forbidden("The session belongs to another request"));
    }
    if params.is_empty() {
        params.clone_from(&session.params);
    } else if operation.user.is_some() && params != session.params {
        return Err(MatrixError::forbidden("The request has changed since the session began"));
    }
    if let Some(stage) = auth.stage.as_deref() {
        let stage = operation.flows.iter().flat_map(|flow| flow.iter()).find(|known| known.name() == stage);
        let Some(stage) = stage.copied() else {
            let failure = ("M_UNRECOGNIZED", Cow::Borrowed("The authentication type is not offered here"));
            return Err(challenge(&operation, &id, &session, Some(failure)));
        };
        if let Err(failure) = stages::check(app, stage, operation.user, &auth.data).await? {
            return Err(challenge(&operation, &id, &session, Some(failure)));
        }
        session = app.interactive.complete(&id, stage).unwrap_or(session);
    }
    let done = |flow: &&[Stage]| flow.iter().all(|stage| session.completed.contains(stage));
    if !operation.flows.iter().any(done) {
        return Err(challenge(&operation, &id, &session, None));
    }
    // Good for one request; of two at the same time, one finds it gone.
    if !app.interactive.finish(&id) {
        return Err(MatrixError::forbidden("The session has been used"));
    }
    Ok(params)
}

fn challenge(
    operation: &Operation<'_>,
    id: &str,
    session: &Session,
    failure: Option<StageFailure>,
) -> MatrixError {
    let names = |stages: &[Stage]| stages.iter().map(|stage| stage.name()).collect::<Vec<_>>();
    let flows: Vec<_> = operation.flows.iter().map(|flow| json!({ "stages": names(flow) })).collect();
    let mut body = Map::new();
    body.insert("session".to_owned(), Value::from(id));
    body.insert("flows".to_owned(), Value::from(flows));
    body.insert("params".to_owned(), json!({}));
    body.insert("completed".to_owned(), Value::from(names(&session.completed)));
    MatrixError::interactive(body, failure)
}
