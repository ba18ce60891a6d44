//! Routes: handlers with their policies. Read it like an index.

mod rooms;

use axum::Router;
use plexus_matrix_http::{Endpoint, Policy, Routes, UserLimit, apply_layers, get, post, put};

use crate::{
    App, absent, account, admin, backup, config, device, discovery, filter, keys, profile, push, session,
    tag, to_device,
};

/// A change by a user that has no limit of its own.
const CHANGE: Policy = Policy::change(UserLimit::Other);
/// What is looked up.
const READ: Policy = Policy::read(1);
/// What anybody may look up.
const OPEN: Policy = Policy::open(1);
/// Profiles can be tried out by name, so they cost anybody more.
const PROFILE: Policy = Policy::open(5);
/// Devices to delete may be many.
const DEVICES: Policy = CHANGE.body(256 * 1024);

/// Most bytes of messages to the devices of many users.
const MAX_TO_DEVICE_BODY: usize = 6 * 1024 * 1024;
/// Messages to devices.
const TO_DEVICE: Policy = Policy::change(UserLimit::ToDevice).body(MAX_TO_DEVICE_BODY);

/// Most bytes of room keys in one request.
const MAX_BACKUP_BODY: usize = 6 * 1024 * 1024;
/// Room keys into a backup.
const BACKUP: Policy = CHANGE.body(MAX_BACKUP_BODY);
/// All room keys of a user.
const BACKUP_KEYS: Policy = Policy::expensive_read(10);

/// All routes of the client-server API that this service answers, with the layers of a listener around them.
pub fn router(app: App) -> Router {
    apply_layers(routes(app))
}

/// The routes alone: for a process that serves other routes on the same listener, and puts
/// [`apply_layers`] around all of them.
pub fn routes(app: App) -> Router {
    Routes::new(app.edge.clone())
        .with(account_routes)
        .with(rooms::routes)
        .with(backup_routes)
        .with(keys::routes)
        .with(absent::routes)
        .with_state(app)
}

/// Under which versions of the API an endpoint is served.
pub(crate) trait ClientRoutes {
    /// Adds `/_matrix/client/{r0,v3}` and the path.
    fn client(self, path: &str, endpoint: Endpoint<App>) -> Self;
    /// Adds `/_matrix/client/v1` and the path.
    fn client_v1(self, path: &str, endpoint: Endpoint<App>) -> Self;
}

impl ClientRoutes for Routes<App> {
    fn client(self, path: &str, endpoint: Endpoint<App>) -> Self {
        self.route(&format!("/_matrix/client/r0{path}"), endpoint.clone())
            .route(&format!("/_matrix/client/v3{path}"), endpoint)
    }

    fn client_v1(self, path: &str, endpoint: Endpoint<App>) -> Self {
        self.route(&format!("/_matrix/client/v1{path}"), endpoint)
    }
}

fn account_routes(routes: Routes<App>) -> Routes<App> {
    routes
        // What this server is.
        .route("/_matrix/client/versions", get(OPEN, discovery::get_supported_versions::handler))
        .route("/.well-known/matrix/client", get(OPEN, discovery::discover_homeserver::handler))
        .route("/.well-known/matrix/server", get(OPEN, discovery::discover_server::handler))
        .route("/.well-known/matrix/support", get(OPEN, discovery::discover_support::handler))
        .client("/capabilities", get(READ, discovery::get_capabilities::handler))
        // Accounts.
        .client("/register", post(Policy::login(), account::register::handler))
        .client("/register/available", get(Policy::login(), account::get_username_availability::handler))
        .client_v1(
            "/register/m.login.registration_token/validity",
            get(Policy::login(), account::check_registration_token_validity::handler),
        )
        .client("/account/whoami", get(READ, account::whoami::handler))
        .client("/user/{user_id}/openid/request_token", post(CHANGE, account::request_openid_token::handler))
        .client("/account/password", post(CHANGE, account::change_password::handler))
        .client("/account/deactivate", post(CHANGE, account::deactivate::handler))
        .route(
            "/_synapse/admin/v1/register",
            get(OPEN, admin::register::nonce_handler).post(Policy::secret(), admin::register::handler),
        )
        .client("/admin/whois/{user_id}", get(READ, admin::whois::handler))
        // Sessions.
        .client(
            "/login",
            get(OPEN, session::get_login_types::handler).post(Policy::login(), session::login::handler),
        )
        .client("/logout", post(CHANGE, session::logout::handler))
        .client("/logout/all", post(CHANGE, session::logout_all::handler))
        .client("/refresh", post(Policy::login(), session::refresh_token::handler))
        .client_v1("/refresh", post(Policy::login(), session::refresh_token::handler))
        // Devices.
        .client("/devices", get(READ, device::get_devices::handler))
        .client(
            "/devices/{device_id}",
            get(READ, device::get_device::handler)
                .put(CHANGE, device::update_device::handler)
                .delete(CHANGE, device::delete_device::handler),
        )
        .client("/delete_devices", post(DEVICES, device::delete_devices::handler))
        .client(
            "/sendToDevice/{event_type}/{txn_id}",
            put(TO_DEVICE, to_device::send_event_to_device::handler),
        )
        // Profiles.
        .client("/profile/{user_id}", get(PROFILE, profile::get_profile::handler))
        .client(
            "/profile/{user_id}/{field}",
            get(PROFILE, profile::get_profile_field::handler)
                .put(CHANGE, profile::set_profile_field::handler)
                .delete(CHANGE, profile::delete_profile_field::handler),
        )
        // Account data.
        .client(
            "/user/{user_id}/account_data/{event_type}",
            get(READ, config::get_global_account_data::handler)
                .put(CHANGE, config::set_global_account_data::handler),
        )
        .client(
            "/user/{user_id}/rooms/{room_id}/account_data/{event_type}",
            get(READ, config::get_room_account_data::handler)
                .put(CHANGE, config::set_room_account_data::handler),
        )
        .client("/user/{user_id}/rooms/{room_id}/tags", get(READ, tag::get_tags::handler))
        .client(
            "/user/{user_id}/rooms/{room_id}/tags/{tag}",
            put(CHANGE, tag::create_tag::handler).delete(CHANGE, tag::delete_tag::handler),
        )
        // Push rules.
        .client("/pushrules/", get(READ, push::get_pushrules_all::handler))
        .client("/pushrules/global/", get(READ, push::get_pushrules_all::global_handler))
        .client(
            "/pushrules/global/{kind}/{rule_id}",
            get(READ, push::get_pushrule::handler)
                .put(CHANGE, push::set_pushrule::handler)
                .delete(CHANGE, push::delete_pushrule::handler),
        )
        .client(
            "/pushrules/global/{kind}/{rule_id}/enabled",
            get(READ, push::get_pushrule_attribute::enabled_handler)
                .put(CHANGE, push::set_pushrule_enabled::handler),
        )
        .client(
            "/pushrules/global/{kind}/{rule_id}/actions",
            get(READ, push::get_pushrule_attribute::actions_handler)
                .put(CHANGE, push::set_pushrule_actions::handler),
        )
        // Filters.
        .client("/user/{user_id}/filter", post(CHANGE, filter::create_filter::handler))
        .client("/user/{user_id}/filter/{filter_id}", get(READ, filter::get_filter::handler))
}

fn backup_routes(routes: Routes<App>) -> Routes<App> {
    use backup::{add_backup_keys as add, delete_backup_keys as delete, get_backup_keys as get_keys};
    routes
        .client(
            "/room_keys/version",
            get(READ, backup::get_backup_info::latest_handler)
                .post(CHANGE, backup::create_backup_version::handler),
        )
        .client(
            "/room_keys/version/{version}",
            get(READ, backup::get_backup_info::handler)
                .put(CHANGE, backup::update_backup_version::handler)
                .delete(CHANGE, backup::delete_backup_version::handler),
        )
        .client(
            "/room_keys/keys",
            get(BACKUP_KEYS, get_keys::handler).put(BACKUP, add::handler).delete(CHANGE, delete::handler),
        )
        .client(
            "/room_keys/keys/{room_id}",
            get(BACKUP_KEYS, get_keys::room_handler)
                .put(BACKUP, add::room_handler)
                .delete(CHANGE, delete::room_handler),
        )
        .client(
            "/room_keys/keys/{room_id}/{session_id}",
            get(READ, get_keys::session_handler)
                .put(CHANGE, add::session_handler)
                .delete(CHANGE, delete::session_handler),
        )
}
