//! Channels to the room servers of a mesh.

use super::{Dialer, DialerError, RpcChannel};
use crate::Config;

/// Channels to the `endpoints` of `[roomserver]`.
pub struct RoomServers {
    /// To any of them, for calls that every instance can answer and that are harmless to repeat.
    pub any: RpcChannel,
    /// To each of them, for what every one has to be told.
    pub each: Vec<RpcChannel>,
    /// How they are reached.
    pub dialer: Dialer,
}

/// Why the room servers cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum RoomServersError {
    /// An endpoint is no URL.
    #[error("`endpoints` in [roomserver] must hold URLs of room servers")]
    Endpoint(#[from] tonic::transport::Error),
    /// There is nothing to show them.
    #[error(transparent)]
    Dialer(#[from] DialerError),
}

impl RoomServers {
    /// Makes the channels; they connect when first used.
    pub fn connect(config: &Config) -> Result<Self, RoomServersError> {
        let dialer = Dialer::new("rpc", &config.rpc)?;
        let endpoints = &config.roomserver.endpoints;
        let each = endpoints.iter().map(|endpoint| dialer.connect(endpoint));
        Ok(Self { any: dialer.connect_any(endpoints)?, each: each.collect::<Result<_, _>>()?, dialer })
    }
}
