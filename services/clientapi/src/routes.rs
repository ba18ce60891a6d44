//! Which handler answers what. Read it like an index.

mod rooms;

use axum::{
    Router,
    routing::{MethodRouter, get, post, put},
};
use plexus_matrix_http::apply_layers;

use crate::{App, absent, account, admin, config, device, discovery, filter, profile, push, session, tag};

/// All routes of the client-server API that this service answers, with the layers of a listener around them.
pub fn router(app: App) -> Router {
    let max_body_bytes = app.config.clientapi.max_body_bytes;
    apply_layers(routes(app), max_body_bytes)
}

/// The routes alone: for a process that serves other routes on the same listener, and puts
/// [`apply_layers`] around all of them.
pub fn routes(app: App) -> Router {
    account_routes().merge(rooms::routes()).merge(absent::routes()).with_state(app)
}

/// Under which versions of the API an endpoint is served.
pub(crate) trait ClientRoutes {
    /// Adds `/_matrix/client/{r0,v3}` and the path.
    fn client(self, path: &str, method: MethodRouter<App>) -> Self;
    /// Adds `/_matrix/client/v1` and the path.
    fn client_v1(self, path: &str, method: MethodRouter<App>) -> Self;
}

impl ClientRoutes for Router<App> {
    fn client(self, path: &str, method: MethodRouter<App>) -> Self {
        self.route(&format!("/_matrix/client/r0{path}"), method.clone())
            .route(&format!("/_matrix/client/v3{path}"), method)
    }

    fn client_v1(self, path: &str, method: MethodRouter<App>) -> Self {
        self.route(&format!("/_matrix/client/v1{path}"), method)
    }
}

fn account_routes() -> Router<App> {
    Router::new()
        // What this server is.
        .route("/_matrix/client/versions", get(discovery::get_supported_versions::handler))
        .route("/.well-known/matrix/client", get(discovery::discover_homeserver::handler))
        .client("/capabilities", get(discovery::get_capabilities::handler))
        // Accounts.
        .client("/register", post(account::register::handler))
        .client("/register/available", get(account::get_username_availability::handler))
        .client_v1(
            "/register/m.login.registration_token/validity",
            get(account::check_registration_token_validity::handler),
        )
        .client("/account/whoami", get(account::whoami::handler))
        .client("/account/password", post(account::change_password::handler))
        .client("/account/deactivate", post(account::deactivate::handler))
        .route(
            "/_synapse/admin/v1/register",
            get(admin::register::nonce_handler).post(admin::register::handler),
        )
        // Sessions.
        .client("/login", get(session::get_login_types::handler).post(session::login::handler))
        .client("/logout", post(session::logout::handler))
        .client("/logout/all", post(session::logout_all::handler))
        .client("/refresh", post(session::refresh_token::handler))
        .client_v1("/refresh", post(session::refresh_token::handler))
        // Devices.
        .client("/devices", get(device::get_devices::handler))
        .client(
            "/devices/{device_id}",
            get(device::get_device::handler)
                .put(device::update_device::handler)
                .delete(device::delete_device::handler),
        )
        .client("/delete_devices", post(device::delete_devices::handler))
        // Profiles.
        .client("/profile/{user_id}", get(profile::get_profile::handler))
        .client(
            "/profile/{user_id}/{field}",
            get(profile::get_profile_field::handler)
                .put(profile::set_profile_field::handler)
                .delete(profile::delete_profile_field::handler),
        )
        // Account data.
        .client(
            "/user/{user_id}/account_data/{event_type}",
            get(config::get_global_account_data::handler).put(config::set_global_account_data::handler),
        )
        .client(
            "/user/{user_id}/rooms/{room_id}/account_data/{event_type}",
            get(config::get_room_account_data::handler).put(config::set_room_account_data::handler),
        )
        .client("/user/{user_id}/rooms/{room_id}/tags", get(tag::get_tags::handler))
        .client(
            "/user/{user_id}/rooms/{room_id}/tags/{tag}",
            put(tag::create_tag::handler).delete(tag::delete_tag::handler),
        )
        // Push rules.
        .client("/pushrules/", get(push::get_pushrules_all::handler))
        .client("/pushrules/global/", get(push::get_pushrules_all::global_handler))
        .client(
            "/pushrules/global/{kind}/{rule_id}",
            get(push::get_pushrule::handler)
                .put(push::set_pushrule::handler)
                .delete(push::delete_pushrule::handler),
        )
        .client(
            "/pushrules/global/{kind}/{rule_id}/enabled",
            get(push::get_pushrule_attribute::enabled_handler).put(push::set_pushrule_enabled::handler),
        )
        .client(
            "/pushrules/global/{kind}/{rule_id}/actions",
            get(push::get_pushrule_attribute::actions_handler).put(push::set_pushrule_actions::handler),
        )
        // Filters.
        .client("/user/{user_id}/filter", post(filter::create_filter::handler))
        .client("/user/{user_id}/filter/{filter_id}", get(filter::get_filter::handler))
}
