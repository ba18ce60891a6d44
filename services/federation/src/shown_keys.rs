//! Keys of our users as other servers are told them: with the signatures of their owners, which are stored apart.

use std::collections::HashMap;

use plexus_events::{Object, Value, canonical};
use plexus_proto::user::v1::{KeySignature, UserKeys};

/// Keys of a user.
pub(crate) struct ShownKeys {
    pub(crate) devices: Vec<ShownDevice>,
    pub(crate) master: Option<Object>,
    pub(crate) self_signing: Option<Object>,
}

/// Keys of a device.
pub(crate) struct ShownDevice {
    pub(crate) device_id: String,
    pub(crate) keys: Object,
    /// Its name, if it is told.
    pub(crate) name: Option<String>,
}

impl ShownKeys {
    /// Puts keys and signatures together.
    pub(crate) fn new(keys: UserKeys, tells_names: bool) -> Self {
        let UserKeys { devices, master_key, self_signing_key, signatures, .. } = keys;
        let mut by_key: HashMap<String, Vec<KeySignature>> = HashMap::new();
        for signature in signatures {
            by_key.entry(signature.key.clone()).or_default().push(signature);
        }
        let devices = devices
            .into_iter()
            .filter_map(|device| {
                let mut keys = stored(&device.keys)?;
                sign(&mut keys, by_key.get(&device.device_id));
                let name = device.display_name.filter(|_| tells_names);
                Some(ShownDevice { device_id: device.device_id, keys, name })
            })
            .collect();
        let cross_signing = |key: &[u8]| {
            if key.is_empty() {
                return None;
            }
            let mut object = stored(key)?;
            let public = object.get("keys").and_then(Value::as_object).and_then(|keys| keys.values().next());
            let signatures = public.and_then(Value::as_str).and_then(|public| by_key.get(public));
            sign(&mut object, signatures);
            Some(object)
        };
        Self { devices, master: cross_signing(&master_key), self_signing: cross_signing(&self_signing_key) }
    }
}

fn stored(key: &[u8]) -> Option<Object> {
    let parsed = canonical::parse_object(key);
    parsed.inspect_err(|error| tracing::error!(%error, "a stored key is no object")).ok()
}

fn sign(object: &mut Object, signatures: Option<&Vec<KeySignature>>) {
    for signature in signatures.into_iter().flatten() {
        let all = object.entry("signatures".to_owned()).or_insert_with(|| Value::Object(Object::new()));
        let Value::Object(all) = all else { continue };
        let by_user =
            all.entry(signature.signer_user_id.clone()).or_insert_with(|| Value::Object(Object::new()));
        if let Value::Object(by_user) = by_user {
            by_user.insert(signature.signer_key_id.clone(), Value::String(signature.signature.clone()));
        }
    }
}
