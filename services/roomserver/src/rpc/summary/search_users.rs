//! `RoomSummaryService.SearchUsers`

use std::collections::BTreeMap;

use diesel_async::AsyncPgConnection;
use plexus_proto::room::v1::{FoundUser, SearchUsersRequest, SearchUsersResponse};
use tonic::Status;

use super::{facts::content_of, user};
use crate::{
    rpc::check::{self, failed, invalid},
    store::{
        StoreError,
        reads::directory::{self, CandidateRow},
    },
    users::{Term, words_of},
};

/// Most users found.
const USERS: usize = 100;
/// Longest text that is searched for.
const MAX_TERM_BYTES: usize = 1024;
/// How many candidates are looked at in each round. The first is enough for nearly all who search.
const ROUNDS: [usize; 3] = [64, 256, 1024];
/// How many of those who share a room with the viewer are looked at if the rounds were not enough, and for users of other
/// servers.
const NEIGHBORS: i64 = 10_000;
/// How many users of other servers are looked at.
const REMOTE: i64 = 1_000;

pub(super) async fn answer(
    conn: &AsyncPgConnection,
    server_name: &str,
    request: SearchUsersRequest,
) -> Result<SearchUsersResponse, Status> {
    let SearchUsersRequest { viewer, search_term, limit } = request;
    user("viewer", &viewer)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if !(1..=USERS).contains(&limit) {
        return Err(invalid("limit", format!("must be between 1 and {USERS}")));
    }
    if search_term.len() > MAX_TERM_BYTES {
        return Err(invalid("search_term", format!("longer than {MAX_TERM_BYTES} bytes")));
    }
    check::storable("search_term", &search_term)?;
    let Some(term) = Term::read(&search_term) else { return Ok(SearchUsersResponse::default()) };
    let mut search = Search { conn, viewer: &viewer, term, wanted: limit + 1, found: BTreeMap::new() };
    let cut_off = search.run(server_name).await.map_err(|error| failed(&error))?;
    let mut users: Vec<FoundUser> = search.found.into_values().collect();
    // Those who are called so come first, then those who are called something.
    let term = search.term;
    users.sort_by_cached_key(|user| {
        let localpart = user.user_id.split(':').next().unwrap_or_default().to_lowercase();
        let exact =
            user.display_name.to_lowercase() == term.whole || localpart.trim_start_matches('@') == term.whole;
        (!exact, user.display_name.is_empty(), user.user_id.clone())
    });
    let limited = cut_off || users.len() > limit;
    users.truncate(limit);
    Ok(SearchUsersResponse { users, limited })
}

struct Search<'a> {
    conn: &'a AsyncPgConnection,
    viewer: &'a str,
    term: Term,
    wanted: usize,
    found: BTreeMap<String, FoundUser>,
}

impl Search<'_> {
    /// Searches; tells whether there may be users who were not looked at.
    async fn run(&mut self, server_name: &str) -> Result<bool, StoreError> {
        let (whole, words) = (self.term.whole.clone(), self.term.words.clone());
        let mut cut_off = self.scan(&whole, &[]).await?;
        if let Some((longest, others)) = words.split_first()
            && *longest != whole
        {
            cut_off |= self.scan(longest, others).await?;
        }
        if cut_off && !self.is_done() && !words.is_empty() {
            let count = i64::try_from(self.wanted).unwrap_or(i64::MAX);
            let rows = directory::list_neighbors(self.conn, self.viewer, &words, &NEIGHBORS, &count).await?;
            for row in rows {
                self.add(row.user_id, row.display_name, row.avatar_url);
            }
        }
        if !self.is_done() {
            self.find_remote(server_name).await?;
        }
        Ok(cut_off)
    }

    /// Looks at users by a word that begins so; tells whether there are more of them than were looked at.
    async fn scan(&mut self, beginning: &str, others: &[String]) -> Result<bool, StoreError> {
        let to = format!("{beginning}\u{10ffff}");
        let mut after = (beginning.to_owned(), String::new());
        for round in ROUNDS {
            if self.is_done() {
                return Ok(true);
            }
            let count = i64::try_from(round).unwrap_or(i64::MAX);
            let rows =
                directory::list_candidates(self.conn, self.viewer, others, &after.0, &after.1, &to, &count)
                    .await?;
            let is_last = rows.len() < round;
            if let Some(CandidateRow { word, user_id, .. }) = rows.last() {
                after = (word.clone(), user_id.clone());
            }
            for row in rows.into_iter().filter(|row| row.found) {
                self.add(row.user_id, row.display_name, row.avatar_url);
            }
            if is_last {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Looks at users of other servers, by what they are called in rooms that the viewer shares with them.
    async fn find_remote(&mut self, server_name: &str) -> Result<(), StoreError> {
        for (user_id, json) in
            directory::list_remote(self.conn, self.viewer, server_name, &NEIGHBORS, &REMOTE).await?
        {
            let content = content_of(&json);
            let text =
                |key: &str| content.get(key).and_then(serde_json::Value::as_str).map(ToOwned::to_owned);
            let name = text("displayname");
            let words = words_of(&user_id, name.as_deref());
            let whole = words.beginnings.iter().any(|word| word.starts_with(&self.term.whole));
            let has = |word: &String| words.beginnings.iter().any(|known| known.starts_with(word.as_str()));
            if whole || !self.term.words.is_empty() && self.term.words.iter().all(has) {
                self.add(user_id, name, text("avatar_url"));
            }
        }
        Ok(())
    }

    fn add(&mut self, user_id: String, display_name: Option<String>, avatar_url: Option<String>) {
        let found = FoundUser {
            user_id: user_id.clone(),
            display_name: display_name.unwrap_or_default(),
            avatar_url: avatar_url.unwrap_or_default(),
        };
        self.found.entry(user_id).or_insert(found);
    }

    fn is_done(&self) -> bool {
        self.found.len() >= self.wanted
    }
}
