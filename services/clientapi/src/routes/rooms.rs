//! The endpoints of rooms.

use axum::{
    Router,
    routing::{MethodRouter, get, post, put},
};

use super::ClientRoutes as _;
use crate::{
    App, alias, context, directory, knock, membership, message, peeking, read_marker, receipt, redact,
    reporting, room, space, state, typing, user_directory,
};

pub(super) fn routes() -> Router<App> {
    Router::new()
        // Rooms.
        .client("/createRoom", post(room::create_room::handler))
        .client("/joined_rooms", get(membership::joined_rooms::handler))
        .client_v1("/mutual_rooms", get(membership::get_mutual_rooms::handler))
        .client("/rooms/{room_id}/upgrade", post(room::upgrade_room::handler))
        .client_v1("/rooms/{room_id}/hierarchy", get(space::get_hierarchy::handler))
        .client_v1("/room_summary/{room_id_or_alias}", get(room::get_summary::handler))
        // Members.
        .client("/join/{room_id_or_alias}", post(membership::join_room_by_id_or_alias::handler))
        .client("/knock/{room_id_or_alias}", post(knock::knock_room::handler))
        .client("/rooms/{room_id}/join", post(membership::join_room_by_id::handler))
        .client("/rooms/{room_id}/invite", post(membership::invite_user::handler))
        .client("/rooms/{room_id}/leave", post(membership::leave_room::handler))
        .client("/rooms/{room_id}/kick", post(membership::kick_user::handler))
        .client("/rooms/{room_id}/ban", post(membership::ban_user::handler))
        .client("/rooms/{room_id}/unban", post(membership::unban_user::handler))
        .client("/rooms/{room_id}/forget", post(membership::forget_room::handler))
        .client("/rooms/{room_id}/members", get(membership::get_member_events::handler))
        .client("/rooms/{room_id}/joined_members", get(membership::joined_members::handler))
        // State. An empty state key may come with the slash before it, or without.
        .client("/rooms/{room_id}/state", get(state::get_state_events::handler))
        .client("/rooms/{room_id}/state/{event_type}", state_entry())
        .client("/rooms/{room_id}/state/{event_type}/", state_entry())
        .client("/rooms/{room_id}/state/{event_type}/{state_key}", state_entry())
        // Events.
        .client("/rooms/{room_id}/send/{event_type}/{txn_id}", put(message::send_message_event::handler))
        .client("/rooms/{room_id}/redact/{event_id}/{txn_id}", put(redact::redact_event::handler))
        .client("/rooms/{room_id}/event/{event_id}", get(room::get_room_event::handler))
        .client("/rooms/{room_id}/context/{event_id}", get(context::get_context::handler))
        .client("/rooms/{room_id}/messages", get(message::get_message_events::handler))
        // Receipts, markers and typing.
        .client("/rooms/{room_id}/receipt/{receipt_type}/{event_id}", post(receipt::create_receipt::handler))
        .client("/rooms/{room_id}/read_markers", post(read_marker::set_read_marker::handler))
        .client("/rooms/{room_id}/typing/{user_id}", put(typing::create_typing_event::handler))
        .client_v1("/rooms/{room_id}/relations/{event_id}", get(room::get_relations::all))
        .client_v1(
            "/rooms/{room_id}/relations/{event_id}/{rel_type}",
            get(room::get_relations::with_rel_type),
        )
        .client_v1(
            "/rooms/{room_id}/relations/{event_id}/{rel_type}/{event_type}",
            get(room::get_relations::with_event_type),
        )
        .client_v1("/rooms/{room_id}/threads", get(room::get_threads::handler))
        .client_v1("/rooms/{room_id}/timestamp_to_event", get(room::get_event_by_timestamp::handler))
        .client("/rooms/{room_id}/initialSync", get(peeking::room_initial_sync::handler))
        .client("/initialSync", get(peeking::initial_sync::handler))
        .client("/events/{event_id}", get(peeking::get_one_event::handler))
        // Aliases and the directory.
        .client("/rooms/{room_id}/aliases", get(room::aliases::handler))
        .client(
            "/directory/room/{room_alias}",
            get(alias::get_alias::handler)
                .put(alias::create_alias::handler)
                .delete(alias::delete_alias::handler),
        )
        .client(
            "/directory/list/room/{room_id}",
            get(directory::get_room_visibility::handler).put(directory::set_room_visibility::handler),
        )
        .client(
            "/publicRooms",
            get(directory::get_public_rooms::handler).post(directory::get_public_rooms_filtered::handler),
        )
        .client("/user_directory/search", post(user_directory::search_users::handler))
        // Reports.
        .client("/rooms/{room_id}/report", post(reporting::report_room::handler))
        .client("/rooms/{room_id}/report/{event_id}", post(reporting::report_content::handler))
        .client("/users/{user_id}/report", post(reporting::report_user::handler))
}

fn state_entry() -> MethodRouter<App> {
    get(state::get_state_event_for_key::handler).put(state::send_state_event::handler)
}
