//! plugNmeet's HTTP API.

pub(crate) mod auth;
mod browser;
mod webhook;

use crate::routes::Routes;

pub(crate) fn add(routes: &mut Routes) {
    auth::add(routes);
    browser::add(routes);
    routes.post("/webhook", webhook::webhook);
}
