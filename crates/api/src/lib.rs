//! The HTTP face: plugNmeet's API for servers (`/auth`) and browsers (`/api`), the media server's reports (`/webhook`), and
//! what the landing page needs (`/admin`). One file per endpoint; every route names who may call it.

mod admin;
mod app;
mod arrivals;
mod body;
mod error;
mod origin;
mod plugnmeet;
mod routes;
mod secrets;

pub use admin::host_links::HostLinks;
pub use app::{Api, ApiConfig};
pub use origin::{ClientAddress, Origin};
pub use routes::{Caller, RouteInfo};

/// The router with everything that lives in this crate, and the list of its routes. It waits for its [`Api`].
pub fn routes() -> (axum::Router<Api>, Vec<RouteInfo>) {
    let mut routes = routes::Routes::default();
    plugnmeet::add(&mut routes);
    admin::add(&mut routes);
    routes.finish()
}
