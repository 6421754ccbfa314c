//! The web client, out of the binary, with the headers that keep foreign code away from it.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::{HeaderName, HeaderValue, Uri, header},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use memory_serve::CacheControl;
use plenum_api::Origin;
use tower::ServiceExt as _;

/// Pages of the client below `/`: all are the same document, the client reads the address.
pub(crate) const PAGES: [&str; 2] = ["/host", "/m/{code}"];

/// `connect`: further places that pages may connect to, beside the one that they come from.
pub(crate) fn router(connect: Vec<Origin>) -> Router {
    let connect: Arc<[Origin]> = connect.into();
    let files: Router = memory_serve::load!()
        .index_file(Some("/index.html"))
        .html_cache_control(CacheControl::NoCache)
        .cache_control(CacheControl::Long)
        .into_router();
    let mut router = files.clone();
    for page in PAGES {
        let files = files.clone();
        let document = async move |mut request: Request| {
            *request.uri_mut() = Uri::from_static("/");
            files.clone().oneshot(request).await
        };
        router = router.route(page, get(document));
    }
    router.layer(middleware::from_fn(move |request, next| headers(Arc::clone(&connect), request, next)))
}

async fn headers(connect: Arc<[Origin]>, request: Request, next: Next) -> Response {
    let policy = policy(request.extensions().get(), &connect);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(self), microphone=(self), display-capture=(self), geolocation=()"),
    );
    response
}

/// Whole origins: a source with a path would cover that path alone. The media server explains a refused connection by HTTP.
/// Of a page's own origin that is `'self'`, which older browsers do not take to mean its WebSockets too.
fn policy(own: Option<&Origin>, connect: &[Origin]) -> String {
    let mut places = vec!["'self'".to_owned()];
    places.extend(own.map(Origin::websocket));
    for origin in connect.iter().filter(|origin| Some(*origin) != own) {
        for place in [origin.websocket(), origin.http()] {
            if !places.contains(&place) {
                places.push(place);
            }
        }
    }
    format!(
        "default-src 'self'; connect-src {}; img-src 'self' data: blob:; media-src 'self' blob:; worker-src 'self' blob:; \
         object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
        places.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_connect_to_whole_origins_by_both_protocols() {
        let origins = ["ws://meet.example.org", "wss://sfu.example.org/path", "ws://meet.example.org"];
        let origins = origins.map(|url| Origin::of_websocket(url).unwrap());
        let sfu = "wss://sfu.example.org https://sfu.example.org;";
        let own = policy(Some(&origins[0]), &origins);
        assert!(own.contains(&format!("connect-src 'self' ws://meet.example.org {sfu}")), "{own}");
        let unknown = policy(None, &origins);
        let meet = "ws://meet.example.org http://meet.example.org";
        assert!(unknown.contains(&format!("connect-src 'self' {meet} {sfu}")), "{unknown}");
    }
}
