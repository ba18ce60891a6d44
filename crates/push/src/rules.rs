//! The rules of a user.

use std::sync::{Arc, LazyLock, OnceLock};

use ruma::{UserId, push::Ruleset, user_id};
use serde::{Deserialize, Serialize};

use crate::compiled::Compiled;

/// A user's push rules: the predefined ones, what the user changed of them, and the user's own.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Always with all predefined rules of this version, in their order.
    set: Ruleset,
    /// How the rules are applied, compiled when they first are.
    compiled: OnceLock<Compiled>,
}

/// Content of the account data `m.push_rules`.
#[derive(Deserialize)]
struct Stored {
    #[serde(default)]
    global: Ruleset,
}

/// A ruleset with all its kinds, also those without a rule: clients look for them.
#[derive(Serialize)]
struct Whole<'a, O: Serialize, C: Serialize, R: Serialize, S: Serialize> {
    #[serde(rename = "override")]
    override_: &'a O,
    content: &'a C,
    room: &'a R,
    sender: &'a S,
    underride: &'a O,
}

#[derive(Serialize)]
struct Global<G: Serialize> {
    global: G,
}

static PREDEFINED: LazyLock<Arc<Rules>> = LazyLock::new(|| Arc::new(Rules::predefined(nobody())));

/// Stands in for the user where it does not matter who it is.
pub(crate) fn nobody() -> &'static UserId {
    user_id!("@nobody:invalid")
}

impl Rules {
    const fn of(set: Ruleset) -> Self {
        Self { set, compiled: OnceLock::new() }
    }

    /// The rules, to be changed.
    pub(crate) fn edit(&mut self) -> &mut Ruleset {
        self.compiled.take();
        &mut self.set
    }

    pub(crate) fn compiled(&self) -> &Compiled {
        self.compiled.get_or_init(|| Compiled::of(&self.set))
    }

    /// The rules of a user who changed nothing.
    #[must_use]
    pub fn predefined(user: &UserId) -> Self {
        Self::of(Ruleset::server_default(user))
    }

    /// The rules of all users who changed nothing, for [`crate::Facts::apply`], which knows itself whom an event
    /// mentions.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        Arc::clone(&PREDEFINED)
    }

    /// Reads the content of the account data `m.push_rules` of a user. Predefined rules of another version are brought
    /// up to this one; what the user changed of them stays.
    pub fn parse(content: &[u8], user: &UserId) -> Result<Self, serde_json::Error> {
        let Stored { global: mut set } = serde_json::from_slice(content)?;
        set.update_with_server_default(Ruleset::server_default(user));
        Ok(Self::of(set))
    }

    /// The rules.
    #[must_use]
    pub fn ruleset(&self) -> &Ruleset {
        &self.set
    }

    /// The ruleset as JSON, with all its kinds.
    pub fn global(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::to_value(self.whole())
    }

    /// The content of `m.push_rules`.
    pub fn content(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Global { global: self.whole() })
    }

    fn whole(&self) -> impl Serialize + '_ {
        Whole {
            override_: &self.set.override_,
            content: &self.set.content,
            room: &self.set.room,
            sender: &self.set.sender,
            underride: &self.set.underride,
        }
    }
}
