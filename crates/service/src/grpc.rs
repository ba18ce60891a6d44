//! Serving gRPC: the services, with reflection and the standard health protocol beside them.

mod guard;

use std::net::SocketAddr;

use axum::{
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
};
use tonic::service::Routes;
use tonic_health::{ServingStatus, server::HealthReporter};
use tracing::Instrument as _;

use crate::{
    config::Listener,
    http::{self, ServeError},
    ready::Readiness,
    run::Shutdown,
    token::Token,
    trace::TraceContext,
};

/// Largest message that services send and take; generated servers and clients are to be set to it.
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Why gRPC could not be served.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// The listener could not be started.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The compiled-in descriptors are broken.
    #[error("the descriptors of the contracts are broken")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves gRPC services on a listener until shutdown; returns the address.
///
/// `names` are the full names of the services in `routes` (`SERVICE_NAME` of the generated servers): reflection lists
/// them, and health tells of each, and of the whole as "", whether the process is ready.
/// Callers must show the token, for health and reflection too, and speak gRPC over HTTP/2.
pub async fn serve(
    listener_name: &'static str,
    listener: &Listener,
    routes: Routes,
    names: &[&'static str],
    token: &Token,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> Result<SocketAddr, GrpcError> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let router = routes
        .add_service(health)
        .add_service(reflection(names).build_v1()?)
        .add_service(reflection(names).build_v1alpha()?)
        .into_axum_router();
    let router = guard::guard(router.layer(from_fn(follow)), token);
    let address = http::serve(listener_name, listener, router, shutdown).await?;
    shutdown.spawn(report_health(reporter, names.to_vec(), readiness.clone(), shutdown.clone()));
    Ok(address)
}

/// Goes on with the trace that the caller is in.
async fn follow(request: Request, next: Next) -> Response {
    let Some(trace) = TraceContext::of_header(request.headers()) else { return next.run(request).await };
    let span = tracing::info_span!("rpc", trace_id = %trace.trace_id());
    trace.scope(next.run(request).instrument(span)).await
}

fn reflection<'a>(names: &[&'static str]) -> tonic_reflection::server::Builder<'a> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(plexus_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health")
        .with_service_name("grpc.reflection.v1.ServerReflection");
    names.iter().fold(builder, |builder, name| builder.with_service_name(*name))
}

/// Keeps the health service in step with readiness.
async fn report_health(
    reporter: HealthReporter,
    names: Vec<&'static str>,
    readiness: Readiness,
    shutdown: Shutdown,
) {
    let mut ready = readiness.is_ready();
    loop {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for name in names.iter().copied().chain([""]) {
            reporter.set_service_status(name, status).await;
        }
        tokio::select! {
            () = shutdown.requested() => return,
            now = readiness.changed_from(ready) => ready = now,
        }
    }
}

#[cfg(test)]
mod tests;
