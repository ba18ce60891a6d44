//! Compiles the contracts in `proto/` with protox, so that no `protoc` is needed.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 27] = [
    "plexus/common/v1/common.proto",
    "plexus/log/v1/input_room.proto",
    "plexus/log/v1/output_room.proto",
    "plexus/log/v1/user.proto",
    "plexus/log/v1/keys.proto",
    "plexus/log/v1/media.proto",
    "plexus/log/v1/ephemeral.proto",
    "plexus/federation/v1/openid.proto",
    "plexus/federation/v1/outbound.proto",
    "plexus/federation/v1/query.proto",
    "plexus/input/v1/input.proto",
    "plexus/media/v1/file.proto",
    "plexus/media/v1/media.proto",
    "plexus/reader/v1/cursor.proto",
    "plexus/room/v1/block.proto",
    "plexus/room/v1/destination.proto",
    "plexus/room/v1/graph.proto",
    "plexus/room/v1/history.proto",
    "plexus/room/v1/key_store.proto",
    "plexus/room/v1/membership_saga.proto",
    "plexus/room/v1/query.proto",
    "plexus/room/v1/stream.proto",
    "plexus/room/v1/summary.proto",
    "plexus/user/v1/backup.proto",
    "plexus/user/v1/inbox.proto",
    "plexus/user/v1/user.proto",
    "plexus/user/v1/keys.proto",
];
const OPERATOR: [&str; 9] = [
    "plexus/operator/v1/database.proto",
    "plexus/operator/v1/destination.proto",
    "plexus/operator/v1/explain.proto",
    "plexus/operator/v1/federation.proto",
    "plexus/operator/v1/inspection.proto",
    "plexus/operator/v1/media_admin.proto",
    "plexus/operator/v1/operator.proto",
    "plexus/operator/v1/room_admin.proto",
    "plexus/operator/v1/user_admin.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let files = FILES.iter().copied().chain(OPERATOR);
    let descriptors = protox::compile(files, [&root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().bytes(".").build_transport(false).compile_fds(descriptors)?;
    Ok(())
}
