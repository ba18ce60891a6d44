//! Caches the owners of partitions, as far as refusals have told them.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use plexus_log::PARTITIONS;
use plexus_service::RpcChannel;

/// Opens a channel to a room server at an address.
pub(crate) type ConnectFn = dyn Fn(&str) -> Option<RpcChannel> + Send + Sync;

/// Channels to owners: one for each address, remembered for each partition.
#[derive(Clone)]
pub(crate) struct Owners {
    /// Any instance: asked when no owner is known.
    any: RpcChannel,
    connect: Arc<ConnectFn>,
    known: Arc<Mutex<Known>>,
}

#[derive(Default)]
struct Known {
    /// At most one entry for each partition.
    by_partition: HashMap<u32, RpcChannel>,
    /// Only addresses that `by_partition` uses.
    by_address: HashMap<String, RpcChannel>,
}

impl Owners {
    pub(crate) fn new(any: RpcChannel, connect: Arc<ConnectFn>) -> Self {
        Self { any, connect, known: Arc::default() }
    }

    /// Where to ask about a partition.
    pub(crate) fn channel(&self, partition: u32) -> RpcChannel {
        self.known.lock().by_partition.get(&partition).unwrap_or(&self.any).clone()
    }

    /// Whether the owner is only guessed to be whoever answers.
    pub(crate) fn is_known(&self, partition: u32) -> bool {
        self.known.lock().by_partition.contains_key(&partition)
    }

    /// Remembers who owns a partition. Returns whether there is somebody new to ask.
    pub(crate) fn learn(&self, partition: u32, address: &str) -> bool {
        if partition >= PARTITIONS {
            return false;
        }
        let address = url(address);
        let address = address.as_ref();
        let mut known = self.known.lock();
        let known = &mut *known;
        if known.by_partition.get(&partition).is_some_and(|channel| channel.address() == address) {
            return false;
        }
        let channel = match known.by_address.get(address) {
            Some(channel) => channel.clone(),
            None => match (self.connect)(address) {
                Some(channel) => channel,
                None => return false,
            },
        };
        known.by_partition.insert(partition, channel.clone());
        known.by_address.insert(address.to_owned(), channel);
        let used = &known.by_partition;
        known.by_address.retain(|_, channel| used.values().any(|used| used.address() == channel.address()));
        true
    }

    /// Forgets who owned a partition: any instance is asked next.
    pub(crate) fn forget(&self, partition: u32) {
        self.known.lock().by_partition.remove(&partition);
    }
}

/// Room servers advertise `host:port` or a URL.
fn url(address: &str) -> Cow<'_, str> {
    if address.contains("://") { Cow::Borrowed(address) } else { Cow::Owned(format!("http://{address}")) }
}
