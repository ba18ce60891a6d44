//! `device_one_time_keys_count` and `device_unused_fallback_key_types`: what the client's device has left.

use super::{
    context::{Context, Problem},
    response::Response,
};

/// The algorithm that clients look for: of which none is left is told, too, or they never upload more.
const USUAL: &str = "signed_curve25519";

/// Tells what the device has left. It is news if it changed since the client's token.
pub(super) async fn tell(context: &Context<'_>, response: &mut Response) -> Result<(), Problem> {
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
    response.has_new_key_counts = since.is_some_and(|since| seq > *since);
    response.device_one_time_keys_count =
        counts.one_time_keys.into_iter().map(|(algorithm, count)| (algorithm, u64::from(count))).collect();
    response.device_one_time_keys_count.entry(USUAL.to_owned()).or_default();
    response.device_unused_fallback_key_types = counts.unused_fallback_keys;
    Ok(())
}
