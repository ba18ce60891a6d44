//! Routes: handlers with their policies. Read it like an index.

use axum::Router;
use plexus_matrix_http::{Policy, Routes, UserLimit, delete, get, post, put};

use crate::{
    Media,
    endpoint::{
        create_content_async, create_mxc_uri, download, get_media_config, get_media_preview, own, thumbnail,
        upload,
    },
};

/// Uploads, whose handlers bound their bodies.
const UPLOAD: Policy = Policy::change(UserLimit::Other);
/// Reservations and deletions.
const CHANGE: Policy = Policy::change(UserLimit::Other);
/// What lies here.
const READ: Policy = Policy::read(1);
/// What may have to be fetched.
const DOWNLOAD: Policy = Policy::read(2);
/// What may have to be made.
const THUMBNAIL: Policy = Policy::read(2);
/// What has to be fetched, and is counted by its handler, too.
const PREVIEW: Policy = Policy::read(10);
/// The old endpoints, which ask for no token.
const OLD: Policy = Policy::open(2);

/// Routes what clients ask of media. Layers are put around them by the process, which may serve others beside.
pub fn router(media: Media) -> Router {
    let mut routes = Routes::new(media.edge.clone())
        .route("/_matrix/media/v1/create", post(CHANGE, create_mxc_uri::handler))
        .route("/_matrix/client/v1/media/config", get(READ, get_media_config::handler))
        .route("/_matrix/client/v1/media/preview_url", get(PREVIEW, get_media_preview::handler))
        .route("/_matrix/client/v1/media/download/{server_name}/{media_id}", get(DOWNLOAD, download::handler))
        .route(
            "/_matrix/client/v1/media/download/{server_name}/{media_id}/{file_name}",
            get(DOWNLOAD, download::named_handler),
        )
        .route(
            "/_matrix/client/v1/media/thumbnail/{server_name}/{media_id}",
            get(THUMBNAIL, thumbnail::handler),
        )
        .route("/_matrix/client/unstable/org.plexus.media", get(READ, own::list_handler))
        .route(
            "/_matrix/client/unstable/org.plexus.media/{server_name}/{media_id}",
            delete(CHANGE, own::delete_handler),
        );
    for version in ["r0", "v1", "v3"] {
        let path = |rest: &str| format!("/_matrix/media/{version}/{rest}");
        routes = routes
            .route(&path("upload"), post(UPLOAD, upload::handler))
            .route(&path("upload/{server_name}/{media_id}"), put(UPLOAD, create_content_async::handler))
            .route(&path("config"), get(READ, get_media_config::handler))
            .route(&path("preview_url"), get(PREVIEW, get_media_preview::handler))
            .route(&path("download/{server_name}/{media_id}"), get(OLD, download::old_handler))
            .route(
                &path("download/{server_name}/{media_id}/{file_name}"),
                get(OLD, download::old_named_handler),
            )
            .route(&path("thumbnail/{server_name}/{media_id}"), get(OLD, thumbnail::old_handler));
    }
    routes.with_state(media)
}
