//! Reads the body of a transaction, without looking into its events.

use plexus_matrix_http::{Json, MatrixError};
use ruma::ServerName;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Most events, and most EDUs, of a transaction.
const MAX_PDUS: usize = 50;
const MAX_EDUS: usize = 100;

/// A transaction.
#[derive(Debug)]
pub(super) struct Transaction {
    /// Events, as they came.
    pub(super) pdus: Vec<Box<RawValue>>,
    /// EDUs, as they came.
    pub(super) edus: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Body {
    origin: Option<String>,
    // Some servers leave it out, and it says nothing.
    #[serde(rename = "origin_server_ts")]
    _origin_server_ts: Option<serde_json::Number>,
    pdus: Vec<Box<RawValue>>,
    #[serde(default)]
    edus: Vec<Box<RawValue>>,
}

impl Transaction {
    /// Reads the body of a request of a server.
    pub(super) fn read(body: &[u8], origin: &ServerName) -> Result<Self, MatrixError> {
        let Json(body) = Json::<Body>::parse(body)?;
        if body.origin.is_some_and(|claimed| claimed != origin.as_str()) {
            return Err(MatrixError::forbidden("The transaction is of another server than the request"));
        }
        for (field, count, most) in [("pdus", body.pdus.len(), MAX_PDUS), ("edus", body.edus.len(), MAX_EDUS)]
        {
            if count > most {
                return Err(MatrixError::invalid_param(format!("`{field}` holds more than {most}")));
            }
        }
        Ok(Self { pdus: body.pdus, edus: body.edus })
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;
    use serde_json::{Value, json};

    use super::*;

    fn read(body: &Value) -> Result<(usize, usize), u16> {
        let read = Transaction::read(body.to_string().as_bytes(), server_name!("a.test"));
        read.map(|read| (read.pdus.len(), read.edus.len())).map_err(|error| error.status.as_u16())
    }

    #[test]
    fn transactions_are_bounded() {
        let body = |pdus: usize, edus: usize| json!({ "origin": "a.test", "origin_server_ts": 1, "pdus": vec![json!({}); pdus], "edus": vec![1; edus] });
        assert_eq!(read(&body(0, 0)), Ok((0, 0)));
        assert_eq!(read(&body(50, 100)), Ok((50, 100)));
        assert_eq!(read(&body(51, 0)), Err(400));
        assert_eq!(read(&body(0, 101)), Err(400));
        assert_eq!(read(&json!({ "pdus": [] })), Ok((0, 0)));
        for malformed in [
            json!({}),
            json!([]),
            json!({ "pdus": {} }),
            json!({ "pdus": null }),
            json!({ "pdus": [], "edus": 1 }),
            json!({ "origin": 1, "pdus": [] }),
        ] {
            assert_eq!(read(&malformed), Err(400), "{malformed}");
        }
        assert_eq!(read(&json!({ "origin": "b.test", "pdus": [] })), Err(403));
        let twice = br#"{"pdus":[],"pdus":[]}"#;
        assert!(Transaction::read(twice, server_name!("a.test")).is_err());
    }
}
