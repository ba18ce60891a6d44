//! `device_one_time_keys_count` and `device_unused_fallback_key_types`: what the client's device has left.

use std::collections::BTreeMap;

use super::{
    context::{Context, Problem},
    response::Response,
};

/// The algorithm that clients look for: of which none is left is told, too, or they never upload more.
const USUAL: &str = "signed_curve25519";

/// What a device has left of its keys.
#[derive(Debug)]
pub(super) struct Left {
    /// By algorithm.
    pub(super) one_time_keys: BTreeMap<String, u64>,
    /// Algorithms.
    pub(super) unused_fallback_keys: Vec<String>,
    /// Whether it changed since the client's token.
    pub(super) is_news: bool,
}

/// Tells what the device has left.
pub(super) async fn tell(context: &Context<'_>, response: &mut Response) -> Result<(), Problem> {
    let left = read(context).await?;
    response.has_new_key_counts = left.is_news;
    response.device_one_time_keys_count = left.one_time_keys;
    response.device_unused_fallback_key_types = left.unused_fallback_keys;
    Ok(())
}

/// Reads what the device has left.
pub(super) async fn read(context: &Context<'_>) -> Result<Left, Problem> {
    let Some(user) = context.service.view.find_user(context.user_id()) else { return Err(Problem::Gone) };
    let device_id = context.request.user.device_id.to_string();
    let (seq, counts) = match user.key_counts(&device_id) {
        Some(known) => known,
        None => {
            let counts = context.service.upstream.key_counts(context.user_id(), &device_id).await?;
            user.note_key_counts(device_id, counts)
        }
    };
    let since = context.since.as_ref().and_then(|since| since.users.get(user.partition));
    let is_news = since.is_some_and(|since| seq > *since);
    let counted = counts.one_time_keys.into_iter();
    let mut one_time_keys: BTreeMap<String, u64> =
        counted.map(|(algorithm, count)| (algorithm, u64::from(count))).collect();
    one_time_keys.entry(USUAL.to_owned()).or_default();
    Ok(Left { one_time_keys, unused_fallback_keys: counts.unused_fallback_keys, is_news })
}
