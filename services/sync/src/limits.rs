//! Bounds of everything that can grow or last.

use std::time::Duration;

/// Longest a request may wait for news.
pub(crate) const MAX_POLL: Duration = Duration::from_secs(5 * 60);

/// Whoever was answered within this time did not wait.
pub(crate) const MOMENT: Duration = Duration::from_millis(500);

/// How long a request waits for the view to reach a point it must include: a token of another process, or a snapshot
/// that was taken ahead of the log.
pub(crate) const CATCH_UP: Duration = Duration::from_secs(10);

/// How long a call to the room server may take.
pub(crate) const CALL: Duration = Duration::from_secs(30);

/// How often the followers compare themselves with what the room server has committed.
pub(crate) const HEADS_INTERVAL: Duration = Duration::from_secs(3);

/// First and longest pause between attempts at something that failed.
pub(crate) const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// How long all records wait for what one of them lacks.
pub(crate) const COMPLETION: Duration = Duration::from_millis(250);
/// How long nothing is asked for after such an answer did not come.
pub(crate) const COMPLETION_PAUSE: Duration = Duration::from_secs(5);

/// Records taken from a log at once.
pub(crate) const BATCH: usize = 1024;

/// Events of a room's timeline that a snapshot brings.
pub(crate) const SNAPSHOT_TIMELINE: u32 = 50;

/// Events of a room's timeline that are kept.
pub(crate) const TIMELINE: usize = 200;

/// Bytes of them that are kept.
pub(crate) const TIMELINE_BYTES: usize = 2 * 1024 * 1024;

/// State changes of a room that are kept: they undo the current state back to an earlier point.
pub(crate) const CHANGES: usize = 1_000;
/// Bytes of the events in them that are kept.
pub(crate) const CHANGES_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of an event whose form for clients is kept beside it: larger ones are made anew for each reader.
pub(crate) const SHOWN_BYTES: usize = 4 * 1024;

/// Bytes that an event takes in memory beside its JSON, about.
pub(crate) const EVENT_WEIGHT: usize = 1_000;
/// Records after which a room is weighed anew.
pub(crate) const UNWEIGHED: u32 = 64;

/// Records that may arrive for a room or a user while it is being loaded; with more, loading starts again.
pub(crate) const PENDING: usize = 20_000;

/// Users whose memberships and account data are kept.
pub(crate) const USERS: usize = 50_000;

/// Changes of membership in one room that are kept for a user.
pub(crate) const MEMBERSHIPS: usize = 8;

/// Devices whose lazily loaded members are remembered, and members for each.
pub(crate) const LAZY_DEVICES: u64 = 20_000;
/// Members remembered for a device.
pub(crate) const LAZY_MEMBERS: usize = 4_000;

/// Events of a timeline when the filter names no limit, and at most.
pub(crate) const TIMELINE_LIMIT: (usize, usize) = (10, 1_000);

/// Bytes of events after which a timeline of an answer ends, `limited`.
pub(crate) const TIMELINE_ANSWER_BYTES: usize = 2 * 1024 * 1024;

/// Rooms that one request loads or reads at the same time.
pub(crate) const CONCURRENCY: usize = 16;

/// Member events of a user that are looked through, backwards, for the end of their stay in a room.
pub(crate) const DEPARTURE: usize = 16;

/// Pages of a timeline that one room of one answer may cost.
pub(crate) const PAGES: usize = 5;

/// Events of a room, and rooms, whose relations are asked for at once: together at most as many events as the contract
/// allows in one call.
pub(crate) const RELATED_OF_ROOM: usize = 100;
/// Rooms of such a call.
pub(crate) const RELATED_ROOMS: usize = 100;

/// Ignored users whom the room server is told of; what further ones say is still left out of timelines.
pub(crate) const IGNORED: usize = 10_000;

/// Messages to a device that one answer tells.
pub(crate) const INBOX_PAGE: u32 = 100;

/// How often what a device has got is acknowledged, and for how many devices at most.
pub(crate) const ACK_PAUSE: Duration = Duration::from_secs(1);
/// Devices whose acknowledgements wait; those of further ones are made when they come again.
pub(crate) const ACKS: usize = 100_000;
/// Acknowledgements that are written at the same time.
pub(crate) const ACKS_AT_ONCE: usize = 32;

/// How often an answer is begun again because what it needs moved on.
pub(crate) const ATTEMPTS: usize = 8;

/// Largest message that the room server may answer, in bytes.
pub(crate) const MESSAGE: usize = 64 * 1024 * 1024;

/// Members that stand for a room without a name.
pub(crate) const HEROES: usize = 5;

/// Events that a preview of a room tells at once.
pub(crate) const PEEKED: u32 = 100;

/// Users who may type in one room at the same time.
pub(crate) const TYPISTS: usize = 1_000;

/// Ends of typing that are waited for; with more, some are seen only by the next request.
pub(crate) const TYPING_ENDS: usize = 100_000;

/// Pages of a timeline, and events in each, that are looked through for unread notifications before what is in memory.
/// What lies further back is not counted.
pub(crate) const UNREAD_PAGES: usize = 10;
/// Events of such a page.
pub(crate) const UNREAD_PAGE: u32 = 1_000;

/// Notifications of a page when the client names no limit, and at most.
pub(crate) const NOTIFICATIONS: (usize, usize) = (20, 200);
/// Invites that are looked at for notifications: the newest.
pub(crate) const NOTIFIED_INVITES: usize = 100;

/// Steps of applying push rules (see `plexus_push::Budget`) that a room of an answer, and an answer, may take at once, on
/// the threads that serve requests: less than a millisecond, and a few.
pub(crate) const STEPS_AT_ONCE: (u64, u64) = (100_000, 1_000_000);
/// Steps after which others get their turn.
pub(crate) const STEPS_BEFORE_OTHERS: u64 = 20_000;
/// Steps that one piece of work may take on a thread apart.
pub(crate) const STEPS_ASIDE: u64 = 10_000_000;
/// How long such a thread is waited for.
pub(crate) const STEPS_WAIT: Duration = Duration::from_millis(250);
/// Steps that a user may cause on threads apart.
pub(crate) const STEPS_OF_USER: u64 = 200_000_000;
/// Steps of that which come back in a millisecond: about a hundredth of a thread's time.
pub(crate) const STEPS_BACK: u64 = 2_000;
/// How long a user's allowance is remembered: as long as it takes to come back.
pub(crate) const ALLOWANCE_KEPT: Duration = Duration::from_secs(100);

/// Lists of a request of sliding sync.
pub(crate) const SLIDING_LISTS: usize = 100;
/// Subscriptions of such a request.
pub(crate) const SLIDING_SUBSCRIPTIONS: usize = 100;
/// Ranges of a list.
pub(crate) const SLIDING_RANGES: usize = 100;
/// Entries of a required state.
pub(crate) const SLIDING_ENTRIES: usize = 1_000;
/// Largest `timeline_limit`, and most events that an answer tells of a room.
pub(crate) const SLIDING_TIMELINE: (u16, u16) = (1_000, 100);
/// Bytes of a `conn_id`, and of the name of a list.
pub(crate) const SLIDING_NAMES: (usize, usize) = (16, 64);
/// Bytes of the body of such a request.
pub(crate) const SLIDING_BODY: usize = 256 * 1024;
/// Rooms of an answer; the next answer tells the others, at once.
pub(crate) const SLIDING_ROOMS: usize = 500;
/// Characters of a position.
pub(crate) const SLIDING_POS: usize = 4_096;
/// Rooms of a position that were told up to an earlier point than the others.
pub(crate) const SLIDING_EXCEPTIONS: usize = 256;
/// Ways in which the rooms of a position were told.
pub(crate) const SLIDING_CLASSES: usize = 6;
/// Rooms that keep their position when most are lost.
pub(crate) const SLIDING_KEPT: usize = 300;
