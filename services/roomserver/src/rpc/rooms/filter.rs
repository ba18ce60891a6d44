//! Filters events of a timeline.

use std::collections::HashSet;

use diesel_async::AsyncPgConnection;
use plexus_patterns::Globs;
use plexus_proto::room::v1::TimelineFilter;
use serde::Deserialize;
use tonic::Status;

use crate::{
    rpc::check,
    store::{
        StoreError,
        reads::{relations::choose_related, timeline::ScanRow},
    },
};

/// Most entries of each list of a filter.
const LIMIT: usize = 1000;
/// Most users that somebody ignores.
const IGNORED: usize = 10_000;

/// A filter that was checked.
#[derive(Debug, Default)]
pub(super) struct Filter {
    types: Option<Globs>,
    not_types: Globs,
    senders: Option<Vec<String>>,
    not_senders: Vec<String>,
    contains_url: Option<bool>,
    related_by_rel_types: Vec<String>,
    related_by_senders: Vec<String>,
    ignored: HashSet<String>,
}

impl Filter {
    /// A filter that leaves out what ignored users say.
    pub(super) fn ignoring(users: Vec<String>) -> Result<Self, Status> {
        check::at_most("ignored_users", users.len(), IGNORED)?;
        Ok(Self { ignored: users.into_iter().collect(), ..Self::default() })
    }

    /// Checks a filter; none wants everything.
    pub(super) fn new(filter: Option<TimelineFilter>) -> Result<Self, Status> {
        let Some(filter) = filter else { return Ok(Self::default()) };
        let TimelineFilter {
            types,
            has_types,
            not_types,
            senders,
            has_senders,
            not_senders,
            contains_url,
            related_by_rel_types,
            related_by_senders,
            ignored_users,
        } = filter;
        for list in [&types, &not_types, &senders, &not_senders, &related_by_rel_types, &related_by_senders] {
            check::at_most("filter", list.len(), LIMIT)?;
        }
        for list in [&types, &not_types] {
            let wildcards = list.iter().filter(|pattern| pattern.contains('*')).count();
            check::at_most("filter", wildcards, Globs::MAX_WILDCARDS)?;
        }
        for name in related_by_rel_types.iter().chain(&related_by_senders) {
            check::storable("related_by_rel_types or related_by_senders", name)?;
        }
        let ignored = Self::ignoring(ignored_users)?.ignored;
        Ok(Self {
            types: has_types.then(|| Globs::of_filter(&types)),
            not_types: Globs::of_filter(&not_types),
            senders: has_senders.then_some(senders),
            not_senders,
            contains_url,
            related_by_rel_types,
            related_by_senders,
            ignored,
        })
    }

    /// Whether most events of an ordinary room pass it.
    pub(super) fn is_wide(&self) -> bool {
        self.types.is_none()
            && self.senders.is_none()
            && self.contains_url.is_none()
            && !self.asks_for_relations()
    }

    /// Whether an event is wanted, as far as that can be told without its content.
    pub(super) fn wants(&self, event_type: &str, is_state: bool, sender: &str) -> bool {
        self.types.as_ref().is_none_or(|types| types.matches(event_type))
            && !self.not_types.matches(event_type)
            && self.senders.as_ref().is_none_or(|senders| senders.iter().any(|wanted| wanted == sender))
            && !self.not_senders.iter().any(|unwanted| unwanted == sender)
            && (is_state || !self.ignored.contains(sender))
    }

    fn asks_for_relations(&self) -> bool {
        !self.related_by_rel_types.is_empty() || !self.related_by_senders.is_empty()
    }

    /// Leaves out the events that no other relates to as it is wanted.
    pub(super) async fn retain_related(
        &self,
        conn: &AsyncPgConnection,
        rows: &mut Vec<ScanRow>,
    ) -> Result<(), StoreError> {
        if rows.is_empty() || !self.asks_for_relations() {
            return Ok(());
        }
        let nids = rows.iter().map(|row| row.event_nid).collect::<Vec<_>>();
        let chosen =
            choose_related(conn, &nids, &self.related_by_rel_types, &self.related_by_senders).await?;
        let chosen = chosen.into_iter().map(|(nid,)| nid).collect::<HashSet<_>>();
        rows.retain(|row| chosen.contains(&row.event_nid));
        Ok(())
    }

    /// Whether the content of an event is wanted.
    pub(super) fn wants_content(&self, json: &[u8]) -> bool {
        #[derive(Deserialize)]
        struct Event<'a> {
            #[serde(borrow)]
            content: Content<'a>,
        }
        #[derive(Deserialize)]
        struct Content<'a> {
            #[serde(borrow)]
            url: Option<&'a serde_json::value::RawValue>,
        }
        let Some(wanted) = self.contains_url else { return true };
        let event = serde_json::from_slice::<Event<'_>>(json);
        wanted == event.is_ok_and(|event| event.content.url.is_some_and(|url| url.get().starts_with('"')))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_apply_when_present_also_if_empty() {
        let filter = |filter| Filter::new(Some(filter)).expect("valid");
        assert!(Filter::default().wants("m.x", false, "@a:b"));
        let nothing = filter(TimelineFilter { has_types: true, ..TimelineFilter::default() });
        assert!(!nothing.wants("m.x", false, "@a:b"));
        let not = filter(TimelineFilter {
            types: vec!["m.*".to_owned()],
            has_types: true,
            not_types: vec!["m.x".to_owned()],
            not_senders: vec!["@c:d".to_owned()],
            ..TimelineFilter::default()
        });
        assert!(not.wants("m.y", false, "@a:b"));
        assert!(!not.wants("m.x", false, "@a:b"));
        assert!(!not.wants("m.y", false, "@c:d"));
    }

    #[test]
    fn ignored_users_are_heard_only_in_state() {
        let filter = Filter::ignoring(vec!["@a:b".to_owned()]).expect("valid");
        assert!(!filter.wants("m.x", false, "@a:b"));
        assert!(filter.wants("m.x", true, "@a:b") && filter.wants("m.x", false, "@c:d"));
    }

    #[test]
    fn url_counts_only_as_a_string() {
        let filter = |wanted| Filter { contains_url: Some(wanted), ..Filter::default() };
        let with = br#"{"content":{"url":"mxc://a/b"}}"#;
        let without = br#"{"content":{"url":7}}"#;
        assert!(filter(true).wants_content(with) && !filter(false).wants_content(with));
        assert!(!filter(true).wants_content(without) && filter(false).wants_content(without));
        assert!(!filter(true).wants_content(b"nonsense"));
    }
}
