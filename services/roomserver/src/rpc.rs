//! gRPC: one file for each service or RPC; decode, one call, encode.

mod backups;
mod check;
mod commands;
mod credentials;
mod database;
mod destination_admin;
mod destinations;
mod directory;
mod explain;
mod federation_admin;
mod graph;
mod history;
mod inbox;
pub(crate) mod input;
mod inspection;
mod key_store;
mod keys;
mod media;
mod media_admin;
mod membership_saga;
mod operator;
mod output_range;
mod reader_cursors;
mod room_admin;
pub(crate) mod room_stream;
pub(crate) mod rooms;
mod sessions;
mod summary;
mod user_admin;
pub(crate) mod user_stream;
mod users;

use std::time::Duration;

use tonic::{Request, service::Routes};

use crate::app::App;

/// The services for other services.
pub(crate) fn routes(app: &App) -> Routes {
    let mut routes = Routes::builder();
    routes.add_service(input::service(app));
    routes.add_service(room_stream::service(app));
    routes.add_service(user_stream::service(app));
    routes.add_service(rooms::service(app));
    routes.add_service(history::service(app));
    routes.add_service(summary::service(app));
    routes.add_service(directory::service(app));
    routes.add_service(graph::service(app));
    routes.add_service(users::service(app));
    routes.add_service(keys::service(app));
    routes.add_service(credentials::service(app));
    routes.add_service(inbox::service(app));
    routes.add_service(backups::service(app));
    routes.add_service(sessions::service(app));
    routes.add_service(reader_cursors::service(app));
    routes.add_service(key_store::service(app));
    routes.add_service(destinations::service(app));
    routes.add_service(membership_saga::service(app));
    routes.add_service(federation_admin::blocks(app));
    routes.add_service(media::service(app));
    routes.routes()
}

/// The services for operators.
pub(crate) fn operator_routes(app: &App) -> Routes {
    let mut routes = Routes::builder();
    routes.add_service(database::service(app));
    routes.add_service(destination_admin::service(app));
    routes.add_service(federation_admin::service(app));
    routes.add_service(explain::service(app));
    routes.add_service(operator::service(app));
    routes.add_service(room_admin::service(app));
    routes.add_service(inspection::service(app));
    routes.add_service(media_admin::service(app));
    routes.add_service(user_admin::service(app));
    routes.routes()
}

/// How long the caller is ready to wait, from the header `grpc-timeout`; less a little for the way back.
pub(crate) fn deadline<T>(request: &Request<T>) -> Option<Duration> {
    let value = request.metadata().get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let amount: u64 = digits.parse().ok()?;
    let timeout = match unit {
        "H" => Duration::from_secs(amount.checked_mul(3600)?),
        "M" => Duration::from_secs(amount.checked_mul(60)?),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    };
    Some(timeout.saturating_sub(Duration::from_millis(10)))
}

#[cfg(test)]
mod tests;
