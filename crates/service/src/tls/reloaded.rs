//! Reloads TLS settings when their files change.

use std::{
    fs,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;
use tracing::{info, warn};

use super::TlsError;

/// How often files are looked at, at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

type Make<T> = dyn Fn() -> Result<T, TlsError> + Send + Sync;

/// Something made of files. Whoever asks for it gets it as the files were within the last second.
pub(crate) struct Reloaded<T> {
    files: Vec<PathBuf>,
    make: Box<Make<T>>,
    state: Mutex<State<T>>,
}

struct State<T> {
    current: Arc<T>,
    /// Of what `current` is made, or what did not work.
    stamps: Vec<Stamp>,
    looked: Instant,
}

/// When a file was changed, and how long it is; `None` if it cannot be looked at.
type Stamp = Option<(SystemTime, u64)>;

impl<T> Reloaded<T> {
    /// Makes it for the first time.
    pub(super) fn new(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        // Looked at before they are read: what changes in between is seen later.
        let (stamps, looked) = (stamps(&files), Instant::now());
        let current = Arc::new(make()?);
        Ok(Self { files, make: Box::new(make), state: Mutex::new(State { current, stamps, looked }) })
    }

    /// The newest that works.
    pub(crate) fn current(&self) -> Arc<T> {
        let mut state = self.state.lock();
        if state.looked.elapsed() < LOOK_EVERY {
            return Arc::clone(&state.current);
        }
        state.looked = Instant::now();
        let stamps = stamps(&self.files);
        if stamps != state.stamps {
            state.stamps = stamps;
            let file = self.files.first().map(|file| file.display().to_string()).unwrap_or_default();
            match (self.make)() {
                Ok(made) => {
                    info!(file, "read certificates again");
                    state.current = Arc::new(made);
                }
                Err(error) => {
                    let source =
                        std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                    warn!(file, %error, source, "changed certificates do not work, the old ones stay in use");
                }
            }
        }
        Arc::clone(&state.current)
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let metadata = fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(stamp).collect()
}
