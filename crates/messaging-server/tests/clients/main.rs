//! The real broker under the official client.

mod common;
mod core;
mod disk;
mod jetstream;
mod meeting;
mod websocket;
