//! All that is served over HTTP, in one table: each part with its routes, each route with who may call it.

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
};
use metrics_exporter_prometheus::PrometheusHandle;
use plenum_api::{Api, Caller, Origin, RouteInfo};

use crate::{
    gate::not_now,
    status::{self, Status},
    web,
};

/// What stands beside the API.
pub(crate) struct Parts {
    /// `/nats`, of the embedded broker or to the external one.
    pub(crate) broker: Router,
    /// `/rtc…` and `/twirp…`, the same way.
    pub(crate) media: Router,
    /// The media server is ours: `/twirp` is here too.
    pub(crate) media_is_embedded: bool,
    /// `/metrics`, with its token.
    pub(crate) metrics: Option<(PrometheusHandle, String)>,
    /// Places that pages may connect to.
    pub(crate) connect: Vec<Origin>,
}

/// Behind the gate; it waits for its [`Api`].
pub(crate) fn surface(parts: Parts, status: &Status) -> (Router<Api>, Vec<RouteInfo>) {
    let (api, mut list) = plenum_api::routes();
    list.extend(table(parts.media_is_embedded, parts.metrics.is_some()));
    list.sort();
    // A connection that nobody can answer for would be refused for good; who is told to wait comes again.
    let broker = parts.broker.layer(middleware::from_fn_with_state(status.clone(), when_answered));
    let mut others = broker.merge(parts.media).merge(web::router(parts.connect));
    if let Some((handle, token)) = parts.metrics {
        others = others.merge(status::metrics(handle, Some(token)));
    }
    (api.merge(others.with_state(())), list)
}

async fn when_answered(State(status): State<Status>, request: Request, next: Next) -> Response {
    if status.answers_callouts() {
        next.run(request).await
    } else {
        not_now("the server is starting or stopping, or has lost its broker, try again")
    }
}

/// What the API does not list: it is not written in its terms.
fn table(media_is_embedded: bool, has_metrics: bool) -> Vec<RouteInfo> {
    let route = |caller, method, path| RouteInfo { path, method, caller };
    let mut list = vec![
        route(Caller::Public, "GET", "/healthz"),
        route(Caller::Public, "GET", "/readyz"),
        // The token is inside CONNECT.
        route(Caller::BrokerClient, "GET", "/nats"),
    ];
    if media_is_embedded {
        list.extend([
            route(Caller::MediaToken, "GET", "/rtc"),
            route(Caller::MediaToken, "GET", "/rtc/validate"),
            route(Caller::MediaToken, "GET", "/rtc/v1"),
            route(Caller::MediaToken, "GET", "/rtc/v1/validate"),
            route(Caller::Public, "ANY", "/rtc/{*rest}"),
            route(Caller::MediaToken, "POST", "/twirp/livekit.RoomService/{method}"),
            route(Caller::MediaToken, "POST", "/twirp/livekit.AgentDispatchService/{method}"),
            route(Caller::MediaToken, "POST", "/twirp/livekit.Egress/{method}"),
            route(Caller::MediaToken, "POST", "/twirp/livekit.Ingress/{method}"),
            route(Caller::MediaToken, "POST", "/twirp/livekit.SIP/{method}"),
            route(Caller::Public, "ANY", "/twirp/{*rest}"),
        ]);
    } else {
        list.extend(["/rtc", "/rtc/{*rest}"].map(|path| route(Caller::MediaToken, "ANY", path)));
    }
    if has_metrics {
        list.push(route(Caller::Monitor, "GET", "/metrics"));
    }
    list.extend(web::PAGES.map(|page| route(Caller::Public, "GET", page)));
    list.push(route(Caller::Public, "GET", "/"));
    list
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{config::Config, pillars, tunnel};

    /// The paths that a router knows, from its debug output; axum has no other way to ask.
    fn paths<S>(router: &Router<S>) -> BTreeSet<String> {
        let text = format!("{router:?}");
        let mut paths = BTreeSet::new();
        for list in text.split("paths: {").skip(1) {
            let list = list.split('}').next().map_or("", |_| list);
            for piece in list.split("RouteId(").skip(1) {
                let Some((_, rest)) = piece.split_once("): \"") else { break };
                let Some((path, after)) = rest.split_once('"') else { break };
                paths.insert(path.to_owned());
                if after.starts_with('}') {
                    break;
                }
            }
        }
        paths
    }

    fn is_a_file(path: &str) -> bool {
        path.starts_with("/assets/") || path.rsplit('/').next().is_some_and(|name| name.contains('.'))
    }

    fn compare(router: &Router<Api>, list: &[RouteInfo]) {
        let listed: BTreeSet<String> = list
            .iter()
            .map(|route| route.path.to_owned())
            .filter(|path| !["/healthz", "/readyz"].contains(&path.as_str()))
            .collect();
        // Nesting adds a second spelling; the client's files are public, whatever their names.
        let served: BTreeSet<String> = paths(router)
            .into_iter()
            .filter(|path| {
                path != "/nats/"
                    && !path.contains("__private")
                    && (!is_a_file(path) || path.starts_with("/twirp"))
            })
            .collect();
        assert_eq!(served, listed);
        assert!(list.iter().any(|route| route.caller == Caller::Host), "the API's own are among them");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_route_of_the_server_is_in_the_table() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::default();
        let secrets = crate::config::Secrets::of_folder(folder.path()).unwrap();
        let broker =
            pillars::Messaging::start(&config, &secrets, folder.path().join("messaging")).await.unwrap();
        let media = plenum_media_server::Server::start(plenum_media_server::Config {
            udp_port: 0,
            tcp_port: None,
            bind: plenum_media_server::BindScope::Loopback,
            node_ip: None,
            keys: [("key".to_owned(), "secret-of-more-than-32-characters".to_owned())].into(),
            webhooks: Vec::new(),
            shards: 1,
            ..plenum_media_server::Config::default()
        })
        .await
        .unwrap();
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let parts = Parts {
            broker: broker.router,
            media: media.router(),
            media_is_embedded: true,
            metrics: Some((recorder.handle(), "token".to_owned())),
            connect: Vec::new(),
        };
        let (router, list) = surface(parts, &Status::default());
        compare(&router, &list);
    }

    #[test]
    fn so_is_every_route_to_external_pillars() {
        let parts = Parts {
            broker: tunnel::nats(&["nats://127.0.0.1:4222".to_owned()]),
            media: tunnel::livekit("http://127.0.0.1:7880").unwrap(),
            media_is_embedded: false,
            metrics: None,
            connect: Vec::new(),
        };
        let (router, list) = surface(parts, &Status::default());
        compare(&router, &list);
    }
}
