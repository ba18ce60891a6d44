//! Outboxes of other servers: messages to their devices, and changes of our devices and keys.

use std::marker::PhantomData;

use bytes::Bytes;
use diesel::sql_types::{Array, Binary, Int8, Text};
use indexmap::IndexMap;

use super::Pipeline;
use crate::store::statement::statement;

/// What a batch leaves for other servers.
#[derive(Default)]
pub(super) struct Outgoing {
    to_device: Vec<(String, Bytes, i64)>,
    devices: IndexMap<(String, String), i64>,
    /// By user: the last change of a device, and of cross-signing keys; 0 for none.
    users: IndexMap<String, (i64, i64)>,
}

impl Outgoing {
    /// Adds messages to devices.
    pub(super) fn add(&mut self, server: String, content: Bytes, created_ts: i64) {
        self.to_device.push((server, content, created_ts));
    }

    /// Notes a change of a device.
    pub(super) fn change_device(&mut self, user_id: &str, device_id: String, number: i64) {
        self.devices.insert((user_id.to_owned(), device_id), number);
        let user = self.users.entry(user_id.to_owned()).or_default();
        user.0 = user.0.max(number);
    }

    /// Notes a change of cross-signing keys.
    pub(super) fn change_keys(&mut self, user_id: &str, seq: i64) {
        let user = self.users.entry(user_id.to_owned()).or_default();
        user.1 = user.1.max(seq);
    }

    /// Writes it.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        if !self.to_device.is_empty() {
            let statement = InsertToDevice {
                server: self.to_device.iter().map(|row| row.0.as_str()).collect(),
                content: self.to_device.iter().map(|row| row.1.as_ref()).collect(),
                created_ts: self.to_device.iter().map(|row| row.2).collect(),
                lifetime: PhantomData,
            };
            pipeline.add(InsertToDevice::NAME, statement);
        }
        if !self.devices.is_empty() {
            let statement = UpsertDeviceChanges {
                user_id: self.devices.keys().map(|key| key.0.as_str()).collect(),
                device_id: self.devices.keys().map(|key| key.1.as_str()).collect(),
                number: self.devices.values().copied().collect(),
                lifetime: PhantomData,
            };
            pipeline.add(UpsertDeviceChanges::NAME, statement);
            let user_id = self.users.keys().map(String::as_str).collect();
            pipeline.add(TrimDeviceChanges::NAME, TrimDeviceChanges { user_id, lifetime: PhantomData });
        }
        if !self.users.is_empty() {
            let statement = MarkServers {
                user_id: self.users.keys().map(String::as_str).collect(),
                number: self.users.values().map(|row| row.0).collect(),
                keys_seq: self.users.values().map(|row| row.1).collect(),
                lifetime: PhantomData,
            };
            pipeline.add(MarkServers::NAME, statement);
        }
    }
}

/// Marks users of this server for servers that they are in a room with from now on, because either has joined it. The servers
/// of the room were counted already.
pub(super) fn mark_joined<'a>(pipeline: &mut Pipeline<'_>, joined: impl Iterator<Item = (i64, &'a str)>) {
    let (room_nid, user_id): (Vec<i64>, Vec<&str>) = joined.unzip();
    if room_nid.is_empty() {
        return;
    }
    let statement =
        MarkJoined { room_nid: room_nid.clone(), user_id: user_id.clone(), lifetime: PhantomData };
    pipeline.add(MarkJoined::NAME, statement);
    pipeline.add(MarkMet::NAME, MarkMet { room_nid, user_id, lifetime: PhantomData });
}

statement! {
    /// Marks users who have joined rooms for the servers in these.
    MarkJoined {
        room_nid: Array<Int8> => Vec<i64>,
        user_id: Array<Text> => Vec<&'a str>,
    }
    "INSERT INTO outgoing_device_lists AS o (server, user_id, stream_id, sent_stream_id, keys_seq, sent_keys_seq) \
     SELECT DISTINCT s.server, v.user_id, d.stream_id, 0, 0, 0 FROM unnest(",
    ") AS v(room_nid, user_id) JOIN rooms r ON r.room_nid = v.room_nid \
     JOIN room_servers s ON s.room_nid = r.room_nid AND s.snapshot = r.snapshot AND s.joined > 0 \
     CROSS JOIN LATERAL (SELECT max(c.stream_id) AS stream_id FROM device_list_changes c \
     WHERE c.user_id = v.user_id) AS d \
     WHERE d.stream_id IS NOT NULL AND s.server <> substr(v.user_id, strpos(v.user_id, ':') + 1) ORDER BY 1, 2 \
     ON CONFLICT (server, user_id) DO UPDATE SET stream_id = excluded.stream_id \
     WHERE o.stream_id < excluded.stream_id"
}

statement! {
    /// Marks members of rooms for servers whose first users have joined them; of large rooms, only those whose devices
    /// change later.
    MarkMet {
        room_nid: Array<Int8> => Vec<i64>,
        user_id: Array<Text> => Vec<&'a str>,
    }
    "INSERT INTO outgoing_device_lists AS o (server, user_id, stream_id, sent_stream_id, keys_seq, sent_keys_seq) \
     SELECT DISTINCT s.server, m.user_id, d.stream_id, 0, 0, 0 FROM unnest(",
    ") AS v(room_nid, user_id) JOIN rooms r ON r.room_nid = v.room_nid AND r.joined_members <= 1000 \
     JOIN room_servers s ON s.room_nid = r.room_nid AND s.snapshot = r.snapshot AND s.joined = 1 \
     AND s.server = substr(v.user_id, strpos(v.user_id, ':') + 1) \
     JOIN room_members m ON m.room_nid = r.room_nid AND m.snapshot = r.snapshot AND m.membership = 'join' \
     CROSS JOIN LATERAL (SELECT max(c.stream_id) AS stream_id FROM device_list_changes c \
     WHERE c.user_id = m.user_id) AS d \
     WHERE d.stream_id IS NOT NULL AND s.server <> substr(m.user_id, strpos(m.user_id, ':') + 1) ORDER BY 1, 2 \
     ON CONFLICT (server, user_id) DO UPDATE SET stream_id = excluded.stream_id \
     WHERE o.stream_id < excluded.stream_id"
}

statement! {
    /// Adds messages to devices, in order.
    InsertToDevice {
        server: Array<Text> => Vec<&'a str>,
        content: Array<Binary> => Vec<&'a [u8]>,
        created_ts: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO outgoing_to_device (server, content, created_ts) \
     SELECT v.server, v.content, v.created_ts FROM unnest(",
    ") WITH ORDINALITY AS v(server, content, created_ts, place) ORDER BY v.place"
}

statement! {
    /// Notes changes of devices.
    UpsertDeviceChanges {
        user_id: Array<Text> => Vec<&'a str>,
        device_id: Array<Text> => Vec<&'a str>,
        number: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO device_list_changes (user_id, device_id, stream_id) \
     SELECT v.user_id, v.device_id, (g.generation << 40) + v.number FROM unnest(",
    ") AS v(user_id, device_id, number) CROSS JOIN db_generation g \
     ON CONFLICT (user_id, device_id) DO UPDATE SET stream_id = excluded.stream_id"
}

statement! {
    /// Forgets the oldest changes of devices: whoever lacks so many looks at the whole list.
    TrimDeviceChanges { user_id: Array<Text> => Vec<&'a str> }
    "DELETE FROM device_list_changes AS d USING (SELECT v.user_id, (SELECT c.stream_id FROM device_list_changes c \
     WHERE c.user_id = v.user_id ORDER BY c.stream_id DESC OFFSET 300 LIMIT 1) AS upto FROM unnest(",
    ") AS v(user_id)) AS t WHERE d.user_id = t.user_id AND d.stream_id <= t.upto"
}

statement! {
    /// Marks users for the servers that are in a room with them.
    MarkServers {
        user_id: Array<Text> => Vec<&'a str>,
        number: Array<Int8> => Vec<i64>,
        keys_seq: Array<Int8> => Vec<i64>,
    }
    "INSERT INTO outgoing_device_lists AS o (server, user_id, stream_id, sent_stream_id, keys_seq, sent_keys_seq) \
     SELECT DISTINCT s.server, v.user_id, \
     CASE WHEN v.number = 0 THEN 0 ELSE (g.generation << 40) + v.number END, 0, v.keys_seq, 0 FROM unnest(",
    ") AS v(user_id, number, keys_seq) CROSS JOIN db_generation g \
     JOIN current_members m ON m.user_id = v.user_id AND m.membership = 'join' \
     JOIN rooms r ON r.room_nid = m.room_nid \
     JOIN room_servers s ON s.room_nid = r.room_nid AND s.snapshot = r.snapshot AND s.joined > 0 \
     WHERE s.server <> substr(v.user_id, strpos(v.user_id, ':') + 1) ORDER BY 1, 2 \
     ON CONFLICT (server, user_id) DO UPDATE SET stream_id = greatest(o.stream_id, excluded.stream_id), \
     keys_seq = greatest(o.keys_seq, excluded.keys_seq)"
}
