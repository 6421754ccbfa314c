//! Routes. The first thing a handler asks for is its [`Guard`]: who is calling. There is no other way to add a route, so
//! none can forget to ask, and the list of routes is what the handlers' types say.

use axum::{
    Router,
    extract::{FromRequest, State},
    http::Method,
    response::IntoResponse,
    routing::{MethodFilter, on},
};
use plenum_meeting::RoomId;
use tower_http::cors::{AllowHeaders, Any, CorsLayer};
use tracing::{Instrument as _, Span, field::Empty, info_span};

use crate::Api;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Caller {
    /// Anybody.
    Public,
    /// A server that signs with the API key and secret.
    ApiKey,
    /// A browser with a participant's token; hosts' acts are checked again by the meeting.
    Participant,
    /// The media server: it signs its reports.
    MediaServer,
    /// A signed-in host of the landing page.
    Host,
    /// Somebody with a one-time host link.
    HostLink,
    /// Somebody with an invitation.
    Invitation,
    /// A client of the broker, who shows a participant's token inside the protocol.
    BrokerClient,
    /// A client or a server with a token of the media server.
    MediaToken,
    /// A monitor with the token for metrics.
    Monitor,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteInfo {
    /// Path, as axum writes it.
    pub path: &'static str,
    /// Method; `ANY` for all.
    pub method: &'static str,
    /// Who may call it.
    pub caller: Caller,
}

/// Lets a request through, or answers it.
pub(crate) trait Guard {
    /// Whom it lets through.
    const CALLER: Caller;

    /// The room that the call is about, if the caller's right names one.
    fn room(&self) -> Option<&RoomId> {
        None
    }
}

macro_rules! first_is_the_guard {
    ($($more:ident),+) => {
        impl<G: Guard, $($more),+> Guard for (G, $($more),+) {
            const CALLER: Caller = G::CALLER;

            fn room(&self) -> Option<&RoomId> {
                self.0.room()
            }
        }
    };
}

first_is_the_guard!(A);
first_is_the_guard!(A, B);
first_is_the_guard!(A, B, C);
first_is_the_guard!(A, B, C, D);

#[derive(Default)]
pub(crate) struct Routes {
    same_origin: Router<Api>,
    any_origin: Router<Api>,
    list: Vec<RouteInfo>,
}

impl Routes {
    pub(crate) fn get<G, M, H, A>(&mut self, path: &'static str, handler: H)
    where
        G: Guard + FromRequest<Api, M> + Send + 'static,
        M: 'static,
        H: Fn(Api, G) -> A + Clone + Send + Sync + 'static,
        A: Future<Output: IntoResponse> + Send + 'static,
    {
        self.add(Method::GET, path, handler);
    }

    pub(crate) fn post<G, M, H, A>(&mut self, path: &'static str, handler: H)
    where
        G: Guard + FromRequest<Api, M> + Send + 'static,
        M: 'static,
        H: Fn(Api, G) -> A + Clone + Send + Sync + 'static,
        A: Future<Output: IntoResponse> + Send + 'static,
    {
        self.add(Method::POST, path, handler);
    }

    pub(crate) fn delete<G, M, H, A>(&mut self, path: &'static str, handler: H)
    where
        G: Guard + FromRequest<Api, M> + Send + 'static,
        M: 'static,
        H: Fn(Api, G) -> A + Clone + Send + Sync + 'static,
        A: Future<Output: IntoResponse> + Send + 'static,
    {
        self.add(Method::DELETE, path, handler);
    }

    fn add<G, M, H, A>(&mut self, method: Method, path: &'static str, handler: H)
    where
        G: Guard + FromRequest<Api, M> + Send + 'static,
        M: 'static,
        H: Fn(Api, G) -> A + Clone + Send + Sync + 'static,
        A: Future<Output: IntoResponse> + Send + 'static,
    {
        let name = match method {
            Method::GET => "GET",
            Method::POST => "POST",
            _ => "DELETE",
        };
        self.list.push(RouteInfo { path, method: name, caller: G::CALLER });
        let filter = MethodFilter::try_from(method).expect("a standard method");
        let guarded = move |State(api): State<Api>, guard: G| {
            let span = info_span!("http", http.path = path, room.id = Empty);
            if let Some(room) = guard.room() {
                span.record("room.id", room.as_str());
            }
            let answering = span.in_scope(|| handler(api, guard));
            answering.instrument(span)
        };
        // Servers and embedding pages call these from anywhere: their credentials are in headers, never in cookies.
        let router = match G::CALLER {
            Caller::ApiKey | Caller::Participant => &mut self.any_origin,
            _ => &mut self.same_origin,
        };
        *router = std::mem::take(router).route(path, on(filter, guarded));
    }

    pub(crate) fn finish(self) -> (Router<Api>, Vec<RouteInfo>) {
        let Self { same_origin, any_origin, mut list } = self;
        let cors = CorsLayer::new()
            .allow_origin(Any)
            .allow_methods([Method::GET, Method::POST, Method::HEAD, Method::OPTIONS])
            // A wildcard would not cover `Authorization`.
            .allow_headers(AllowHeaders::mirror_request());
        list.sort();
        (same_origin.merge(any_origin.layer(cors)), list)
    }
}

/// Says which room the call is about, for every line that it logs.
pub(crate) fn note_room(room: &RoomId) {
    Span::current().record("room.id", room.as_str());
}

#[cfg(test)]
mod tests {
    use super::Caller::{self, ApiKey, Host, HostLink, Invitation, MediaServer, Participant, Public};

    #[test]
    fn every_route_names_its_caller() {
        let (_, list) = crate::routes();
        let listed: Vec<(Caller, &str, &str)> =
            list.iter().map(|route| (route.caller, route.method, route.path)).collect();
        let mut expected = vec![
            (Public, "GET", "/admin/session"),
            (Public, "DELETE", "/admin/session"),
            (HostLink, "POST", "/admin/session"),
            (Host, "GET", "/admin/meetings"),
            (Host, "POST", "/admin/meetings"),
            (Host, "POST", "/admin/meetings/{room}/join"),
            (Host, "POST", "/admin/meetings/{room}/end"),
            (Invitation, "GET", "/admin/invitations/{code}"),
            (Invitation, "POST", "/admin/invitations/{code}/join"),
            (MediaServer, "POST", "/webhook"),
        ];
        let auth = [
            "create",
            "getJoinToken",
            "isRoomActive",
            "getActiveRoomInfo",
            "getActiveRoomsInfo",
            "endRoom",
            "fetchPastRooms",
        ];
        let api = [
            "verifyToken",
            "endRoom",
            "updateLockSettings",
            "muteUnmuteTrack",
            "removeParticipant",
            "switchPresenter",
            "waitingRoom/approveUsers",
            "waitingRoom/updateMsg",
        ];
        let auth = auth.map(|name| format!("/auth/room/{name}"));
        let api = api.map(|name| format!("/api/{name}"));
        expected.extend(auth.iter().map(|path| (ApiKey, "POST", path.as_str())));
        expected.extend(api.iter().map(|path| (Participant, "POST", path.as_str())));
        for route in &expected {
            assert!(listed.contains(route), "{route:?} is not there");
        }
        for route in &listed {
            assert!(expected.contains(route), "{route:?} is new: say who may call it");
        }
        assert_eq!(listed.len(), expected.len());
    }
}
