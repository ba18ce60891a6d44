//! The sync token: a position in every partition of both output logs, and of the ephemeral one.

use std::{cmp::Ordering, fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ruma::{DeviceId, UserId};
use sha2::{Digest as _, Sha256};

use super::{TokenError, varint};

/// Number of partitions, as an array length.
pub const PARTITION_COUNT: usize = plexus_log::PARTITIONS as usize;

/// What `s2_` tokens begin with.
const OLD_GENERATION: u64 = 1;

/// A token longer than this was not made here: 3 × (2 + 64 × 2) numbers and three more, of at most ten bytes where they
/// are positions and of one where they are indexes, in base64.
const MAX_LEN: usize = 4096;

/// What a client has seen: the last `seq` of every partition of `OutputRoomEvent` and `OutputUserEvent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SyncToken {
    /// Generation of the database whose positions they are: a restore from a backup gives positions out again. `None`,
    /// in an `s2_` token, for the present one.
    pub generation: Option<u64>,
    /// The `seq` in the user's own partition up to which to-device messages were delivered to the device.
    pub inbox: u64,
    /// Which device that is: see `device_mark`. 0 if nothing was delivered.
    pub inbox_device: u32,
    /// By partition: `seq` in `OutputRoomEvent`.
    pub rooms: [u64; PARTITION_COUNT],
    /// By partition: `seq` in `OutputUserEvent`.
    pub users: [u64; PARTITION_COUNT],
    /// By partition: the offset after the last record of `Ephemeral`.
    pub live: [u64; PARTITION_COUNT],
    /// When the answer was made, in milliseconds since the Unix epoch: some of what is ephemeral ends by itself.
    pub at: u64,
}

impl Default for SyncToken {
    fn default() -> Self {
        let nothing = [0; PARTITION_COUNT];
        Self {
            generation: None,
            inbox: 0,
            inbox_device: 0,
            rooms: nothing,
            users: nothing,
            live: nothing,
            at: 0,
        }
    }
}

impl SyncToken {
    /// The later of both, part by part, in the generation of this one.
    #[must_use]
    pub fn max(mut self, other: &Self) -> Self {
        if other.inbox > self.inbox {
            self.inbox_device = other.inbox_device;
        }
        for (mine, theirs) in self.parts_mut().zip(other.parts()) {
            *mine = (*mine).max(theirs);
        }
        self
    }

    /// Whether every part is at least as late as the other's.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.parts().zip(other.parts()).all(|(mine, theirs)| mine >= theirs)
    }

    /// Up to where messages were delivered to a device: nothing, if the token is another device's.
    #[must_use]
    pub fn delivered_to(&self, user: &UserId, device: &DeviceId) -> u64 {
        if self.inbox > 0 && self.inbox_device == device_mark(user, device) { self.inbox } else { 0 }
    }

    /// Notes up to where messages were delivered to a device.
    pub fn set_delivered(&mut self, user: &UserId, device: &DeviceId, inbox: u64) {
        self.inbox = inbox;
        self.inbox_device = if inbox > 0 { device_mark(user, device) } else { 0 };
    }

    /// Whether it tells anything of what is ephemeral; else that is left out of its text.
    fn has_live(&self) -> bool {
        self.at > 0 || self.live.iter().any(|offset| *offset > 0)
    }

    fn parts(&self) -> impl Iterator<Item = u64> {
        self.rooms.iter().chain(&self.users).chain(&self.live).chain([&self.at, &self.inbox]).copied()
    }

    fn parts_mut(&mut self) -> impl Iterator<Item = &mut u64> {
        let single = [&mut self.at, &mut self.inbox];
        self.rooms.iter_mut().chain(&mut self.users).chain(&mut self.live).chain(single)
    }
}

/// Part by part: two tokens of which neither covers the other have no order.
impl PartialOrd for SyncToken {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self.covers(other), other.covers(self)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            (false, false) => None,
        }
    }
}

/// `s3_` and the base64 (URL alphabet, no padding) of: generation; position in the inbox; unless that is 0, the mark of
/// the device; then for rooms, then for users: the smallest
/// position, how many partitions are beyond it, and for each of those the distance from the index before and the
/// distance from the smallest position; then the same for what is ephemeral, and the time, unless all of that is 0.
/// A token without a generation is `s2_`, with 1 in the place of generation and inbox.
impl fmt::Display for SyncToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(64);
        let prefix = match self.generation {
            Some(generation) => {
                varint::put(&mut bytes, generation);
                varint::put(&mut bytes, self.inbox);
                if self.inbox > 0 {
                    varint::put(&mut bytes, self.inbox_device.into());
                }
                "s3_"
            }
            None => {
                varint::put(&mut bytes, OLD_GENERATION);
                "s2_"
            }
        };
        put_vector(&mut bytes, &self.rooms);
        put_vector(&mut bytes, &self.users);
        if self.has_live() {
            put_vector(&mut bytes, &self.live);
            varint::put(&mut bytes, self.at);
        }
        write!(formatter, "{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for SyncToken {
    type Err = TokenError;

    fn from_str(token: &str) -> Result<Self, Self::Err> {
        let (encoded, has_generation) = match (token.strip_prefix("s3_"), token.strip_prefix("s2_")) {
            (Some(encoded), _) => (encoded, true),
            (None, Some(encoded)) => (encoded, false),
            (None, None) => return Err(TokenError),
        };
        if encoded.len() > MAX_LEN {
            return Err(TokenError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError)?;
        let mut rest = bytes.as_slice();
        let generation = varint::take(&mut rest)?;
        let inbox = if has_generation { varint::take(&mut rest)? } else { 0 };
        let mark = if inbox > 0 { varint::take(&mut rest)? } else { 0 };
        let inbox_device = u32::try_from(mark).map_err(|_| TokenError)?;
        if !has_generation && generation != OLD_GENERATION {
            return Err(TokenError);
        }
        let generation = has_generation.then_some(generation);
        let rooms = take_vector(&mut rest)?;
        let users = take_vector(&mut rest)?;
        let mut token = Self { generation, inbox, inbox_device, rooms, users, ..Self::default() };
        if !rest.is_empty() {
            token.live = take_vector(&mut rest)?;
            token.at = varint::take(&mut rest)?;
            if !rest.is_empty() || !token.has_live() {
                return Err(TokenError);
            }
        }
        Ok(token)
    }
}

/// What stands for a device in a token: enough to tell the devices of a user apart.
fn device_mark(user: &UserId, device: &DeviceId) -> u32 {
    let mut hash = Sha256::new();
    hash.update(user.as_str());
    hash.update([0]);
    hash.update(device.as_str());
    hash.finalize().first_chunk().copied().map_or(0, u32::from_be_bytes)
}

fn put_vector(out: &mut Vec<u8>, vector: &[u64; PARTITION_COUNT]) {
    let base = vector.iter().copied().min().unwrap_or(0);
    let beyond = || vector.iter().copied().zip(0u64..).filter(move |(position, _)| *position > base);
    varint::put(out, base);
    varint::put(out, beyond().zip(1u64..).last().map_or(0, |(_, count)| count));
    let mut next = 0;
    for (position, index) in beyond() {
        varint::put(out, index - next);
        varint::put(out, position - base);
        next = index + 1;
    }
}

fn take_vector(bytes: &mut &[u8]) -> Result<[u64; PARTITION_COUNT], TokenError> {
    let base = varint::take(bytes)?;
    let count = varint::take(bytes)?;
    let mut vector = [base; PARTITION_COUNT];
    // At least one partition is at the base, else it was not the smallest.
    if count >= PARTITION_COUNT as u64 {
        return Err(TokenError);
    }
    let mut next: u64 = 0;
    for _ in 0..count {
        let index = next.checked_add(varint::take(bytes)?).ok_or(TokenError)?;
        let distance = varint::take(bytes)?;
        if distance == 0 {
            return Err(TokenError);
        }
        let slot = usize::try_from(index).ok().and_then(|index| vector.get_mut(index)).ok_or(TokenError)?;
        *slot = base.checked_add(distance).ok_or(TokenError)?;
        next = index + 1;
    }
    Ok(vector)
}
