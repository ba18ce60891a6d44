//! Channels to the room servers of a mesh.

use super::RpcChannel;
use crate::{
    Config, Token,
    token::{self, TokenError},
};

/// Channels to the `endpoints` of `[roomserver]`, which show the token of `[rpc]`.
pub struct RoomServers {
    /// To any of them, for calls that every instance can answer and that are harmless to repeat.
    pub any: RpcChannel,
    /// To each of them, for what every one has to be told.
    pub each: Vec<RpcChannel>,
    /// What they are shown.
    pub token: Token,
}

/// Why the room servers cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum RoomServersError {
    /// An endpoint is no URL.
    #[error("`endpoints` in [roomserver] must hold URLs of room servers")]
    Endpoint(#[from] tonic::transport::Error),
    /// There is nothing to show them.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl RoomServers {
    /// Makes the channels; they connect when first used.
    pub fn connect(config: &Config) -> Result<Self, RoomServersError> {
        let token = token::find("rpc", &config.rpc)?;
        let endpoints = &config.roomserver.endpoints;
        let with_token = |channel: RpcChannel| channel.with_token(&token);
        let each = endpoints.iter().map(|endpoint| RpcChannel::connect(endpoint).map(with_token));
        Ok(Self {
            any: RpcChannel::connect_any(endpoints).map(with_token)?,
            each: each.collect::<Result<_, _>>()?,
            token,
        })
    }
}
