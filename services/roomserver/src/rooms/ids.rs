//! Numeric IDs, which never leave the room server.

/// Names a snapshot.
pub(crate) type Token = [u8; 16];

/// Bits of the counter below the partition.
#[cfg(test)]
const COUNTER_BITS: u32 = 51;

macro_rules! nid {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) struct $name(pub(crate) i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

nid!(
    /// Numeric ID of a room.
    RoomNid
);
nid!(
    /// Numeric ID of an event: within a partition, what came aside first, then all others, each in order of arrival.
    EventNid
);
nid!(
    /// Numeric ID of a node of a state trie; 0 in the database stands for the empty trie.
    NodeNid
);

nid!(
    /// Numeric ID of a parked event, in the order of the input log.
    ParkedNid
);

impl NodeNid {
    /// Reads a root column: 0 is the empty trie.
    pub(crate) fn from_column(value: i64) -> Option<Self> {
        (value != 0).then_some(Self(value))
    }
}

/// What a partition hands out next. `apply` advances a copy, which takes effect with the commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Next numeric ID: partition in the upper 12 bits, then a bit that is clear for what is processed aside, a counter in
    /// the lower 50.
    pub(crate) next_nid: i64,
    /// Next sequence number of `OutputRoomEvent`.
    pub(crate) next_seq: i64,
}

impl Counters {
    /// Counters of a partition that has handed out nothing yet.
    #[cfg(test)]
    pub(crate) fn first(partition: u32) -> Self {
        Self { next_nid: (i64::from(partition) << COUNTER_BITS) + 1, next_seq: 1 }
    }

    fn nid(&mut self) -> i64 {
        let nid = self.next_nid;
        self.next_nid += 1;
        nid
    }

    /// Takes a numeric ID for a room.
    pub(crate) fn room(&mut self) -> RoomNid {
        RoomNid(self.nid())
    }

    /// Takes a numeric ID for an event.
    pub(crate) fn event(&mut self) -> EventNid {
        EventNid(self.nid())
    }

    /// Takes a numeric ID for a parked event.
    pub(crate) fn parked(&mut self) -> ParkedNid {
        ParkedNid(self.nid())
    }

    /// Takes a numeric ID for a node of a trie.
    pub(crate) fn node(&mut self) -> NodeNid {
        NodeNid(self.nid())
    }

    /// Takes a sequence number of the output log.
    pub(crate) fn seq(&mut self) -> i64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }
}
