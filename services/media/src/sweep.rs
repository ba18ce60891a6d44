//! Removes blobs that no row names, in two steps: set aside, and destroyed later if nobody has named them meanwhile.

use std::{collections::HashSet, time::Duration};

use plexus_matrix_http::MatrixError;
use plexus_media_store::{Hash, StoreError};
use plexus_service::Shutdown;
use tokio::time::sleep;

use crate::{Media, metrics};

/// A blob that nobody has stored for so long, and an upload that began so long ago.
const AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a blob stays set aside: longer than a command may take.
const ASIDE: Duration = Duration::from_secs(60 * 60);
/// Until the first sweep, and from one to the next.
const FIRST: Duration = Duration::from_secs(10 * 60);
const PAUSE: Duration = Duration::from_secs(6 * 60 * 60);
/// Between two of its 256 parts.
const BREATH: Duration = Duration::from_millis(200);

#[derive(Debug, thiserror::Error)]
enum SweepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Rows(#[from] MatrixError),
}

/// Sweeps until shutdown.
pub(crate) async fn run(media: Media, shutdown: Shutdown) {
    let mut pause = FIRST;
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            () = sleep(pause) => {}
        }
        pause = PAUSE;
        let swept = tokio::select! {
            () = shutdown.requested() => return,
            swept = sweep(&media, AGE, ASIDE) => swept,
        };
        if let Err(error) = swept {
            tracing::warn!(error = plexus_s2s::chain(&error), "the sweep of media broke off");
        }
    }
}

async fn sweep(media: &Media, age: Duration, aside: Duration) -> Result<(), SweepError> {
    let store = &media.store;
    let cleaned = store.clean(age).await?;
    metrics::swept("unfinished", cleaned);
    for part in 0..=u8::MAX {
        for hash in media.rows.unnamed(&store.list(part, age).await?).await? {
            store.set_aside(hash).await?;
            metrics::swept("set aside", 1);
        }
        sleep(BREATH).await;
    }
    let hashes = store.list_aside(aside).await?;
    let unnamed: HashSet<Hash> = media.rows.unnamed(&hashes).await?.into_iter().collect();
    for hash in hashes {
        if unnamed.contains(&hash) {
            store.destroy(hash).await?;
            metrics::swept("destroyed", 1);
        } else {
            store.put_back(hash).await?;
            metrics::swept("put back", 1);
        }
    }
    Ok(())
}
