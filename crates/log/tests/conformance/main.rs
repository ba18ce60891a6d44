//! One suite for all implementations of the logs.
//!
//! The Kafka half needs a broker at `PLEXUS_TEST_KAFKA` (`host:port`), such as `deploy/kafka/run` starts. Without one
//! it fails.

#![expect(clippy::unwrap_used, reason = "a test may panic, also in the functions it is made of")]

mod broker;
mod groups;
mod kafka_only;
mod limits;
mod memory_only;
mod reading;
mod secured;
mod world;

/// Runs each scenario in both worlds.
macro_rules! scenarios {
    ($($module:ident: $($name:ident),+;)+) => {
        mod memory {
            $($(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    crate::$module::$name(crate::world::in_memory().await).await;
                }
            )+)+
        }
        mod kafka {
            $($(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    let world = crate::world::on_kafka().await;
                    crate::$module::$name(world.clone()).await;
                    world.remove().await;
                }
            )+)+
        }
    };
}

scenarios! {
    reading:
        records_of_a_key_keep_their_order,
        positions_are_those_that_append_told,
        reading_starts_where_it_is_told,
        position_that_does_not_exist_becomes_the_oldest,
        assigning_again_moves_the_position,
        unassigned_partition_is_silent,
        poisoned_record_does_not_stop_reading,
        dropped_call_loses_nothing,
        waiting_reader_gets_a_single_record_at_once,
        busy_partition_does_not_keep_others_out;
    limits:
        largest_record_passes_and_a_larger_one_does_not,
        headers_are_carried,
        partition_that_does_not_exist_is_refused,
        closed_log_says_so;
    groups:
        first_member_owns_everything,
        second_member_gets_its_share_after_the_drain,
        member_that_leaves_is_replaced,
        stale_owner_does_not_hold_up_the_group;
}
