//! Policies of routes: body limits, rate limits and cost classes, said where the route is, so that the routes are one table of it.

/// What is checked of a request before its body is read and its handler begins.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    pub(crate) access: Access,
    pub(crate) charge: Charge,
    /// Most bytes of a body; `None` for what is configured.
    pub(crate) max_body: Option<usize>,
    pub(crate) expensive: bool,
}

/// Whose requests are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Anybody,
    User,
    /// Anybody; a token that comes must be right.
    UserIfAny,
    /// Anybody; a token that is not right is as good as none.
    UserIfValid,
}

/// Which bucket a request is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charge {
    /// None, or one that the handler chooses.
    Nothing,
    User(UserLimit),
    /// Logins, by address.
    Login,
    /// Reads: so many, by user, or by address where there is none.
    Read(u32),
}

/// A limit on what a user changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserLimit {
    /// Events sent.
    Message,
    /// Joins and knocks.
    Join,
    /// Rooms created.
    RoomCreation,
    /// Messages to devices.
    ToDevice,
    /// Everything else.
    Other,
}

/// Most bytes of a body where nobody is anybody yet.
const SMALL_BODY: usize = 16 * 1024;

impl Policy {
    const fn new(access: Access, charge: Charge) -> Self {
        Self { access, charge, max_body: None, expensive: false }
    }

    /// A change by a user.
    #[must_use]
    pub const fn change(limit: UserLimit) -> Self {
        Self::new(Access::User, Charge::User(limit))
    }

    /// A change by a user, whose handler counts it.
    #[must_use]
    pub const fn counted_by_handler() -> Self {
        Self::new(Access::User, Charge::Nothing)
    }

    /// A read by a user that costs so much of the limit of reads.
    #[must_use]
    pub const fn read(cost: u32) -> Self {
        Self::new(Access::User, Charge::Read(cost))
    }

    /// A read that is expensive enough for a user to have few of them at a time.
    #[must_use]
    pub const fn expensive_read(cost: u32) -> Self {
        Self { expensive: true, ..Self::read(cost) }
    }

    /// With few of them at a time for a user.
    #[must_use]
    pub const fn expensive(self) -> Self {
        Self { expensive: true, ..self }
    }

    /// What anybody may read. It is counted for a user if a token comes that is right.
    #[must_use]
    pub const fn open(cost: u32) -> Self {
        Self { max_body: Some(SMALL_BODY), ..Self::new(Access::UserIfValid, Charge::Read(cost)) }
    }

    /// What anybody may do to become somebody, counted as a login.
    #[must_use]
    pub const fn login() -> Self {
        Self { max_body: Some(SMALL_BODY), ..Self::new(Access::Anybody, Charge::Login) }
    }

    /// What anybody may do who knows a secret of the server's, counted by the handler.
    #[must_use]
    pub const fn secret() -> Self {
        Self { max_body: Some(SMALL_BODY), ..Self::new(Access::Anybody, Charge::Nothing) }
    }

    /// Anybody may do it, and users as users.
    #[must_use]
    pub const fn or_anybody(self) -> Self {
        Self { access: Access::UserIfAny, ..self }
    }

    /// With bodies of at most so many bytes, more or fewer than is configured.
    #[must_use]
    pub const fn body(self, max: usize) -> Self {
        Self { max_body: Some(max), ..self }
    }
}
