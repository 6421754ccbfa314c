//! The broker as one value in virtual time: no socket, no disk, no clock.

mod connections;
mod crash;
mod imports;
mod streams;
mod world;
