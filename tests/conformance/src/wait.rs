//! Patience with what servers tell a little later than they answer: directories, copies of state on other workers.

use std::{fmt::Display, time::Duration};

/// Asks again until the answer is as wanted; 10 s at most.
pub(crate) async fn eventually<T: Display, F: Future<Output = T>>(
    what: &str,
    ask: impl Fn() -> F,
    wanted: impl Fn(&T) -> bool,
) -> T {
    let mut last = ask().await;
    for _ in 0..100 {
        if wanted(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        last = ask().await;
    }
    panic!("{what} did not come true: {last}");
}
