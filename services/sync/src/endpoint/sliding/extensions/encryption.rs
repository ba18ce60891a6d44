//! Extensions of sliding sync for encryption: messages to the device, whose keys changed, and what the device has left.
//!
//! What was delivered to the device is told by the `since` of `to_device` and by nothing else: it is a sync token that
//! tells the position in the inbox alone, so the tokens of `/sync` work in its place.

use plexus_matrix_http::{AuthedUser, MatrixError, token::SyncToken};

use super::super::{
    request::WantedInbox,
    response::{Encryption, ToDevice},
};
use crate::{
    SyncService,
    endpoint::{
        context::{Context, Problem},
        device_lists, inbox, key_counts,
        params::Since,
        response::DeviceLists,
    },
    view::User,
};

/// Which messages to the device are told.
#[derive(Debug, Clone, Copy)]
pub(in crate::endpoint::sliding) struct Inbox {
    /// Up to where they have arrived, by the client's token.
    pub(in crate::endpoint::sliding) after: u64,
    limit: u32,
    /// Generation that the token names.
    generation: Option<u64>,
}

impl Inbox {
    /// Reads what the client says has arrived. A token of another device, or of another generation of the database, says
    /// nothing.
    pub(in crate::endpoint::sliding) async fn read(
        service: &SyncService,
        user: &AuthedUser,
        wanted: &WantedInbox,
    ) -> Result<Self, MatrixError> {
        let limit = wanted.limit;
        let Some(since) = &wanted.since else { return Ok(Self { after: 0, limit, generation: None }) };
        let token: SyncToken = since.parse()?;
        let after = match Since::of(service, user, token).await {
            Since::Position(token) => token.delivered_to(&user.id, &user.device_id),
            Since::Nothing | Since::Elsewhere => 0,
        };
        Ok(Self { after, limit, generation: token.generation })
    }

    /// Tells messages that wait, and how far they reach.
    pub(in crate::endpoint::sliding) async fn tell(
        self,
        context: &Context<'_>,
        user: &User,
    ) -> Result<ToDevice, Problem> {
        let mut next =
            SyncToken { generation: context.cut.generation.or(self.generation), ..SyncToken::default() };
        // A token that names no generation could not tell what was delivered: the next one will.
        let page = match next.generation {
            Some(_) => inbox::read(context, user, self.after, self.limit).await?,
            None => None,
        };
        let (events, upto) = page.map_or((Vec::new(), self.after), |page| (page.events, page.upto));
        next.set_delivered(context.user_id(), &context.request.user.device_id, upto);
        Ok(ToDevice { next_batch: next.to_string(), events })
    }
}

/// Since when device lists are told.
#[derive(Debug, Clone, Copy)]
pub(in crate::endpoint::sliding) enum ListsSince<'a> {
    /// Not at all: a client that begins asks for whatever it needs.
    Never,
    /// Nothing can have changed.
    Now,
    Token(&'a SyncToken),
}

/// Tells whose keys changed, and what the device has left.
pub(in crate::endpoint::sliding) async fn encryption(
    context: &Context<'_>,
    since: ListsSince<'_>,
) -> Result<Encryption, Problem> {
    let device_lists = match since {
        ListsSince::Never => None,
        ListsSince::Now => Some(DeviceLists::default()),
        ListsSince::Token(since) => Some(device_lists::changes(context, since).await?),
    };
    let left = key_counts::read(context).await?;
    Ok(Encryption {
        device_lists,
        device_one_time_keys_count: left.one_time_keys,
        device_unused_fallback_key_types: left.unused_fallback_keys,
        has_new_key_counts: left.is_news,
    })
}
