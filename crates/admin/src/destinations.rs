//! `plexus-admin federation destinations` and what goes with it: servers that do not take what they are to be sent.

use anyhow::Context as _;
use plexus_proto::operator::v1::{
    DestinationStatus, ForgetDestinationRequest, GetDestinationRequest, ListDestinationsRequest,
    RetryDestinationRequest, destination_admin_service_client::DestinationAdminServiceClient,
};
use plexus_service::{RpcChannel, outln};

use crate::moment;

/// Destinations of one answer.
const PAGE: u32 = 1_000;

pub(crate) async fn list(operator: RpcChannel) -> anyhow::Result<()> {
    let mut client = DestinationAdminServiceClient::new(operator);
    let mut after_server = String::new();
    let mut count = 0;
    loop {
        let request = ListDestinationsRequest { after_server: after_server.clone(), limit: PAGE };
        let page = client.list_destinations(request).await.context("cannot list destinations")?;
        let page = page.into_inner().destinations;
        let Some(last) = page.last() else { break };
        after_server.clone_from(&last.server);
        for status in &page {
            print(status);
            count += 1;
        }
    }
    if count == 0 {
        outln!("every server takes what it is sent, as far as is known");
    }
    Ok(())
}

pub(crate) async fn show(operator: RpcChannel, server: String) -> anyhow::Result<()> {
    let mut client = DestinationAdminServiceClient::new(operator);
    let answer = client.get_destination(GetDestinationRequest { server }).await;
    let answer = answer.context("cannot describe the destination")?.into_inner();
    if let Some(status) = &answer.status {
        print(status);
    }
    for room in answer.rooms {
        outln!(
            "  {}  has everything up to {}, the room is at {}",
            room.room_id,
            room.after_seq,
            room.last_seq
        );
    }
    Ok(())
}

pub(crate) async fn retry(operator: RpcChannel, server: String) -> anyhow::Result<()> {
    let mut client = DestinationAdminServiceClient::new(operator);
    let request = RetryDestinationRequest { server };
    client.retry_destination(request).await.context("cannot have the destination tried")?;
    outln!("it is tried within seconds");
    Ok(())
}

pub(crate) async fn forget(operator: RpcChannel, server: String) -> anyhow::Result<()> {
    let mut client = DestinationAdminServiceClient::new(operator);
    let request = ForgetDestinationRequest { server };
    client.forget_destination(request).await.context("cannot have the destination forgotten")?;
    outln!("what it has not taken is given up");
    Ok(())
}

fn print(status: &DestinationStatus) {
    let rooms = format!("{} rooms behind", status.rooms);
    if status.failures == 0 {
        outln!("{}  takes what it is sent, {rooms}", status.server);
        return;
    }
    let last = match status.last_success_ts {
        0 => "never reached since it is known to fail".to_owned(),
        ts => format!("last reached {}", moment(ts)),
    };
    outln!(
        "{}  failing since {}, {} times, next try {}, {rooms}, {last}: {}",
        status.server,
        moment(status.first_failure_ts),
        status.failures,
        moment(status.retry_ts),
        status.error,
    );
}
