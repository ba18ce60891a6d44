//! Users and rooms to measure with.

use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::client::User;

/// Requests at a time: servers are only being prepared.
const AT_A_TIME: usize = 4;

/// A name that no earlier run on the same server has used.
fn run_name() -> String {
    format!("bench-{:08x}", rand::random::<u32>())
}

/// Registers users.
pub(crate) async fn users(url: &str, count: usize) -> anyhow::Result<Vec<User>> {
    let run = run_name();
    let names = (0..count).map(|index| format!("{run}-{index}"));
    stream::iter(names)
        .map(|name| async move { User::register(url, &name).await })
        .buffered(AT_A_TIME)
        .try_collect()
        .await
}

/// Makes a room of the first user that all others join.
pub(crate) async fn room(members: &[User]) -> anyhow::Result<String> {
    let (first, others) = members.split_first().expect("a room has members");
    let room = first.create_room().await?;
    for member in others {
        member.join(&room).await?;
    }
    Ok(room)
}
