//! Routes: handlers with their classes and body limits. Read it like an index.
//!
//! Who asks, what it costs, and whether it is signed is said by the extractors of the handlers ([`crate::receiver`]).

use axum::Router;
use plexus_matrix_http::{Policy, Routes, get, post, put};

use crate::{
    Federation,
    receiver::{
        graph, keys, media,
        membership::{invite, make, send_join, send_knock, send_leave, third_party},
        query, transaction, user_keys, version, well_known,
    },
};

/// What servers ask and sign, without a body or with a small one. It is counted once it is known who asks.
const SMALL: Policy = Policy::secret();
/// Bodies of questions.
const QUERY: Policy = Policy::secret().body(128 * 1024);

/// Transactions: fifty events of 64 KiB, a hundred EDUs, and what JSON may take more of them than canonical JSON.
const LIVE: Policy = Policy::secret().body(16 << 20);
/// Events of handshakes, and what is told of rooms with them.
const HANDSHAKE: Policy = Policy::secret().body(1024 * 1024);

/// What anybody may ask, counted by address.
const OPEN: Policy = Policy::open(1);
/// What makes us ask others.
const NOTARY: Policy = Policy::open(5).body(128 * 1024);

/// All routes of the server-server API that this service answers.
pub(crate) fn routes(federation: &Federation) -> Router {
    let more = Routes::new(federation.edge.clone())
        // Clients' listeners have it, too, from the client API.
        .route("/.well-known/matrix/server", get(OPEN, well_known::handler))
        .route("/_matrix/federation/v1/send/{txn_id}", put(LIVE, transaction::handler))
        // Events and states of rooms.
        .route("/_matrix/federation/v1/event/{event_id}", get(SMALL, graph::event::handler))
        .route("/_matrix/federation/v1/state/{room_id}", get(SMALL, graph::state::handler))
        .route("/_matrix/federation/v1/state_ids/{room_id}", get(SMALL, graph::state::ids_handler))
        .route(
            "/_matrix/federation/v1/event_auth/{room_id}/{event_id}",
            get(SMALL, graph::event_auth::handler),
        )
        .route("/_matrix/federation/v1/backfill/{room_id}", get(SMALL, graph::backfill::handler))
        .route(
            "/_matrix/federation/v1/get_missing_events/{room_id}",
            post(QUERY, graph::missing_events::handler),
        )
        .route("/_matrix/federation/v1/timestamp_to_event/{room_id}", get(SMALL, graph::by_time::handler))
        // Users who come and go.
        .route("/_matrix/federation/v1/make_join/{room_id}/{user_id}", get(SMALL, make::join_handler))
        .route("/_matrix/federation/v1/make_knock/{room_id}/{user_id}", get(SMALL, make::knock_handler))
        .route("/_matrix/federation/v1/make_leave/{room_id}/{user_id}", get(SMALL, make::leave_handler))
        .route("/_matrix/federation/v1/send_join/{room_id}/{event_id}", put(HANDSHAKE, send_join::v1_handler))
        .route("/_matrix/federation/v2/send_join/{room_id}/{event_id}", put(HANDSHAKE, send_join::handler))
        .route("/_matrix/federation/v1/send_knock/{room_id}/{event_id}", put(HANDSHAKE, send_knock::handler))
        .route(
            "/_matrix/federation/v1/send_leave/{room_id}/{event_id}",
            put(HANDSHAKE, send_leave::v1_handler),
        )
        .route("/_matrix/federation/v2/send_leave/{room_id}/{event_id}", put(HANDSHAKE, send_leave::handler))
        .route("/_matrix/federation/v1/invite/{room_id}/{event_id}", put(HANDSHAKE, invite::v1_handler))
        .route("/_matrix/federation/v2/invite/{room_id}/{event_id}", put(HANDSHAKE, invite::handler))
        .route(
            "/_matrix/federation/v1/exchange_third_party_invite/{room_id}",
            put(HANDSHAKE, third_party::handler),
        )
        // Keys of our users.
        .route("/_matrix/federation/v1/user/devices/{user_id}", get(SMALL, user_keys::devices::handler))
        .route("/_matrix/federation/v1/user/keys/query", post(QUERY, user_keys::query::handler))
        .route("/_matrix/federation/v1/user/keys/claim", post(QUERY, user_keys::claim::handler))
        // Media.
        .route("/_matrix/federation/v1/media/download/{media_id}", get(SMALL, media::download_handler))
        .route("/_matrix/federation/v1/media/thumbnail/{media_id}", get(SMALL, media::thumbnail_handler))
        // Questions.
        .route("/_matrix/federation/v1/hierarchy/{room_id}", get(SMALL, query::hierarchy::handler))
        .route(
            "/_matrix/federation/v1/publicRooms",
            get(SMALL, query::public_rooms::handler).post(QUERY, query::public_rooms::filtered_handler),
        )
        .route("/_matrix/federation/v1/query/profile", get(SMALL, query::profile::handler))
        .route("/_matrix/federation/v1/query/directory", get(SMALL, query::directory::handler))
        .with_state(federation.clone());
    open_routes(federation).merge(more)
}

/// Routes that anybody may ask: versions and keys.
pub(crate) fn open_routes(federation: &Federation) -> Router {
    Routes::new(federation.edge.clone())
        .route("/_matrix/federation/v1/version", get(OPEN, version::handler))
        .route("/_matrix/federation/v1/openid/userinfo", get(OPEN, query::openid::handler))
        .route("/_matrix/key/v2/server", get(OPEN, keys::server::handler))
        .route("/_matrix/key/v2/server/", get(OPEN, keys::server::handler))
        // Whoever asks for one key is told all.
        .route("/_matrix/key/v2/server/{key_id}", get(OPEN, keys::server::handler))
        .route("/_matrix/key/v2/query", post(NOTARY, keys::query::batch_handler))
        .route("/_matrix/key/v2/query/{server_name}", get(NOTARY, keys::query::handler))
        // The path once ended with the ID of a key.
        .route("/_matrix/key/v2/query/{server_name}/{key_id}", get(NOTARY, keys::query::handler))
        .with_state(federation.clone())
}
