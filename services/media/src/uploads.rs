//! Uploads of each user that are under way.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use plexus_matrix_http::MatrixError;
use ruma::{OwnedUserId, UserId};

/// Counts them. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Uploads {
    at_once: usize,
    counts: Arc<Mutex<HashMap<OwnedUserId, usize>>>,
}

/// An upload under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay {
    uploads: Uploads,
    user_id: OwnedUserId,
}

impl Uploads {
    pub(crate) fn new(at_once: usize) -> Self {
        Self { at_once, counts: Arc::default() }
    }

    /// Begins one, if the user has not too many.
    pub(crate) fn begin(&self, user_id: &UserId) -> Result<UnderWay, MatrixError> {
        let mut counts = self.counts.lock();
        let count = counts.entry(user_id.to_owned()).or_insert(0);
        if *count >= self.at_once {
            return Err(MatrixError::limit_exceeded(Duration::from_secs(1)));
        }
        *count += 1;
        drop(counts);
        Ok(UnderWay { uploads: self.clone(), user_id: user_id.to_owned() })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut counts = self.uploads.counts.lock();
        if let Some(count) = counts.get_mut(&self.user_id) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.user_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::user_id;

    use super::*;

    #[test]
    fn a_user_has_so_many_and_others_have_theirs() {
        let uploads = Uploads::new(2);
        let alice = user_id!("@alice:example.org");
        let held = (uploads.begin(alice).unwrap(), uploads.begin(alice).unwrap());
        assert!(uploads.begin(alice).unwrap_err().is("M_LIMIT_EXCEEDED"));
        drop(uploads.begin(user_id!("@bob:example.org")).unwrap());
        drop(held.0);
        drop(uploads.begin(alice).unwrap());
        drop(held.1);
        assert!(uploads.counts.lock().is_empty());
    }
}
