//! Reads of users: account data, inboxes, keys, filters.

use plexus_proto::{log::v1::KeyCounts, user::v1 as user};
use ruma::{DeviceId, UserId};

use super::{Upstream, UpstreamError, call};

impl Upstream {
    pub(crate) async fn account_data(
        &self,
        user_id: &UserId,
    ) -> Result<user::GetUserSnapshotResponse, UpstreamError> {
        let mut client = self.user_stream.clone();
        let request = user::GetUserSnapshotRequest { user_id: user_id.to_string() };
        call("UserStream.GetUserSnapshot", client.get_user_snapshot(request)).await
    }

    /// Lists messages to a device after a position.
    pub(crate) async fn inbox(
        &self,
        user_id: &UserId,
        device_id: &DeviceId,
        after_seq: u64,
        limit: u32,
    ) -> Result<user::ListInboxResponse, UpstreamError> {
        let mut client = self.inbox.clone();
        let request = user::ListInboxRequest {
            user_id: user_id.to_string(),
            device_id: device_id.to_string(),
            after_seq,
            limit,
        };
        call("Inbox.ListInbox", client.list_inbox(request)).await
    }

    pub(crate) async fn device_list_changes(
        &self,
        request: user::ListDeviceListChangesRequest,
    ) -> Result<user::ListDeviceListChangesResponse, UpstreamError> {
        let mut client = self.keys.clone();
        call("KeyQuery.ListDeviceListChanges", client.list_device_list_changes(request)).await
    }

    pub(crate) async fn key_counts(
        &self,
        user_id: &UserId,
        device_id: &str,
    ) -> Result<KeyCounts, UpstreamError> {
        let mut client = self.keys.clone();
        let request =
            user::GetKeyCountsRequest { user_id: user_id.to_string(), device_id: device_id.to_owned() };
        let mut devices = call("KeyQuery.GetKeyCounts", client.get_key_counts(request)).await?.devices;
        Ok(devices.remove(device_id).unwrap_or_default())
    }

    pub(crate) async fn filter(&self, user_id: &UserId, filter_id: &str) -> Result<Vec<u8>, UpstreamError> {
        let mut client = self.users.clone();
        let request =
            user::GetFilterRequest { user_id: user_id.to_string(), filter_id: filter_id.to_owned() };
        Ok(call("UserQuery.GetFilter", client.get_filter(request)).await?.filter.into())
    }
}
