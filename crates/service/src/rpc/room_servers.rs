//! Channels to the room servers of a mesh.

use super::RpcChannel;
use crate::Config;

/// Channels to the `endpoints` of `[roomserver]`, which show the token of `[rpc]`.
pub struct RoomServers {
    /// To any of them, for calls that every instance can answer and that are harmless to repeat.
    pub any: RpcChannel,
    /// To each of them, for what every one has to be told.
    pub each: Vec<RpcChannel>,
}

impl RoomServers {
    /// Makes the channels; they connect when first used. Fails if an endpoint is no URL.
    pub fn connect(config: &Config) -> Result<Self, tonic::transport::Error> {
        let endpoints = &config.roomserver.endpoints;
        let with_token = |channel: RpcChannel| channel.with_token(&config.rpc.token);
        let each = endpoints.iter().map(|endpoint| RpcChannel::connect(endpoint).map(with_token));
        Ok(Self {
            any: RpcChannel::connect_any(endpoints).map(with_token)?,
            each: each.collect::<Result<_, _>>()?,
        })
    }
}
