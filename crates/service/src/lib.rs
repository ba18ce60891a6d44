//! The chassis of every service: configuration, tracing, metrics, health, HTTP and gRPC listeners, channels between
//! services, shutdown.
//!
//! It knows nothing of Matrix beyond the server's name.

pub mod admin;
pub mod config;
pub mod grpc;
pub mod http;
pub mod metrics;
pub mod print;
pub mod ready;
pub mod refusal;
pub mod rpc;
pub mod run;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod trace;

pub use config::Config;
pub use ready::Readiness;
pub use rpc::{Dialer, RoomServers, RpcChannel};
pub use run::Shutdown;
pub use token::Token;
pub use trace::TraceContext;
