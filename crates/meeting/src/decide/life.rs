//! A room's life: media starts, time runs out, it ends in two steps.

use plenum_protocol::plugnmeet::NatsMsgServerToClientEvents as Event;

use crate::{
    Env, Refusal,
    command::EndReason,
    state::{Action, Disperse, Kick, PastRun, Phase, Room, UnixMs},
    view::Envelope,
};

/// An ended record is kept this long, so that late requests learn what happened; in ms.
pub(crate) const ENDED_MS: UnixMs = 60_000;

impl Room {
    pub(super) fn media_started(&mut self, env: &mut Env<'_>) {
        if !self.is_running() || self.started_at != 0 {
            return;
        }
        self.set_phase(Phase::Active);
        self.started_at = env.now;
        self.metadata.get_or_insert_default().started_at = env.now / 1000;
        self.metadata_changed(env);
    }

    pub(super) fn tick(&mut self, env: &mut Env<'_>) {
        if !self.is_running() {
            return;
        }
        if self.duration_ends_at().is_some_and(|at| at <= env.now) {
            return self.end(EndReason::Duration, env);
        }
        self.tick_people(env);
        if self.empty_ends_at().is_some_and(|at| at <= env.now) {
            self.end(EndReason::Empty, env);
        }
    }

    pub(super) fn life_deadlines(&self) -> impl Iterator<Item = UnixMs> {
        let running = self.is_running();
        [self.duration_ends_at(), self.empty_ends_at()].into_iter().flatten().filter(move |_| running)
    }

    /// Joins are refused from here on; everybody is told.
    pub(super) fn end(&mut self, _reason: EndReason, env: &mut Env<'_>) {
        self.set_phase(Phase::Ending);
        let payload = Envelope::text(Event::SessionEnded, "notifications.room-disconnected-room-ended", env);
        self.tell_all(payload.clone());
        // Waiting people do not hear what the room hears.
        let waiting: Vec<String> =
            self.online().filter(|(_, person)| person.is_waiting()).map(|(id, _)| id.clone()).collect();
        self.tell(waiting, payload);
    }

    /// The messages of `end` are out: [`crate::Command::Close`] may follow.
    #[must_use]
    pub fn may_close(&self) -> bool {
        self.phase() == Phase::Ending && !self.outbox.iter().any(crate::state::Effect::is_told)
    }

    pub(super) fn close(&mut self, chat_before: u64, env: &mut Env<'_>) {
        if !self.may_close() {
            return;
        }
        self.set_phase(Phase::Ended);
        self.ended_at = env.now;
        let people = std::mem::take(&mut self.people)
            .into_iter()
            .map(|(user, person)| Kick { user, connection: person.live_connection().cloned() })
            .collect();
        self.effect(Action::Disperse(Disperse { people }));
        self.effect(Action::EndMedia(()));
        self.effect(Action::PurgeChat(chat_before));
        let metadata = self.metadata();
        let past = PastRun {
            run: self.run,
            room_id: self.room_id.clone(),
            sid: self.sid.clone(),
            title: metadata.room_title.clone(),
            joined_total: self.joined_total,
            webhook_url: metadata.webhook_url.clone().unwrap_or_default(),
            created_at: self.created_at,
            ended_at: env.now,
            from_landing_page: self.from_landing_page,
        };
        self.effect(Action::History(past));
    }

    /// When an ended record may go, if nothing is left to be done.
    #[must_use]
    pub fn forgotten_at(&self) -> UnixMs {
        self.ended_at + ENDED_MS
    }

    /// The record may be deleted at its revision.
    #[must_use]
    pub fn is_over(&self, now: UnixMs) -> bool {
        self.phase() == Phase::Ended && self.outbox.is_empty() && now >= self.forgotten_at()
    }

    /// Whether a new run may replace this record, and what it has to carry on.
    ///
    /// # Errors
    /// [`Refusal::Busy`] while the room is ending.
    pub fn recreated(&self, mut next: Self) -> Result<Self, Refusal> {
        match self.phase() {
            Phase::Created | Phase::Active => Ok(self.clone()),
            Phase::Ending => Err(Refusal::Busy),
            Phase::Ended => {
                next.v = self.v;
                next.nonces.clone_from(&self.nonces);
                next.applied = self.applied;
                next.applied_stream = self.applied_stream;
                next.next_effect = self.next_effect;
                next.outbox.clone_from(&self.outbox);
                Ok(next)
            }
        }
    }

    fn duration_ends_at(&self) -> Option<UnixMs> {
        let minutes = self.metadata().room_features.as_ref()?.room_duration.filter(|minutes| *minutes > 0)?;
        (self.started_at != 0).then(|| self.started_at.saturating_add(minutes.saturating_mul(60_000)))
    }

    fn empty_ends_at(&self) -> Option<UnixMs> {
        (self.empty_since != 0).then(|| self.empty_since + u64::from(self.empty_timeout_s) * 1000)
    }
}
