//! The endpoints of rooms.

use plexus_matrix_http::{Endpoint, Policy, Routes, UserLimit, get, post, put};

use super::{CHANGE, ClientRoutes as _, OPEN, READ};
use crate::{
    App, alias, context, directory, knock, membership, message, peeking, read_marker, receipt, redact,
    reporting, room, space, state, typing, user_directory,
};

/// An event, whose handler counts it: a repeat of a transaction is none.
const SEND: Policy = Policy::counted_by_handler();
const JOIN: Policy = Policy::change(UserLimit::Join);
const CREATE: Policy = Policy::change(UserLimit::RoomCreation);
/// Pages of timelines, states and lists of members.
const PAGE: Policy = Policy::expensive_read(2);
/// What looks at many rooms or users.
const SEARCH: Policy = Policy::expensive_read(10);
/// The directory, which anybody may read.
const DIRECTORY: Policy = Policy::open(5).expensive();

pub(super) fn routes(routes: Routes<App>) -> Routes<App> {
    routes
        // Rooms.
        .client("/createRoom", post(CREATE, room::create_room::handler))
        .client("/joined_rooms", get(READ, membership::joined_rooms::handler))
        .client_v1("/mutual_rooms", get(READ, membership::get_mutual_rooms::handler))
        .client("/rooms/{room_id}/upgrade", post(CREATE, room::upgrade_room::handler))
        .client_v1("/rooms/{room_id}/hierarchy", get(SEARCH, space::get_hierarchy::handler))
        .client_v1("/room_summary/{room_id_or_alias}", get(READ.or_anybody(), room::get_summary::handler))
        // Members.
        .client("/join/{room_id_or_alias}", post(JOIN, membership::join_room_by_id_or_alias::handler))
        .client("/knock/{room_id_or_alias}", post(JOIN, knock::knock_room::handler))
        .client("/rooms/{room_id}/join", post(JOIN, membership::join_room_by_id::handler))
        .client(
            "/rooms/{room_id}/invite",
            post(Policy::counted_by_handler(), membership::invite_user::handler),
        )
        .client("/rooms/{room_id}/leave", post(CHANGE, membership::leave_room::handler))
        .client("/rooms/{room_id}/kick", post(CHANGE, membership::kick_user::handler))
        .client("/rooms/{room_id}/ban", post(CHANGE, membership::ban_user::handler))
        .client("/rooms/{room_id}/unban", post(CHANGE, membership::unban_user::handler))
        .client("/rooms/{room_id}/forget", post(CHANGE, membership::forget_room::handler))
        .client("/rooms/{room_id}/members", get(PAGE, membership::get_member_events::handler))
        .client("/rooms/{room_id}/joined_members", get(PAGE, membership::joined_members::handler))
        // State. An empty state key may come with the slash before it, or without.
        .client("/rooms/{room_id}/state", get(PAGE, state::get_state_events::handler))
        .client("/rooms/{room_id}/state/{event_type}", state_entry())
        .client("/rooms/{room_id}/state/{event_type}/", state_entry())
        .client("/rooms/{room_id}/state/{event_type}/{state_key}", state_entry())
        // Events.
        .client(
            "/rooms/{room_id}/send/{event_type}/{txn_id}",
            put(SEND, message::send_message_event::handler),
        )
        .client("/rooms/{room_id}/redact/{event_id}/{txn_id}", put(SEND, redact::redact_event::handler))
        .client("/rooms/{room_id}/event/{event_id}", get(READ, room::get_room_event::handler))
        .client("/rooms/{room_id}/context/{event_id}", get(PAGE, context::get_context::handler))
        .client("/rooms/{room_id}/messages", get(PAGE, message::get_message_events::handler))
        // Receipts, markers and typing.
        .client(
            "/rooms/{room_id}/receipt/{receipt_type}/{event_id}",
            post(CHANGE, receipt::create_receipt::handler),
        )
        .client("/rooms/{room_id}/read_markers", post(CHANGE, read_marker::set_read_marker::handler))
        .client("/rooms/{room_id}/typing/{user_id}", put(CHANGE, typing::create_typing_event::handler))
        .client_v1("/rooms/{room_id}/relations/{event_id}", get(PAGE, room::get_relations::all))
        .client_v1(
            "/rooms/{room_id}/relations/{event_id}/{rel_type}",
            get(PAGE, room::get_relations::with_rel_type),
        )
        .client_v1(
            "/rooms/{room_id}/relations/{event_id}/{rel_type}/{event_type}",
            get(PAGE, room::get_relations::with_event_type),
        )
        .client_v1("/rooms/{room_id}/threads", get(PAGE, room::get_threads::handler))
        .client_v1("/rooms/{room_id}/timestamp_to_event", get(PAGE, room::get_event_by_timestamp::handler))
        .client("/rooms/{room_id}/initialSync", get(PAGE, peeking::room_initial_sync::handler))
        .client("/initialSync", get(SEARCH, peeking::initial_sync::handler))
        .client("/events/{event_id}", get(READ, peeking::get_one_event::handler))
        // Aliases and the directory.
        .client("/rooms/{room_id}/aliases", get(READ, room::aliases::handler))
        .client(
            "/directory/room/{room_alias}",
            get(OPEN, alias::get_alias::handler)
                .put(CHANGE, alias::create_alias::handler)
                .delete(CHANGE, alias::delete_alias::handler),
        )
        .client(
            "/directory/list/room/{room_id}",
            get(OPEN, directory::get_room_visibility::handler)
                .put(CHANGE, directory::set_room_visibility::handler),
        )
        .client(
            "/publicRooms",
            get(DIRECTORY, directory::get_public_rooms::handler)
                .post(SEARCH, directory::get_public_rooms_filtered::handler),
        )
        .client("/user_directory/search", post(SEARCH, user_directory::search_users::handler))
        // Reports.
        .client("/rooms/{room_id}/report", post(CHANGE, reporting::report_room::handler))
        .client("/rooms/{room_id}/report/{event_id}", post(CHANGE, reporting::report_content::handler))
        .client("/users/{user_id}/report", post(CHANGE, reporting::report_user::handler))
}

fn state_entry() -> Endpoint<App> {
    get(READ, state::get_state_event_for_key::handler)
        .put(Policy::change(UserLimit::Message), state::send_state_event::handler)
}
