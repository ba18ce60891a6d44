//! `plexus-admin event` and `plexus-admin room state|timeline|members`: what rooms hold, as text.

use anyhow::Context as _;
use plexus_proto::operator::v1::{
    GetEventRequest, InspectedEvent, ListTimelineRequest, StreamMembersRequest, StreamStateRequest,
    inspection_service_client::InspectionServiceClient,
};
use plexus_service::{RpcChannel, grpc::MAX_MESSAGE_BYTES, outln};
use serde_json::Value;

use crate::moment;

/// Where in the history of a room.
#[derive(clap::Args)]
pub(crate) struct Point {
    /// Before this event, instead of now.
    #[arg(long, value_name = "EVENT_ID", conflicts_with = "after")]
    before: Option<String>,
    /// After this event, instead of now.
    #[arg(long, value_name = "EVENT_ID")]
    after: Option<String>,
}

impl Point {
    /// The event, and whether the state after it is meant.
    fn event(self) -> (String, bool) {
        let after = self.after.is_some();
        (self.after.or(self.before).unwrap_or_default(), after)
    }
}

#[derive(clap::Args)]
pub(crate) struct State {
    /// Room ID.
    room_id: String,
    /// Only this event type; may be repeated.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    #[command(flatten)]
    point: Point,
}

#[derive(clap::Args)]
pub(crate) struct Timeline {
    /// Room ID.
    room_id: String,
    /// Oldest events first.
    #[arg(long)]
    forward: bool,
    /// At most so many events.
    #[arg(long, default_value_t = 50)]
    limit: u32,
    /// Where to go on, as the page before said.
    #[arg(long, value_name = "POSITION", allow_hyphen_values = true)]
    from: Option<i64>,
}

#[derive(clap::Args)]
pub(crate) struct Members {
    /// Room ID.
    room_id: String,
    /// Only this membership, such as join; may be repeated.
    #[arg(long = "membership", value_name = "MEMBERSHIP")]
    memberships: Vec<String>,
    #[command(flatten)]
    point: Point,
}

fn client(channel: RpcChannel) -> InspectionServiceClient<RpcChannel> {
    InspectionServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// Prints an event.
pub(crate) async fn event(channel: RpcChannel, event_id: String) -> anyhow::Result<()> {
    let found =
        client(channel).get_event(GetEventRequest { event_id }).await.context("no event")?.into_inner();
    let event = found.event.context("the answer has no event")?;
    let standing = [
        (found.rejected, "rejected"),
        (found.soft_failed, "soft-failed"),
        (found.outlier, "an outlier"),
        (found.redacted, "redacted"),
    ];
    outln!("{} in {}, position {}", event.event_id, event.room_id, event.position);
    for (_, standing) in standing.into_iter().filter(|(holds, _)| *holds) {
        outln!("it is {standing}");
    }
    // What is no JSON is shown as it is.
    let pretty =
        serde_json::from_str::<Value>(&event.json).and_then(|json| serde_json::to_string_pretty(&json));
    outln!("{}", pretty.unwrap_or(event.json));
    Ok(())
}

/// Prints the state of a room, a line for each event.
pub(crate) async fn state(channel: RpcChannel, state: State) -> anyhow::Result<()> {
    let (event_id, after) = state.point.event();
    let request = StreamStateRequest { room_id: state.room_id, event_id, after, types: state.types };
    let mut chunks = client(channel).stream_state(request).await.context("no state")?.into_inner();
    while let Some(chunk) = chunks.message().await? {
        for event in chunk.events {
            let key = event.state_key.as_deref().unwrap_or_default();
            outln!("{} {key:?} by {} {}", event.r#type, event.sender, event.event_id);
            outln!("    {}", content(&event));
        }
    }
    Ok(())
}

/// Prints a page of a timeline.
pub(crate) async fn timeline(channel: RpcChannel, timeline: Timeline) -> anyhow::Result<()> {
    let Timeline { room_id, forward, limit, from } = timeline;
    let request = ListTimelineRequest { room_id, forward, from, limit };
    let page = client(channel).list_timeline(request).await.context("no timeline")?.into_inner();
    for event in page.events {
        let key = event.state_key.as_ref().map(|key| format!(" {key:?}")).unwrap_or_default();
        let at = moment(event.origin_server_ts);
        outln!("{:>8}  {at}  {}{key} by {} {}", event.position, event.r#type, event.sender, event.event_id);
        outln!("    {}", content(&event));
    }
    if let Some(next) = page.next {
        outln!("there is more: --from {next}");
    }
    Ok(())
}

/// Prints the members of a room.
pub(crate) async fn members(channel: RpcChannel, members: Members) -> anyhow::Result<()> {
    let (event_id, after) = members.point.event();
    let request =
        StreamMembersRequest { room_id: members.room_id, event_id, after, memberships: members.memberships };
    let mut chunks = client(channel).stream_members(request).await.context("no members")?.into_inner();
    while let Some(chunk) = chunks.message().await? {
        for member in chunk.members {
            let by = if member.sender == member.user_id {
                String::new()
            } else {
                format!(" by {}", member.sender)
            };
            let name = member.display_name;
            outln!(
                "{:<6} {}{by} {name:?} since {}",
                member.membership,
                member.user_id,
                moment(member.origin_server_ts)
            );
        }
    }
    Ok(())
}

/// The content of an event, on one line.
fn content(event: &InspectedEvent) -> String {
    let json: Value = serde_json::from_str(&event.json).unwrap_or_default();
    json["content"].to_string()
}
