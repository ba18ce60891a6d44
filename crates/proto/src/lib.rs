//! The contracts of `proto/`: generated messages, gRPC clients and servers.
//!
//! It knows no transport: clients are generic over the channel, so that the same client calls a service over the
//! network or in its own process.
#![expect(
    clippy::doc_markdown,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::derive_partial_eq_without_eq,
    reason = "generated code"
)]

/// Types that all contracts share.
pub mod common {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("plexus.common.v1");
    }
}

/// Records of the event logs.
pub mod log {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("plexus.log.v1");
    }
}

/// Verdicts on inputs.
pub mod input {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("plexus.input.v1");
    }
}

/// Cursors of readers of the output logs.
pub mod reader {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("plexus.reader.v1");
    }
}

/// Reading rooms.
pub mod room {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("plexus.room.v1");
    }
}

/// Requests to other servers.
pub mod federation {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("plexus.federation.v1");
    }
}

/// Reading users.
pub mod user {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("plexus.user.v1");
    }
}

/// Reading media.
pub mod media {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("plexus.media.v1");
    }
}

/// What operators ask.
pub mod operator {
    /// Version 1.
    pub mod v1 {
        tonic::include_proto!("plexus.operator.v1");
    }
}

/// Descriptors of all contracts, for gRPC reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// Full names of the services that a room server serves to other services.
pub const ROOM_SERVER_SERVICES: &[&str] = &[
    input::v1::input_service_server::SERVICE_NAME,
    media::v1::media_query_service_server::SERVICE_NAME,
    reader::v1::reader_cursor_service_server::SERVICE_NAME,
    room::v1::destination_service_server::SERVICE_NAME,
    room::v1::key_store_service_server::SERVICE_NAME,
    room::v1::block_service_server::SERVICE_NAME,
    room::v1::membership_saga_service_server::SERVICE_NAME,
    room::v1::room_directory_service_server::SERVICE_NAME,
    room::v1::room_graph_service_server::SERVICE_NAME,
    room::v1::room_history_service_server::SERVICE_NAME,
    room::v1::room_query_service_server::SERVICE_NAME,
    room::v1::room_stream_service_server::SERVICE_NAME,
    room::v1::room_summary_service_server::SERVICE_NAME,
    user::v1::backup_service_server::SERVICE_NAME,
    user::v1::credential_service_server::SERVICE_NAME,
    user::v1::inbox_service_server::SERVICE_NAME,
    user::v1::key_query_service_server::SERVICE_NAME,
    user::v1::session_service_server::SERVICE_NAME,
    user::v1::user_query_service_server::SERVICE_NAME,
    user::v1::user_stream_service_server::SERVICE_NAME,
];

/// Full names of the services that the federation service serves to other services.
pub const FEDERATION_SERVICES: &[&str] = &[
    federation::v1::open_id_service_server::SERVICE_NAME,
    federation::v1::outbound_service_server::SERVICE_NAME,
    federation::v1::outbound_query_service_server::SERVICE_NAME,
];

/// Full names of the services that the media service serves to other services.
pub const MEDIA_SERVICES: &[&str] = &[media::v1::media_file_service_server::SERVICE_NAME];

/// Full names of the services that a room server serves to operators.
pub const OPERATOR_SERVICES: &[&str] = &[
    operator::v1::database_service_server::SERVICE_NAME,
    operator::v1::destination_admin_service_server::SERVICE_NAME,
    operator::v1::federation_admin_service_server::SERVICE_NAME,
    operator::v1::explain_service_server::SERVICE_NAME,
    operator::v1::inspection_service_server::SERVICE_NAME,
    operator::v1::media_admin_service_server::SERVICE_NAME,
    operator::v1::partition_service_server::SERVICE_NAME,
    operator::v1::room_admin_service_server::SERVICE_NAME,
    operator::v1::user_admin_service_server::SERVICE_NAME,
];
