//! Devices of a user.

pub(crate) mod delete_device;
pub(crate) mod delete_devices;
pub(crate) mod get_device;
pub(crate) mod get_devices;
pub(crate) mod update_device;

use plexus_matrix_http::MatrixError;
use plexus_proto::user::v1::{Device, ListDevicesRequest};
use ruma::{MilliSecondsSinceUnixEpoch, UInt, UserId, api::client::device};

use crate::App;

/// Lists devices of a user: these, or all if none are named.
pub(crate) async fn list(
    app: &App,
    user: &UserId,
    device_ids: Vec<String>,
) -> Result<Vec<device::Device>, MatrixError> {
    let request = ListDevicesRequest { user_id: user.to_string(), device_ids };
    let devices = app.users.clone().list_devices(request).await?.into_inner().devices;
    Ok(devices.into_iter().map(show).collect())
}

fn show(stored: Device) -> device::Device {
    let mut shown = device::Device::new(stored.device_id.into());
    shown.display_name = stored.display_name;
    shown.last_seen_ip = Some(stored.last_seen_ip).filter(|ip| !ip.is_empty());
    shown.last_seen_ts =
        UInt::try_from(stored.last_seen_ts).ok().filter(|ts| *ts > UInt::MIN).map(MilliSecondsSinceUnixEpoch);
    shown
}

fn unknown_device() -> MatrixError {
    MatrixError::not_found("There is no such device")
}
