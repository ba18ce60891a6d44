//! `PUT /_matrix/federation/v1/send/{txnId}`
//! [Spec](https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1sendtxnid)
//!
//! The receiver asks nobody for anything but keys: an event that cites what is missing is parked by the room server, and
//! the fetcher goes on from there. What is answered of an event follows its commit; what has not been judged within the
//! budget is told so, and judged all the same.

mod answer;
mod body;
mod devices;
mod edus;
mod pdus;
mod rooms;
mod turns;

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::header;
use plexus_matrix_http::{MatrixError, PathArgs};
use plexus_service::TraceContext;
use ruma::OwnedServerName;
use tracing::{Instrument as _, instrument};

pub(crate) use pdus::split;
pub(crate) use turns::Transactions;

use crate::{
    Federation, metrics,
    receiver::{Live, Signed},
};
use body::Transaction;
use rooms::Rooms;

/// How long an answer waits for verdicts, once the events lie in the log.
const BUDGET: Duration = Duration::from_millis(250);
/// How long EDUs may take.
const EDU_PATIENCE: Duration = Duration::from_secs(5);

#[instrument(name = "http.server.send_transaction_message", skip_all, fields(origin = %signed.origin))]
pub(crate) async fn handler(
    State(federation): State<Federation>,
    PathArgs((txn_id,)): PathArgs<(String,)>,
    signed: Signed<Live>,
) -> Result<Response, MatrixError> {
    let transaction = Transaction::read(&signed.body, &signed.origin)?;
    let key = turns::Key::new(&signed.origin, &txn_id, &signed.body);
    let work = {
        let federation = federation.clone();
        // It ends whether or not the origin waits for it: the same transaction will come again and find the answer.
        async move {
            let Signed { origin, .. } = &signed;
            receive(&federation, origin, transaction).await
        }
    };
    let work = TraceContext::next_step().scope(work.in_current_span());
    let answer = federation.transactions.answer(key, work).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], String::from(&*answer)).into_response())
}

/// Takes a transaction in when it is the origin's turn.
async fn receive(
    federation: &Federation,
    origin: &OwnedServerName,
    transaction: Transaction,
) -> Result<Arc<str>, MatrixError> {
    let _turn = federation.transactions.turn(origin).await?;
    metrics::transaction();
    let rooms = Rooms::new(federation, origin);
    let pending = pdus::write(federation, &rooms, origin, transaction.pdus).await?;
    // Receipts name events that lie in the log by now.
    let edus = async {
        let taken = edus::take(federation, &rooms, origin, &transaction.edus);
        if tokio::time::timeout(EDU_PATIENCE, taken).await.is_err() {
            tracing::debug!(%origin, "EDUs took too long, the rest is dropped");
        }
    };
    // What must not be lost is committed before the answer, or the transaction comes again.
    let devices = devices::take(federation, origin, &transaction.edus);
    let (answers, (), kept) = tokio::join!(pending.verdicts(federation, BUDGET), edus, devices);
    kept?;
    Ok(answers.to_json().into())
}
