//! Agents that are wanted in the room. No agent worker can connect, so they stay wanted: whoever asks sees them.

use livekit_protocol as proto;

use super::{ApiError, ApiReply, Moment, Room};
use crate::ids::random_sid;

/// Most that a room keeps.
const DISPATCHES_MAX: usize = 100;

impl Room {
    pub(super) fn create_dispatch(
        &mut self,
        moment: &mut Moment<'_>,
        request: proto::CreateAgentDispatchRequest,
    ) -> Result<ApiReply, ApiError> {
        let texts = self.facts.limits.texts;
        texts.check_metadata(&request.metadata)?;
        texts.check_attributes(&request.attributes)?;
        let dispatch = self.add_dispatch(
            moment,
            proto::RoomAgentDispatch {
                agent_name: request.agent_name,
                metadata: request.metadata,
                restart_policy: request.restart_policy,
                deployment: request.deployment,
                attributes: request.attributes,
            },
        )?;
        Ok(ApiReply::Dispatch(Box::new(dispatch)))
    }

    pub(super) fn delete_dispatch(&mut self, moment: &Moment<'_>, id: &str) -> Result<ApiReply, ApiError> {
        let index = self.dispatches.iter().position(|dispatch| dispatch.id == id);
        let mut dispatch = self.dispatches.remove(index.ok_or(ApiError::NotFound("agent dispatch"))?);
        if let Some(state) = &mut dispatch.state {
            state.deleted_at = nanoseconds(moment);
        }
        Ok(ApiReply::Dispatch(Box::new(dispatch)))
    }

    /// The one of that name, or all.
    pub(super) fn list_dispatches(&self, id: &str) -> Vec<proto::AgentDispatch> {
        let listed = self.dispatches.iter().filter(|dispatch| id.is_empty() || dispatch.id == id);
        listed.cloned().collect()
    }

    /// Those that come with the room; as many as it keeps.
    pub(super) fn add_dispatches(&mut self, moment: &mut Moment<'_>, wanted: &[proto::RoomAgentDispatch]) {
        for wanted in wanted {
            if self.add_dispatch(moment, wanted.clone()).is_err() {
                return;
            }
        }
    }

    fn add_dispatch(
        &mut self,
        moment: &mut Moment<'_>,
        wanted: proto::RoomAgentDispatch,
    ) -> Result<proto::AgentDispatch, ApiError> {
        if self.dispatches.len() >= DISPATCHES_MAX {
            return Err(ApiError::TooMany("agent dispatches"));
        }
        let state = proto::AgentDispatchState { created_at: nanoseconds(moment), ..Default::default() };
        let dispatch = proto::AgentDispatch {
            id: random_sid("AD_", moment.rng),
            agent_name: wanted.agent_name,
            room: self.name.as_str().to_owned(),
            metadata: wanted.metadata,
            state: Some(state),
            restart_policy: wanted.restart_policy,
            deployment: wanted.deployment,
            attributes: wanted.attributes,
        };
        self.dispatches.push(dispatch.clone());
        Ok(dispatch)
    }
}

/// As LiveKit writes these times, unlike all others.
fn nanoseconds(moment: &Moment<'_>) -> i64 {
    (moment.unix_ms * 1_000_000).cast_signed()
}
