//! Keeps what is cached of other servers within its quota: what was not read for longest goes first.

use std::time::Duration;

use plexus_matrix_http::MatrixError;
use plexus_service::Shutdown;
use tokio::time::sleep;

use crate::{Media, id::MediaUri, rows::DAY_MS};

/// From one look at the cache to the next.
const PAUSE: Duration = Duration::from_secs(5 * 60);
/// Servers that are looked at: those of which there is most.
const SERVERS: u32 = 100;
/// Media that is evicted at a time.
const PAGE: u32 = 200;

/// Evicts until shutdown.
pub(crate) async fn run(media: Media, shutdown: Shutdown) {
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = sleep(PAUSE) => {}
        }
        let evicted = tokio::select! {
            () = shutdown.requested() => return,
            evicted = evict(&media) => evicted,
        };
        if let Err(error) = evicted {
            tracing::warn!(%error, "media of other servers could not be evicted");
        }
    }
}

async fn evict(media: &Media) -> Result<(), MatrixError> {
    let config = media.media_config();
    let usage = media.rows.cache_usage(SERVERS).await?;
    let mut total = usage.bytes;
    for server in usage.servers {
        let excess = server.bytes.saturating_sub(config.cache_bytes_per_server);
        if excess > 0 {
            total = total.saturating_sub(free(media, &server.server_name, excess).await?);
        }
    }
    let excess = total.saturating_sub(config.cache_bytes);
    if excess > 0 {
        free(media, "", excess).await?;
    }
    Ok(())
}

/// Evicts media of a server, or of all, until so many bytes are free; returns how many are.
async fn free(media: &Media, server_name: &str, bytes: u64) -> Result<u64, MatrixError> {
    let mut freed = 0;
    while freed < bytes {
        let page = media.rows.evictable(server_name, PAGE).await?;
        let before = freed;
        for old in page {
            if freed >= bytes {
                break;
            }
            let Ok(uri) = MediaUri::parse(&old.server_name, old.media_id) else { continue };
            // Not if it was read since it was listed.
            if media.rows.evict(&uri, old.accessed_ts.saturating_add(DAY_MS)).await? > 0 {
                freed = freed.saturating_add(old.bytes);
            }
        }
        if freed == before {
            break;
        }
    }
    Ok(freed)
}
