//! Starts attempts to send, and takes in how they end.

use std::time::Duration;

use plexus_s2s::now_ms;
use ruma::{OwnedServerName, ServerName};
use tracing::{error, info, warn};

use super::{AT_ONCE, Hub, PROBES};
use crate::sender::{attempt::Attempt, metrics, outcome::Outcome};

impl Hub {
    /// Sets the timer of a server. One of which nothing has to be remembered is forgotten.
    pub(super) fn schedule(&mut self, server: &ServerName) {
        if let Some(due) = self.due.remove(server) {
            let timer = (due, server.to_owned());
            self.timers.remove(&timer);
            self.probe_timers.remove(&timer);
        }
        let Some(destination) = self.destinations.get(server) else { return };
        if let Some(due) = destination.due() {
            self.due.insert(server.to_owned(), due);
            let fails = destination.failures() > 0;
            let timers = if fails { &mut self.probe_timers } else { &mut self.timers };
            timers.insert((due, server.to_owned()));
        } else if destination.is_idle() {
            self.destinations.remove(server);
        }
    }

    /// Until when nothing has to be done. Timers wait while there is no place for further attempts.
    pub(super) fn pause(&self) -> Duration {
        let has_place = self.attempts.len() < AT_ONCE;
        let timer = self.timers.first().filter(|_| has_place);
        let probe = self.probe_timers.first().filter(|_| has_place && self.probes.len() < PROBES);
        let due = [timer, probe].into_iter().flatten().map(|(due, _)| *due).min();
        let pause = due.map_or(60_000, |due| (due - now_ms()).clamp(1, 60_000));
        Duration::from_millis(pause.unsigned_abs())
    }

    /// Starts attempts whose time has come, as far as there is place.
    pub(super) fn start_attempts(&mut self) {
        let now = now_ms();
        while self.attempts.len() < AT_ONCE && self.timers.first().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, server)) = self.timers.pop_first() {
                self.start_attempt(server, now);
            }
        }
        while self.attempts.len() < AT_ONCE
            && self.probes.len() < PROBES
            && self.probe_timers.first().is_some_and(|(due, _)| *due <= now)
        {
            if let Some((_, server)) = self.probe_timers.pop_first() {
                self.start_attempt(server, now);
            }
        }
    }

    pub(super) fn start_attempt(&mut self, server: OwnedServerName, now: i64) {
        self.due.remove(&server);
        let Some(destination) = self.destinations.get_mut(&server) else { return };
        match destination.next(now) {
            Some(plan) => {
                if destination.failures() > 0 {
                    self.probes.insert(server.clone());
                }
                self.attempts.spawn(self.courier.clone().run(server, plan));
            }
            None => self.schedule(&server),
        }
    }

    pub(super) fn finish(&mut self, attempt: Attempt) {
        let Attempt { server, plan, gathered, has_more, outcome } = attempt;
        self.probes.remove(&server);
        // A shard may have gone meanwhile.
        let Some(destination) = self.destinations.get_mut(&server) else { return };
        let failed_before = destination.failures() > 0;
        let jitter = rand::random_range(0.8..1.4);
        let set_aside = destination.finish(plan, (&gathered, has_more), &outcome, now_ms(), jitter);
        let fails = destination.failures() > 0;
        for given_up in set_aside {
            metrics::set_aside();
            error!(
                %server,
                room.id = %given_up.room_id,
                event.id = %given_up.event_id,
                error = given_up.error,
                "another server cannot take an event, which it is not sent any more"
            );
        }
        if fails != failed_before {
            self.contacts.set_failing(&server, fails);
            match &outcome {
                Outcome::Crashed(error) | Outcome::Unwilling(error) | Outcome::Unreachable(error) => {
                    warn!(%server, error, "another server does not take what it is sent");
                }
                _ => info!(%server, "another server takes what it is sent again"),
            }
        }
        self.has_sent = true;
        self.schedule(&server);
    }

    /// A server that fails said something, so it is there.
    pub(super) fn hear(&mut self, server: &ServerName) {
        if let Some(destination) = self.destinations.get_mut(server)
            && destination.hear(now_ms())
        {
            self.schedule(server);
        }
    }
}
