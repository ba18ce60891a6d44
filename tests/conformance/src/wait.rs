//! Patience with what servers tell a little later than they answer: directories, copies of state on other workers.

use std::time::Duration;

use serde_json::Value;

/// Asks again until the answer is as wanted; 10 s at most.
pub(crate) async fn eventually<F: Future<Output = Value>>(
    what: &str,
    ask: impl Fn() -> F,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    let mut last = Value::Null;
    for _ in 0..100 {
        last = ask().await;
        if wanted(&last) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{what} did not come true: {last}");
}
