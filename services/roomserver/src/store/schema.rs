// @generated automatically by Diesel CLI.

diesel::table! {
    access_tokens (token_hash) {
        token_hash -> Bytea,
        user_id -> Text,
        device_id -> Text,
        expires_ts -> Int8,
        refresh_token_hash -> Nullable<Bytea>,
    }
}

diesel::table! {
    account_data (user_id, room_id, type_) {
        user_id -> Text,
        room_id -> Text,
        #[sql_name = "type"]
        type_ -> Text,
        content -> Bytea,
        seq -> Int8,
        position -> Nullable<Int8>,
    }
}

diesel::table! {
    accounts (user_id) {
        user_id -> Text,
        password_hash -> Nullable<Text>,
        guest -> Bool,
        admin -> Bool,
        deactivated -> Bool,
        created_ts -> Int8,
        erased_ts -> Nullable<Int8>,
        profile_version -> Int8,
    }
}

diesel::table! {
    aliases (alias) {
        alias -> Text,
        room_id -> Text,
        creator -> Text,
        created_ts -> Int8,
    }
}

diesel::table! {
    backfills (name) {
        name -> Text,
        position -> Text,
    }
}

diesel::table! {
    backward_refs (event_id, referrer_nid) {
        room_nid -> Int8,
        event_id -> Text,
        referrer_nid -> Int8,
    }
}

diesel::table! {
    bulk_lanes (partition) {
        partition -> Int2,
        epoch -> Int8,
        bulk_offset -> Int8,
        bulk_input_id -> Nullable<Bytea>,
        next_nid -> Int8,
    }
}

diesel::table! {
    cross_signing_keys (user_id, usage) {
        user_id -> Text,
        usage -> Text,
        public_key -> Text,
        key -> Bytea,
    }
}

diesel::table! {
    db_generation (is_here) {
        is_here -> Bool,
        generation -> Int8,
        raised_ts -> Int8,
    }
}

diesel::table! {
    dead_letters (id) {
        id -> Int8,
        topic -> Text,
        partition -> Int2,
        log_offset -> Int8,
        error -> Text,
        payload -> Bytea,
        created_ts -> Int8,
        key -> Text,
    }
}

diesel::table! {
    decisions (event_id) {
        event_id -> Text,
        room_nid -> Int8,
        event_nid -> Nullable<Int8>,
        stage -> Text,
        rule -> Text,
        decided_ts -> Int8,
    }
}

diesel::table! {
    deferred_inputs (id) {
        id -> Int8,
        partition -> Int2,
        room_id -> Text,
        log -> Int2,
        log_offset -> Int8,
        input_id -> Bytea,
        payload -> Bytea,
        deferred_ts -> Int8,
    }
}

diesel::table! {
    destination_rooms (server, room_id) {
        server -> Text,
        room_id -> Text,
        after_seq -> Int8,
    }
}

diesel::table! {
    destinations (server) {
        server -> Text,
        shard -> Int2,
        failures -> Int4,
        first_failure_ts -> Int8,
        retry_ts -> Int8,
        error -> Text,
        last_success_ts -> Int8,
        ordered -> Int2,
    }
}

diesel::table! {
    device_keys (user_id, device_id) {
        user_id -> Text,
        device_id -> Text,
        keys -> Bytea,
        seq -> Int8,
    }
}

diesel::table! {
    device_list_changes (user_id, device_id) {
        user_id -> Text,
        device_id -> Text,
        stream_id -> Int8,
    }
}

diesel::table! {
    devices (user_id, device_id) {
        user_id -> Text,
        device_id -> Text,
        display_name -> Nullable<Text>,
        created_ts -> Int8,
        last_seen_ts -> Int8,
        last_seen_ip -> Text,
    }
}

diesel::table! {
    event_json (event_nid) {
        event_nid -> Int8,
        json -> Bytea,
    }
}

diesel::table! {
    event_relations (event_nid) {
        event_nid -> Int8,
        room_nid -> Int8,
        event_id -> Text,
        relates_to_id -> Text,
        rel_type -> Text,
        #[sql_name = "type"]
        type_ -> Text,
        sender -> Text,
        origin_server_ts -> Int8,
        seq -> Int8,
        replaces -> Bool,
        annotation_key -> Nullable<Bytea>,
    }
}

diesel::table! {
    events (event_nid) {
        event_nid -> Int8,
        room_nid -> Int8,
        event_id -> Text,
        #[sql_name = "type"]
        type_ -> Text,
        state_key -> Nullable<Text>,
        sender -> Text,
        depth -> Int8,
        origin_server_ts -> Int8,
        received_ts -> Int8,
        flags -> Int4,
        visibility -> Int2,
        auth_generation -> Int4,
        auth_nids -> Array<Int8>,
        prev_nids -> Array<Int8>,
        members_root -> Int8,
        other_root -> Int8,
        replaces_nid -> Nullable<Int8>,
        seq -> Nullable<Int8>,
        txn_device_id -> Nullable<Text>,
        txn_id -> Nullable<Text>,
        value -> Nullable<Text>,
    }
}

diesel::table! {
    fallback_keys (user_id, device_id, algorithm) {
        user_id -> Text,
        device_id -> Text,
        algorithm -> Text,
        key_id -> Text,
        key -> Bytea,
        used -> Bool,
        generation -> Int8,
    }
}

diesel::table! {
    federation_blocks (kind, name) {
        kind -> Int2,
        name -> Text,
        reason -> Text,
        created_ts -> Int8,
    }
}

diesel::table! {
    filters (user_id, filter_id) {
        user_id -> Text,
        filter_id -> Text,
        filter -> Bytea,
    }
}

diesel::table! {
    key_backup_keys (user_id, version, room_id, session_id) {
        user_id -> Text,
        version -> Int8,
        room_id -> Text,
        session_id -> Text,
        first_message_index -> Int8,
        forwarded_count -> Int8,
        is_verified -> Bool,
        session_data -> Bytea,
        etag -> Int8,
    }
}

diesel::table! {
    key_backup_versions (user_id, version) {
        user_id -> Text,
        version -> Int8,
        algorithm -> Text,
        auth_data -> Bytea,
        etag -> Int8,
        count -> Int8,
        cleared_etag -> Int8,
        deleted -> Bool,
        has_garbage -> Bool,
    }
}

diesel::table! {
    key_changes (user_id) {
        user_id -> Text,
        partition -> Int2,
        seq -> Int8,
    }
}

diesel::table! {
    key_signatures (target_user_id, target_key, signer_user_id, signer_key_id) {
        target_user_id -> Text,
        target_key -> Text,
        signer_user_id -> Text,
        signer_key_id -> Text,
        signature -> Text,
        seq -> Int8,
    }
}

diesel::table! {
    media (server_name, media_id) {
        server_name -> Text,
        media_id -> Text,
        user_id -> Text,
        no -> Int8,
        remote -> Bool,
        sha256 -> Nullable<Bytea>,
        size -> Int8,
        content_type -> Text,
        file_name -> Text,
        created_ts -> Int8,
        ready_ts -> Int8,
        expires_ts -> Int8,
        accessed_ts -> Int8,
        quarantined_ts -> Int8,
        quarantined_by -> Text,
        quarantine_reason -> Text,
        thumbnail_bytes -> Int8,
    }
}

diesel::table! {
    media_thumbnails (server_name, media_id, width, height, method, animated) {
        server_name -> Text,
        media_id -> Text,
        width -> Int8,
        height -> Int8,
        method -> Int2,
        animated -> Bool,
        content_type -> Text,
        size -> Int8,
        sha256 -> Bytea,
    }
}

diesel::table! {
    media_users (user_id) {
        user_id -> Text,
        last_no -> Int8,
        cleared_no -> Int8,
        files -> Int8,
        bytes -> Int8,
        day_ts -> Int8,
        day_bytes -> Int8,
        has_garbage -> Bool,
    }
}

diesel::table! {
    member_jobs (user_id, kind) {
        user_id -> Text,
        kind -> Int2,
        partition -> Int2,
        version -> Int8,
        created_ts -> Int8,
    }
}

diesel::table! {
    membership_sagas (room_id, user_id) {
        room_id -> Text,
        user_id -> Text,
        kind -> Int2,
        room_version -> Text,
        servers -> Array<Text>,
        event -> Bytea,
        attempts -> Int4,
        created_ts -> Int8,
        error -> Text,
        holder -> Bytea,
        lease_until -> Timestamptz,
        due -> Timestamptz,
    }
}

diesel::table! {
    one_time_keys (user_id, device_id, algorithm, key_id) {
        user_id -> Text,
        device_id -> Text,
        algorithm -> Text,
        key_id -> Text,
        key -> Bytea,
        generation -> Int8,
        seq -> Int8,
        index -> Int4,
    }
}

diesel::table! {
    out_of_band_memberships (user_id, room_id) {
        user_id -> Text,
        room_id -> Text,
        membership -> Text,
        event -> Bytea,
        event_id -> Text,
        sender -> Text,
        origin -> Text,
        room_version -> Text,
        stripped_state -> Bytea,
        seq -> Int8,
    }
}

diesel::table! {
    outgoing_device_lists (server, user_id) {
        server -> Text,
        user_id -> Text,
        stream_id -> Int8,
        sent_stream_id -> Int8,
        keys_seq -> Int8,
        sent_keys_seq -> Int8,
    }
}

diesel::table! {
    outgoing_to_device (server, number) {
        server -> Text,
        number -> Int8,
        content -> Bytea,
        created_ts -> Int8,
    }
}

diesel::table! {
    output_floors (log, partition) {
        log -> Text,
        partition -> Int2,
        seq -> Int8,
    }
}

diesel::table! {
    output_log (partition, seq) {
        partition -> Int2,
        seq -> Int8,
        event_nid -> Nullable<Int8>,
        body -> Bytea,
        written_ts -> Int8,
    }
}

diesel::table! {
    parked (parked_nid) {
        parked_nid -> Int8,
        room_nid -> Int8,
        partition -> Int2,
        event_id -> Text,
        produced_ts -> Int8,
        attempts -> Int4,
        record -> Bytea,
        not_before_ts -> Int8,
        origin -> Text,
    }
}

diesel::table! {
    parked_on (parked_nid, missing_event_id) {
        parked_nid -> Int8,
        missing_event_id -> Text,
        is_prev -> Bool,
    }
}

diesel::table! {
    partition_state (partition) {
        partition -> Int2,
        epoch -> Int8,
        owner -> Text,
        room_offset -> Int8,
        room_input_id -> Nullable<Bytea>,
        user_offset -> Int8,
        user_input_id -> Nullable<Bytea>,
        next_room_seq -> Int8,
        next_user_seq -> Int8,
        next_nid -> Int8,
        room_published_seq -> Int8,
        user_published_seq -> Int8,
        published_rooms -> Int8,
    }
}

diesel::table! {
    profiles (user_id, field) {
        user_id -> Text,
        field -> Text,
        value -> Bytea,
    }
}

diesel::table! {
    purged_rooms (room_nid) {
        room_nid -> Int8,
        room_id -> Text,
        partition -> Int2,
        purged_ts -> Int8,
    }
}

diesel::table! {
    reader_cursors (log, partition, reader) {
        reader -> Text,
        log -> Text,
        partition -> Int2,
        seq -> Int8,
        updated_ts -> Int8,
    }
}

diesel::table! {
    receipts (room_nid, user_id, receipt_type, thread_id) {
        room_nid -> Int8,
        user_id -> Text,
        receipt_type -> Text,
        thread_id -> Text,
        event_id -> Text,
        event_seq -> Int8,
        ts -> Int8,
        seq -> Int8,
    }
}

diesel::table! {
    redactions (redacts_id, redaction_nid) {
        redacts_id -> Text,
        redaction_nid -> Int8,
        room_nid -> Int8,
        applied -> Bool,
    }
}

diesel::table! {
    refresh_tokens (token_hash) {
        token_hash -> Bytea,
        user_id -> Text,
        device_id -> Text,
        next_token_hash -> Nullable<Bytea>,
    }
}

diesel::table! {
    room_facts (room_nid, snapshot, type_, state_key) {
        room_nid -> Int8,
        #[sql_name = "type"]
        type_ -> Text,
        state_key -> Text,
        event_nid -> Int8,
        snapshot -> Bytea,
    }
}

diesel::table! {
    room_members (room_nid, snapshot, user_id) {
        room_nid -> Int8,
        user_id -> Text,
        membership -> Text,
        event_nid -> Int8,
        seq -> Int8,
        forgotten -> Bool,
        since_seq -> Int8,
        snapshot -> Bytea,
        profile_version -> Int8,
        first_seq -> Int8,
    }
}

diesel::table! {
    room_servers (room_nid, snapshot, server) {
        room_nid -> Int8,
        snapshot -> Bytea,
        server -> Text,
        joined -> Int4,
    }
}

diesel::table! {
    room_states (room_nid, seq) {
        room_nid -> Int8,
        seq -> Int8,
        members_root -> Int8,
        other_root -> Int8,
    }
}

diesel::table! {
    reports (reporter, room_id, event_id, user_id) {
        reporter -> Text,
        room_id -> Text,
        event_id -> Text,
        user_id -> Text,
        reason -> Text,
        created_ts -> Int8,
    }
}

diesel::table! {
    room_upgrades (new_room_id) {
        new_room_id -> Text,
        old_room_id -> Text,
        partition -> Int2,
        record -> Bytea,
        created_ts -> Int8,
    }
}

diesel::table! {
    rooms (room_nid) {
        room_nid -> Int8,
        room_id -> Text,
        partition -> Int2,
        version -> Text,
        create_nid -> Int8,
        latest_nids -> Array<Int8>,
        members_root -> Int8,
        other_root -> Int8,
        depth -> Int8,
        last_seq -> Int8,
        joined_members -> Int4,
        invited_members -> Int4,
        published -> Bool,
        parked -> Int4,
        forked -> Bool,
        has_gaps -> Bool,
        oldest_position -> Int8,
        snapshot -> Bytea,
        state_bytes -> Int8,
    }
}

diesel::table! {
    sender_shards (shard) {
        shard -> Int2,
        sender -> Bytea,
        serial -> Int8,
        positions -> Array<Int8>,
    }
}

diesel::table! {
    server_key_responses (server_name) {
        server_name -> Text,
        response -> Bytea,
        valid_until_ts -> Int8,
        fetched_ts -> Int8,
    }
}

diesel::table! {
    server_keys (server_name, key_id) {
        server_name -> Text,
        key_id -> Text,
        public_key -> Bytea,
        valid_until_ts -> Int8,
        expired_ts -> Nullable<Int8>,
        fetched_ts -> Int8,
        direct -> Bool,
    }
}

diesel::table! {
    snapshot_chunks (room_nid, token, chunk) {
        room_nid -> Int8,
        token -> Bytea,
        chunk -> Int4,
        entries -> Bytea,
        created_ts -> Int8,
    }
}

diesel::table! {
    state_node (room_nid, node_nid) {
        room_nid -> Int8,
        node_nid -> Int8,
        body -> Bytea,
    }
}

diesel::table! {
    state_resets (id) {
        id -> Int8,
        room_nid -> Int8,
        event_nid -> Int8,
        lost_nid -> Int8,
        now_nid -> Nullable<Int8>,
        latest_nids -> Array<Int8>,
        detected_ts -> Int8,
    }
}

diesel::table! {
    threads (room_nid, root_id) {
        room_nid -> Int8,
        root_id -> Text,
        replies -> Int8,
        latest_nid -> Int8,
        latest_seq -> Int8,
    }
}

diesel::table! {
    to_device (user_id, device_id, seq) {
        user_id -> Text,
        device_id -> Text,
        seq -> Int8,
        sender -> Text,
        #[sql_name = "type"]
        type_ -> Text,
        content -> Bytea,
        request_key -> Nullable<Bytea>,
        created_ts -> Int8,
    }
}

diesel::table! {
    user_directory (user_id) {
        user_id -> Text,
        display_name -> Nullable<Text>,
        avatar_url -> Nullable<Text>,
        words -> Text,
    }
}

diesel::table! {
    user_directory_words (word, user_id) {
        word -> Text,
        user_id -> Text,
    }
}

diesel::table! {
    user_output_log (partition, seq) {
        partition -> Int2,
        seq -> Int8,
        body -> Bytea,
        written_ts -> Int8,
    }
}

diesel::table! {
    verdicts (key) {
        key -> Bytea,
        partition -> Int2,
        verdict -> Bytea,
        created_ts -> Int8,
    }
}

diesel::joinable!(parked_on -> parked (parked_nid));

diesel::allow_tables_to_appear_in_same_query!(
    access_tokens,
    account_data,
    accounts,
    aliases,
    backfills,
    backward_refs,
    bulk_lanes,
    cross_signing_keys,
    db_generation,
    dead_letters,
    decisions,
    deferred_inputs,
    destination_rooms,
    destinations,
    device_keys,
    device_list_changes,
    devices,
    event_json,
    event_relations,
    events,
    fallback_keys,
    federation_blocks,
    filters,
    key_backup_keys,
    key_backup_versions,
    key_changes,
    key_signatures,
    media,
    media_thumbnails,
    media_users,
    member_jobs,
    membership_sagas,
    one_time_keys,
    out_of_band_memberships,
    outgoing_device_lists,
    outgoing_to_device,
    output_floors,
    output_log,
    parked,
    parked_on,
    partition_state,
    profiles,
    purged_rooms,
    reader_cursors,
    receipts,
    redactions,
    refresh_tokens,
    reports,
    room_facts,
    room_members,
    room_servers,
    room_states,
    room_upgrades,
    rooms,
    sender_shards,
    server_key_responses,
    server_keys,
    snapshot_chunks,
    state_node,
    threads,
    state_resets,
    to_device,
    user_directory,
    user_directory_words,
    user_output_log,
    verdicts
);
