//! The directory of users, kept with accounts and profiles: derived from what changes of them.

use std::marker::PhantomData;

use bytes::Bytes;
use diesel::sql_types::{Array, Nullable, Text};
use indexmap::IndexMap;

use super::Pipeline;
use crate::{
    rooms::storable,
    store::statement::statement,
    users::{Change, Words, words_of},
};

/// Entries that change, by user.
#[derive(Default)]
pub(super) struct Directory {
    changed: IndexMap<String, Entry>,
}

/// What changes of an entry.
#[derive(Debug, Default)]
struct Entry {
    gone: Option<bool>,
    display_name: Option<Option<String>>,
    avatar_url: Option<Option<String>>,
}

impl Entry {
    fn is_gone(&self) -> bool {
        self.gone == Some(true)
    }
}

impl Directory {
    /// Takes a change of a user.
    pub(super) fn note(&mut self, user_id: &str, change: &Change) {
        let noted = match change {
            Change::Account(account) => Entry { gone: Some(account.deactivated), ..Entry::default() },
            Change::Profile(field, value) if field == "displayname" => {
                Entry { display_name: Some(value.as_ref().and_then(text)), ..Entry::default() }
            }
            Change::Profile(field, value) if field == "avatar_url" => {
                Entry { avatar_url: Some(value.as_ref().and_then(text)), ..Entry::default() }
            }
            Change::Profile(..)
            | Change::Device(..)
            | Change::AccessToken(..)
            | Change::RefreshToken(..)
            | Change::AccountData(..)
            | Change::Filter(..)
            | Change::Report(_)
            | Change::OutOfBand(..)
            | Change::Media(..)
            | Change::ToDevice(_)
            | Change::TrimInbox(..)
            | Change::Outgoing { .. }
            | Change::BackupCreated(..)
            | Change::BackupUpdated(..)
            | Change::BackupContents(..)
            | Change::BackupKey { .. }
            | Change::BackupRoomCleared(..)
            | Change::BackupDeleted(_)
            | Change::BackupsDropped
            | Change::Key(_)
            | Change::MemberJob(..) => return,
        };
        let entry = self.changed.entry(user_id.to_owned()).or_default();
        entry.gone = noted.gone.or(entry.gone);
        entry.display_name = noted.display_name.or_else(|| entry.display_name.take());
        entry.avatar_url = noted.avatar_url.or_else(|| entry.avatar_url.take());
    }

    /// Writes them.
    pub(super) fn write(&self, pipeline: &mut Pipeline<'_>) {
        let gone: Vec<&str> = self.users(Entry::is_gone);
        if !gone.is_empty() {
            pipeline.add(RemoveWords::NAME, RemoveWords { user_id: gone.clone(), lifetime: PhantomData });
            pipeline.add(RemoveUsers::NAME, RemoveUsers { user_id: gone, lifetime: PhantomData });
        }
        let present: Vec<&str> = self.users(|entry| !entry.is_gone());
        if present.is_empty() {
            return;
        }
        let words: Vec<Words> = present.iter().map(|user_id| words_of(user_id, None)).collect();
        pipeline.add(
            AddUsers::NAME,
            AddUsers {
                user_id: present.clone(),
                words: words.iter().map(|words| words.text.as_str()).collect(),
                lifetime: PhantomData,
            },
        );
        let renamed: Vec<(&str, Option<&str>)> = self.set(|entry| entry.display_name.as_ref());
        if !renamed.is_empty() {
            let words: Vec<Words> = renamed.iter().map(|(user_id, name)| words_of(user_id, *name)).collect();
            let users = || renamed.iter().map(|(user_id, _)| *user_id);
            pipeline
                .add(RemoveWords::NAME, RemoveWords { user_id: users().collect(), lifetime: PhantomData });
            pipeline.add(
                SetNames::NAME,
                SetNames {
                    user_id: users().collect(),
                    display_name: renamed.iter().map(|(_, name)| *name).collect(),
                    words: words.iter().map(|words| words.text.as_str()).collect(),
                    lifetime: PhantomData,
                },
            );
            add_words(pipeline, users().zip(&words));
        }
        // Of those whose name stays there are these already, unless they are new.
        let renamed =
            |user_id: &str| self.changed.get(user_id).is_some_and(|entry| entry.display_name.is_some());
        add_words(pipeline, present.iter().copied().zip(&words).filter(|(user_id, _)| !renamed(user_id)));
        let avatars: Vec<(&str, Option<&str>)> = self.set(|entry| entry.avatar_url.as_ref());
        if !avatars.is_empty() {
            pipeline.add(
                SetAvatars::NAME,
                SetAvatars {
                    user_id: avatars.iter().map(|(user_id, _)| *user_id).collect(),
                    avatar_url: avatars.iter().map(|(_, url)| *url).collect(),
                    lifetime: PhantomData,
                },
            );
        }
    }

    fn users(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<&str> {
        self.changed.iter().filter(|(_, entry)| wanted(entry)).map(|(user_id, _)| user_id.as_str()).collect()
    }

    /// What is set of users who are not gone.
    fn set<'a>(
        &'a self,
        part: impl Fn(&'a Entry) -> Option<&'a Option<String>>,
    ) -> Vec<(&'a str, Option<&'a str>)> {
        let present = self.changed.iter().filter(|(_, entry)| !entry.is_gone());
        present.filter_map(|(user_id, entry)| Some((user_id.as_str(), part(entry)?.as_deref()))).collect()
    }
}

/// The text of a field of a profile.
fn text(value: &Bytes) -> Option<String> {
    serde_json::from_slice::<String>(value).ok().map(storable)
}

fn add_words<'w>(pipeline: &mut Pipeline<'_>, users: impl Iterator<Item = (&'w str, &'w Words)>) {
    let (words, users): (Vec<&str>, Vec<&str>) = users
        .flat_map(|(user_id, words)| words.beginnings.iter().map(move |word| (word.as_str(), user_id)))
        .unzip();
    if !words.is_empty() {
        pipeline.add(AddWords::NAME, AddWords { word: words, user_id: users, lifetime: PhantomData });
    }
}

statement! {
    /// Adds users by their IDs.
    AddUsers {
        user_id: Array<Text> => Vec<&'a str>,
        words: Array<Text> => Vec<&'a str>,
    }
    "INSERT INTO user_directory (user_id, words) SELECT * FROM unnest(", ") ON CONFLICT (user_id) DO NOTHING"
}

statement! {
    /// Sets display names.
    SetNames {
        user_id: Array<Text> => Vec<&'a str>,
        display_name: Array<Nullable<Text>> => Vec<Option<&'a str>>,
        words: Array<Text> => Vec<&'a str>,
    }
    "UPDATE user_directory AS d SET display_name = v.display_name, words = v.words FROM unnest(",
    ") AS v(user_id, display_name, words) WHERE d.user_id = v.user_id"
}

statement! {
    /// Sets avatars.
    SetAvatars {
        user_id: Array<Text> => Vec<&'a str>,
        avatar_url: Array<Nullable<Text>> => Vec<Option<&'a str>>,
    }
    "UPDATE user_directory AS d SET avatar_url = v.avatar_url FROM unnest(",
    ") AS v(user_id, avatar_url) WHERE d.user_id = v.user_id"
}

statement! {
    /// Removes users.
    RemoveUsers { user_id: Array<Text> => Vec<&'a str> }
    "DELETE FROM user_directory WHERE user_id = ANY(", ")"
}

statement! {
    /// Removes words of users.
    RemoveWords { user_id: Array<Text> => Vec<&'a str> }
    "DELETE FROM user_directory_words WHERE user_id = ANY(", ")"
}

statement! {
    /// Adds words of users.
    AddWords {
        word: Array<Text> => Vec<&'a str>,
        user_id: Array<Text> => Vec<&'a str>,
    }
    "INSERT INTO user_directory_words (word, user_id) SELECT * FROM unnest(", ") ON CONFLICT DO NOTHING"
}
